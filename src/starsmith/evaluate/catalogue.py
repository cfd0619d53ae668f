"""The benchmarks as a user meets them: what each is, which files it needs and where they come from, what is here.

Counts of problems are those of the official files (evaluation-recipes; for sets that cannot be looked into here, what
their papers say). Nothing is downloaded: `where` is for people.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from starsmith.errors import StarsmithError
from starsmith.evaluate import dataset
from starsmith.evaluate.benchmarks import PLACES, benchmark
from starsmith.evaluate.dataset import Source
from starsmith.evaluate.problem import Benchmark

PROBLEMS: Final[Mapping[str, int]] = {
    "humaneval": 164,
    "humaneval-plus": 164,
    "mbpp": 500,
    "mbpp-plus": 378,
    "multipl-e": 2864,
    "humaneval-fix": 984,
    "can-it-edit": 210,
    "ds-1000": 1000,
    "gsm8k-pal": 1319,
    "cruxeval-input": 800,
    "cruxeval-output": 800,
    "fim-santacoder": 4792,
    "humaneval-infilling": 1033,
    "crosscodeeval": 2665,
}
"""Under the default options. What is not here is told by its files alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OfficialFile:
    """A file that a benchmark reads."""

    name: str
    licence: str
    where: str
    optional: bool
    found: tuple[str, ...] = ()
    """Where it is; nothing where it is not, or nobody said where to look."""
    version: str = ""
    """Empty for a file that is not known here, or not found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One benchmark."""

    name: str
    title: str
    recipe: str
    problems: int | None
    languages: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    """Values by name, the default first."""
    files: tuple[OfficialFile, ...]
    needs: tuple[str, ...]
    """Python packages that programs may use: `starsmith eval setup` gets them."""
    toolchains: tuple[str, ...]
    """Languages with tools of their own: `starsmith eval doctor` says which are here."""

    @property
    def missing(self) -> tuple[OfficialFile, ...]:
        """The files that must be had before it can run."""
        lacking = tuple(file for file in self.files if not file.found)
        return lacking if len(lacking) == len(self.files) else tuple(file for file in lacking if not file.optional)

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self) | {"missing": [file.name for file in self.missing]}


def catalogue(data: Path | None) -> list[Entry]:
    """Return all benchmarks. `data` is a folder that has official files, or one file; None where there is none.

    Raises StarsmithError where `data` is nothing.
    """
    if data is not None and not data.exists():
        raise StarsmithError(f"There is no {data}; expected a folder with the benchmarks' official files.")
    return [_entry(benchmark(name), data) for name in PLACES]


def _entry(made: Benchmark[Any], data: Path | None) -> Entry:
    return Entry(
        name=made.name,
        title=made.title,
        recipe=made.recipe,
        problems=PROBLEMS.get(made.name),
        languages=made.languages,
        options={option.name: option.values for option in made.known_options},
        files=tuple(_files(made, data)),
        needs=made.python_packages,
        toolchains=tuple(tools.language for tools in made.toolchains.values()),
    )


def _files(made: Benchmark[Any], data: Path | None) -> Iterator[OfficialFile]:
    for source, found in dataset.places(made.sources(), data):
        yield OfficialFile(
            name=_shown(source),
            licence=source.licence,
            where=source.where,
            optional=source.optional,
            found=tuple(map(str, found)),
            version=dataset.known_version(found[0]) if len(found) == 1 else "",
        )


def _shown(source: Source) -> str:
    return " or ".join(source.names[:2])
