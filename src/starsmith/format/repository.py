"""Repositories: the files of one repository after each other, in one context.

Section 8.2 of the paper's data description: with metadata (the repository's name and the files' paths) or, half of the
time, without; files in random order; each repository is a candidate for fill in the middle with p = 0.5, and each of
its files is transformed with p = 0.5 then. Where a cut may fall the template says: the path stays whole, in the prefix.
The fragment with the repository's name is never transformed, as the paper says; its released code transforms it as
well, and cuts paths, which `fim_names` gives.

Nothing is cut to a length here. A file is a fragment of its own whatever its neighbours are, so a file that leaves
takes its tokens along and changes no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from starsmith.format import fill_in_middle
from starsmith.format.choice import Draw, shuffled
from starsmith.format.sentinels import END_OF_TEXT, FILE_SEP, REPO_NAME, Segment, Segments, with_document
from starsmith.format.settings import FormatSettings


class HasId(Protocol):
    """A file, or what stands for one."""

    @property
    def document_id(self) -> bytes: ...


Numbered = TypeVar("Numbered", bound=HasId)


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """One file of a repository."""

    path: str
    text: str
    document_id: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class RepositoryFiles:
    """A repository, or what of it lies in one shard. `origin_id` is what is drawn by for all files at once."""

    name: str
    origin_id: bytes
    files: tuple[File, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What was chosen for a repository as a whole."""

    settings: FormatSettings
    draw: Draw
    with_metadata: bool
    with_fim: bool

    @classmethod
    def of(cls, settings: FormatSettings, draw: Draw) -> "Plan":
        """Choose; `draw` is the repository's own."""
        return cls(
            settings=settings,
            draw=draw,
            with_metadata=draw.chance("metadata", settings.metadata_rate),
            with_fim=draw.chance("fim/repository", settings.fim_rate),
        )

    def draw_of(self, document_id: bytes) -> Draw:
        """Return the choices about one file."""
        return Draw(seed=self.draw.seed, epoch=self.draw.epoch, copy=self.draw.copy, document_id=document_id)

    def order(self, files: Sequence[Numbered]) -> list[Numbered]:
        return shuffled(files, lambda file: self.draw_of(file.document_id), "order")

    def opening(self, name: str) -> list[int | str]:
        """Return what comes before the first file."""
        if not self.with_metadata:
            return []
        if self.with_fim and self.settings.fim_names and self.draw.chance("fim/name", self.settings.fim_file_rate):
            told = fill_in_middle.cut(name, self.draw, spm_rate=self.settings.fim_spm_rate)
            return [REPO_NAME, *told.segments()]
        return [REPO_NAME, name]

    def fragment(self, file: File) -> list[int | str]:
        """Return one file, from its separator on."""
        heading = f"{file.path}\n" if self.with_metadata else ""
        text = heading + file.text
        draw = self.draw_of(file.document_id)
        if not self.with_fim or not draw.chance("fim/file", self.settings.fim_file_rate):
            return [FILE_SEP, text]
        kept = 0 if self.settings.fim_names else len(heading)
        return [
            FILE_SEP,
            *fill_in_middle.cut(text, draw, kept=kept, spm_rate=self.settings.fim_spm_rate).segments(),
        ]


def segments(repository: RepositoryFiles, *, settings: FormatSettings, draw: Draw) -> Segments:
    """Return a repository as it is trained on; `draw` is the repository's own."""
    plan = Plan.of(settings, draw)
    told: Segments = [*plan.opening(repository.name)]
    for file in plan.order(repository.files):
        told += with_document(plan.fragment(file), file.document_id)
    return [*told, END_OF_TEXT]


def context(name: str, files: Sequence[tuple[str, str]]) -> list[Segment]:
    """Return what a model is told of a repository before it goes on: (path, text) of each file, in the given order.

    >>> from starsmith.format.sentinels import shown
    >>> shown(context("acme/alpha", [("a.py", "1")]))
    '<repo_name>acme/alpha<file_sep>a.py\\n1'
    """
    told: list[Segment] = [REPO_NAME, name] if name else []
    for path, text in files:
        told += [FILE_SEP, f"{path}\n{text}"]
    return told


def completion_prompt(name: str, files: Sequence[tuple[str, str]], *, path: str, prefix: str) -> list[Segment]:
    """Return what a model is given to go on with the file at `path` after `prefix`."""
    return [*context(name, files), FILE_SEP, f"{path}\n{prefix}"]


def infilling_prompt(
    name: str, files: Sequence[tuple[str, str]], *, path: str, prefix: str, suffix: str
) -> list[Segment]:
    """Return what a model is given to write what is missing in the file at `path`."""
    heading = f"{path}\n{prefix}"
    return [*context(name, files), FILE_SEP, *fill_in_middle.prompt(prefix=heading, suffix=suffix)]
