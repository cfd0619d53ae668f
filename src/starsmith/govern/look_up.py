"""Look-up: what happened to a document, an origin, or a piece of code, and why.

Answers come from the tables of the latest build alone; no content is read but the one that is asked about. A snippet
is answered by signature: the documents that share most of its shingles.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from starsmith.curate.filters import Filter, filters
from starsmith.curate.licence_decision import LICENCES
from starsmith.decide import FACTS
from starsmith.document import (
    ANNOTATIONS,
    BENCHMARK_MATCHES,
    DOCUMENTS,
    FINDINGS,
    SCANS,
    TEXTS,
    content_id,
    document_id,
    file_name_of,
    parse_swhid,
    swhid,
)
from starsmith.errors import StarsmithError
from starsmith.govern.answers import Answer, DocumentStory, OriginStory, Similar, SnippetStory
from starsmith.govern.foreign_text import visible
from starsmith.govern.scan_story import ScanStory
from starsmith.govern.single_rows import Row, SingleRows
from starsmith.ledger import LEDGER
from starsmith.plain_file import read_plain
from starsmith.recipe import Recipe, loads
from starsmith.released import RELEASED
from starsmith.storage import Store
from starsmith.verdict import KEEP
from starsmith.workspace import read_build

MOST_DOCUMENTS = 20
"""Occurrences of one content that are told in full."""
MOST_COPIES = 5
"""Copies of a similar content that are looked at for one that was kept."""
_ID_COLUMNS = {"dir": "directory_id", "rev": "revision_id", "snp": "snapshot_id", "ori": "origin_id"}
_PLACE = ("document_id", "shard", "url", "path")
"""What has to be known of a document to find everything else about it."""
_SCAN_TABLES = {
    "scans": (SCANS, ("reason", "detail", "value", "threshold", "signature")),
    "findings": (FINDINGS, ("kind", "line", "start", "end")),
    "benchmark_matches": (BENCHMARK_MATCHES, ("benchmark", "problem", "field", "kind", "position", "share")),
}
"""What is told of a document's scan."""
_PATHS_COMPARED = 5_000
"""Paths of one origin that a misspelt one is compared with; 5,000 take under half a second."""


