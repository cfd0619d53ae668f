"""The story of a token: which document of a pack it comes from, and what is known of that document.

A pack can be read by itself: repository, path and SWHID of every token stand in it. The rest is told where the
workspace it was made from is at hand, given or as the pack remembers it.
"""

import json
from dataclasses import dataclass
from typing import Any

from starsmith.errors import StarsmithError
from starsmith.format.pack_file import WORKSPACE_FILE, Pack, TokenPlace, TokenRun
from starsmith.govern.answers import Answer
from starsmith.govern.foreign_text import visible
from starsmith.govern.look_up import LookUp
from starsmith.workspace import open_store


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenStory:
    """What a token is and where it comes from. `note` says why there is no more to tell."""

    place: TokenPlace
    text: str
    run: TokenRun
    workspace: str | None
    answer: Answer | None
    note: str | None

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        run = self.run
        return {
            "pack": self.place.pack,
            "folder": self.place.folder,
            "shard": self.place.shard,
            "token": self.place.token,
            "text": self.text,
            "document_id": run.document_id.hex(),
            "swhid": run.swhid,
            "repo_name": run.repo_name,
            "path": run.path,
            "kind": run.kind,
            "start": run.start,
            "length": run.length,
            "workspace": self.workspace,
            "note": self.note,
            "answer": None if self.answer is None else self.answer.plain(),
        }

    def words(self) -> str:
        """Return what a person reads."""
        run, place = self.run, self.place
        lines = [
            f"Token     {place.token:,} of {place.folder}/{place.shard}: {visible(repr(self.text))}",
            f"Document  {visible(run.repo_name)}:{visible(run.path.removeprefix('/'))}",
            f"Content   {run.swhid}",
            f"Tokens    {run.start:,} to {run.start + run.length - 1:,} come from it",
        ]
        if self.note is not None:
            lines.append(self.note)
        return "\n".join(lines) if self.answer is None else "\n".join([*lines, "", self.answer.words()])


def token_story(place: TokenPlace, *, workspace: str | None = None) -> TokenStory:
    """Tell of a token; `workspace` takes the place of the one that the pack remembers.

    Raises StarsmithError for a place that does not exist.
    """
    pack = Pack.open(place.pack)
    run = pack.trace(place.folder, place.shard, place.token)
    text = pack.tokenizer.decode([pack.token(place.folder, place.shard, place.token)])
    home = workspace or _remembered(pack)
    answer, note = _told(home, run)
    return TokenStory(place=place, text=text, run=run, workspace=home, answer=answer, note=note)


def _remembered(pack: Pack) -> str | None:
    try:
        return (
            str(json.loads(pack.store.read(WORKSPACE_FILE))["workspace"]) if pack.store.exists(WORKSPACE_FILE) else None
        )
    except (ValueError, KeyError, TypeError):
        return None


def _told(workspace: str | None, run: TokenRun) -> tuple[Answer | None, str | None]:
    if workspace is None:
        return None, "The pack was made from a release by itself; name a workspace to know more."
    try:
        look_up = LookUp(open_store(workspace, create=False))
        return look_up.document(run.document_id, repo_name=run.repo_name, content=run.swhid), None
    except StarsmithError as error:
        return None, f"The workspace says no more: {error}"