class LookUp:
    """Questions to one workspace."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.build = read_build(store)
        self.recipe: Recipe = loads(self.build.recipe, base=Path(self.build.base), name="the recipe of the last build")
        self.rows = SingleRows(store, self.build)

    def target(self, text: str) -> Answer:
        """Answer for a SWHID, `owner/repo`, `owner/repo:path` or a file on disk.

        Raises StarsmithError if the workspace knows no such thing.
        """
        if text.startswith("swh:"):
            return self._by_swhid(text)
        if _is_file(text):
            return self.file(Path(text))
        name, colon, path = _encodable(text).partition(":")
        if origins := self.rows.origins_where("repo_name", name):
            return self._by_path(text, origins, path) if colon else self._origin_answer(text, origins)
        if origins := self.rows.origins_where("url", _encodable(text)):
            return self._origin_answer(text, origins)
        self._raise_if_left(name, _encodable(text))
        raise StarsmithError(f"{text!r} is not in this workspace{self._nearest_name(name)}, and no such file exists.")

    def _raise_if_left(self, *targets: str) -> None:
        """Raise StarsmithError for a name, URL or SWHID that a request of the workspace's own list covers."""
        from starsmith.govern import opt_out
        from starsmith.govern.opt_out_targets import covering

        opt_outs = opt_out.read(self.store)
        for target in targets:
            if request := covering(opt_outs, target):
                raise StarsmithError(f"{targets[-1]} has left (an opt-out of {request.added[:10]} covers it).")

    def _nearest_name(self, name: str) -> str:
        names: list[str] = self.rows.origins["repo_name"].to_pylist()
        return _did_you_mean(name, names)

    def _by_swhid(self, text: str) -> Answer:
        kind, identifier = parse_swhid(text)
        if kind == "cnt":
            if places := self._places({"content_id": identifier}):
                return self._documents_answer(text, places)
            self._raise_if_left(text)
            raise StarsmithError(f"{text} is not in this workspace: no collected document has these bytes.")
        if origins := self.rows.origins_where(_ID_COLUMNS[kind], identifier):
            return self._origin_answer(text, origins)
        self._raise_if_left(text)
        raise StarsmithError(f"{text} is not in this workspace: no origin was collected at it.")

    def document(self, identifier: bytes, *, repo_name: str, content: str) -> Answer:
        """Answer for one document by its id or, where a path that is not UTF-8 hides that, for its content's SWHID.

        Raises StarsmithError if the workspace knows neither, or the repository has left.
        """
        if places := self._places({"document_id": identifier}):
            return self._documents_answer(content, places)
        self._raise_if_left(repo_name)
        return self._by_swhid(content)

    def _by_path(self, text: str, origins: list[Row], path: str) -> Answer:
        path = path.removeprefix("/")
        places = [place for origin in origins for place in self._at_path(origin, path)]
        if places:
            return self._documents_answer(text, places)
        paths = [each for origin in origins for each in self._paths(origin)]
        raise StarsmithError(
            f"{origins[0]['repo_name']} was collected, but has no path {path!r}{_did_you_mean(path, paths)}."
        )

    def _at_path(self, origin: Row, path: str) -> list[Row]:
        """Find documents by origin and path: by the id that follows from them, or, where that fails, by the names.

        The id is made of the path as it was; a path that is not UTF-8 is asked for as it is shown.
        """
        identifier = document_id(origin["origin_id"], origin["revision_id"], path.encode())
        wanted = {"origin_id": origin["origin_id"], "path": path}
        return self._places({"document_id": identifier}) or self._places(wanted)

    def _paths(self, origin: Row) -> list[str]:
        places = self.rows.where("facts", FACTS, {"origin_id": origin["origin_id"]}, columns=["path"])
        return [place["path"] for place in places]

    def _places(self, wanted: Mapping[str, str | bytes]) -> list[Row]:
        """Return id and shard of every document with the wanted values, by URL and path."""
        places = self.rows.where("facts", FACTS, wanted, columns=_PLACE)
        return sorted(places, key=lambda place: (place["url"], place["path"], place["document_id"]))

    def file(self, path: Path) -> Answer:
        """Answer for the bytes of a file on disk, or for what is most like it."""
        name = _encodable(str(path))
        return self._by_bytes(name, read_plain(path, name=name))

    def snippet(self, content: bytes) -> Answer:
        """Answer for a piece of code: the same bytes if they are there, else what is most like it."""
        if not content.strip():
            raise StarsmithError("There is nothing on standard input. Pipe a piece of code into `starsmith why W -`.")
        return self._by_bytes("-", content)

    def _by_bytes(self, target: str, content: bytes) -> Answer:
        if same := self._places({"content_id": content_id(content)}):
            return self._documents_answer(target, same)
        return Answer(target=target, snippet=self._similar(content))

    def _documents_answer(self, text: str, places: list[Row]) -> Answer:
        stories = tuple(self._story(place) for place in places[:MOST_DOCUMENTS])
        return Answer(target=text, documents=stories, occurrences=len(places))

    def _origin_answer(self, text: str, origins: list[Row]) -> Answer:
        return Answer(target=text, origins=tuple(self._origin_story(origin) for origin in origins))

    def _origin_story(self, origin: Row) -> OriginStory:
        wanted = {"origin_id": origin["origin_id"]}
        rows = self.rows.where("ledger", LEDGER, wanted, columns=["verdict", "length"])
        counts: dict[str, tuple[int, int]] = {}
        for row in rows:
            documents, size = counts.get(row["verdict"], (0, 0))
            counts[row["verdict"]] = documents + 1, size + row["length"]
        return OriginStory(
            repo_name=origin["repo_name"],
            url=origin["url"],
            source=origin["source"],
            revision=swhid("rev", origin["revision_id"]) if origin["revision_id"] else None,
            directory=swhid("dir", origin["directory_id"]) if origin["directory_id"] else None,
            error=origin["error"],
            verdicts=dict(sorted(counts.items(), key=lambda item: (item[0] != KEEP, -item[1][0], item[0]))),
        )

    def _story(self, place: Row) -> DocumentStory:
        """Tell one document: every table is asked for its one row."""
        wanted, shard = {"document_id": place["document_id"]}, place["shard"]
        (document,) = self.rows.where("documents", DOCUMENTS, wanted, shard=shard)
        (ledger,) = self.rows.where("ledger", LEDGER, wanted, shard=shard)
        (origin,) = self.rows.origins_where("origin_id", document["origin_id"])
        annotations = self.rows.where("annotations", ANNOTATIONS, wanted, shard=shard)
        licences = self.rows.where("licences", LICENCES, wanted)
        text = self._text(document)
        annotation = annotations[0] if annotations else {}
        measured = {**document, **text, **annotation} if text and not document["reason"] and not text["reason"] else {}
        return DocumentStory(
            document=document,
            origin=origin,
            text=text,
            annotation=annotation,
            licence=licences[0] if licences else {},
            checks=tuple(self._checks(measured)) if measured else (),
            verdict=ledger,
            scan=self._scan(document, ledger),
            winner=self._winner(ledger["winner_id"]),
            release=self._place(shard, document["document_id"]) if ledger["verdict"] == KEEP else None,
            order=self.recipe.order,
        )

    def _text(self, document: Row) -> Row:
        if document["content_id"] is None:
            return {}
        wanted = {"content_id": document["content_id"]}
        texts = self.rows.where("texts", TEXTS, wanted, shard=document["shard"])
        return texts[0] if texts else {}

    def _scan(self, document: Row, verdict: Row) -> ScanStory:
        """Tell what the scans found; what was left out before was not scanned, though a copy of it may have been."""
        stages = self.recipe.order
        before = verdict["verdict"] != KEEP and stages.index(verdict["stage"]) < stages.index("scan")
        about: dict[str, list[Row]] = {}
        if not before:
            wanted, shard = {"content_id": document["content_id"]}, document["shard"]
            for name, (schema, columns) in _SCAN_TABLES.items():
                about[name] = self.rows.where(name, schema, wanted, shard=shard, columns=columns)
        scans = about.get("scans", [])
        return ScanStory(
            recipe=self.recipe,
            verdict=verdict["verdict"],
            before=before,
            database=self.build.versions.get("malware"),
            scan=scans[0] if scans else None,
            findings=about.get("findings", ()),
            matches=about.get("benchmark_matches", ()),
        )

    def _winner(self, identifier: bytes | None) -> Row | None:
        """Return path, name and verdict of the document that another was dropped for."""
        if identifier is None:
            return None
        (place,) = self._places({"document_id": identifier})
        (row,) = self.rows.where("ledger", LEDGER, {"document_id": identifier}, shard=place["shard"])
        (origin,) = self.rows.origins_where("origin_id", row["origin_id"])
        return row | {"repo_name": origin["repo_name"]}

    def _checks(self, measured: Row) -> Iterator[tuple[Filter, Any]]:
        """Yield every filter that measures a number, with what it measured on this document."""
        for each in filters(self.recipe.filters):
            if each.column and each.applies_to(measured["language"]) and measured[each.column] is not None:
                yield each, measured[each.column]

    def _place(self, shard: str, document: bytes) -> tuple[str, int] | None:
        """Return the release file and row of a kept document, or None before the release stage."""
        if self.build.release is None:
            return None
        row = self.rows.number("released", RELEASED, {"document_id": document}, shard=shard)
        return f"{self.build.release}/data/{shard}.parquet", row

    def _similar(self, content: bytes) -> SnippetStory:
        from starsmith.govern.likeness import most_like, shingles_of

        own, reason = shingles_of(content, self.recipe.near_duplicates)
        found = [
            Similar(story=self._best_copy(each.content_id), similarity=each.similarity, contained=each.contained)
            for each in most_like(self.store, self.build, own)
        ]
        return SnippetStory(shingles=len(own), similar=tuple(found), reason=reason)

    def _best_copy(self, identifier: bytes) -> DocumentStory:
        """Tell the kept document of a content, or the first where none of the first few is kept."""
        stories = [self._story(place) for place in self._places({"content_id": identifier})[:MOST_COPIES]]
        return next((story for story in stories if story.verdict["verdict"] == KEEP), stories[0])


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:
        # A name no file system takes, or a folder that may not be looked into: then it is no file to us.
        return False


def _encodable(text: str) -> str:
    """Return text that tables can be asked for: bytes of the command line that are not UTF-8 stand in no name."""
    return text.encode("utf-8", errors="backslashreplace").decode()


def _did_you_mean(name: str, names: list[str]) -> str:
    """Return the most similar name as a question: one that ends alike, or else one that is spelt alike."""
    same_end = [each for each in names if file_name_of(each).lower() == file_name_of(name).lower()]
    close = get_close_matches(name, same_end or names[:_PATHS_COMPARED], n=1, cutoff=0.0 if same_end else 0.6)
    return f" (did you mean {visible(close[0])}?)" if close else ""
