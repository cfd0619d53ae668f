"""The official files of the benchmarks, wherever their user has them.

Nothing is downloaded, and no benchmark ships with Starsmith. A file is known by the digest of what it holds, unpacked:
a known one is named with its version, an unknown one is used with a warning, and its digest is recorded.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

from starsmith.errors import StarsmithError
from starsmith.plain_file import open_plain

LARGEST_FILE: Final = 2 << 30
"""Bytes, unpacked. The largest official file, of HumanEval+, has 0.03 of that."""

Row = Mapping[str, Any]
"""One row of an official file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One official file."""

    names: tuple[str, ...]
    """Names it may have, without `.gz`, the best first; `*` stands for anything. One may begin with its folder."""
    where: str
    """Where to get it: a repository or a page, and the name there."""
    licence: str
    key: str = ""
    """What `Benchmark.problems` is given its rows under."""
    optional: bool = False
    """The benchmark is of use without it."""
    several: bool = False
    """Every file that has such a name is read, in the order of their paths; the rows get the field `file`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file that was read."""

    key: str
    path: str
    digest: str
    """SHA-256 of the content, unpacked."""
    version: str
    """Empty where the digest is not known."""
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """What the files of a benchmark hold, and which they were."""

    rows: Mapping[str, Sequence[Row]]
    files: tuple[File, ...]
    missing: tuple[Source, ...]
    """Optional ones that are not there."""
    warnings: tuple[str, ...]


T = TypeVar("T")


def load(
    sources: Sequence[Source], path: Path, *, benchmark: str, make: Callable[[Mapping[str, Sequence[Row]]], T]
) -> tuple[T, Data]:
    """Read a benchmark's files and make its problems of them.

    Raises StarsmithError as `read` does, and where the rows are not those of the benchmark.
    """
    data = read(sources, path, benchmark=benchmark)
    try:
        made = make(data.rows)
    except (LookupError, TypeError, ValueError, AttributeError, SyntaxError) as error:
        said = f"{type(error).__name__}: {error}"[:200]
        named = ", ".join(file.path for file in data.files[:3])
        raise StarsmithError(f"{named}: not the rows of {benchmark} ({said}). {_where(sources[:1])}") from None
    return made, data


def read(sources: Sequence[Source], path: Path, *, benchmark: str) -> Data:
    """Return the rows of a benchmark's files.

    `path` is the one file, or a folder that has the files anywhere below it. Raises StarsmithError where a file that
    is needed, or all that are optional, cannot be found, where it is not clear which of several is meant, and for a
    file that is damaged or not of a kind that is read.
    """
    if not path.is_dir() and not path.is_file():
        raise StarsmithError(f"There is no {path}; expected {benchmark}: a file, or a folder. {_where(sources[:1])}")
    rows: dict[str, list[Row]] = {}
    files: list[File] = []
    for source, found in _found(sources, path, benchmark):
        for place in found:
            file, content = _file(place, source.key)
            files.append(file)
            rows.setdefault(source.key, []).extend(_named(content, place, path) if source.several else content)
    present = {file.key for file in files}
    return Data(
        rows=rows,
        files=tuple(files),
        missing=tuple(source for source in sources if source.key not in present),
        warnings=tuple(_warning(file, benchmark) for file in files if not file.version),
    )


def _named(content: Sequence[Row], place: Path, path: Path) -> list[Row]:
    name = place.relative_to(path).as_posix() if path.is_dir() else place.name
    return [{**row, "file": name} for row in content]


def _warning(file: File, benchmark: str) -> str:
    return (
        f"{file.path} is no version of {benchmark} that is known here (SHA-256 {file.digest}): "
        "its scores may not compare with others'."
    )


def _found(sources: Sequence[Source], path: Path, benchmark: str) -> list[tuple[Source, list[Path]]]:
    """Return each source that has places, with them."""
    found = places(sources, path)
    lacking = [source for source, there in found if not there and not source.optional]
    if lacking or not any(there for _, there in found):
        lacking = lacking or list(sources[:1])
        names = ", ".join(source.names[0] for source in lacking)
        raise StarsmithError(f"{path}: no {names}, which {benchmark} needs. {_where(lacking)}")
    for source, there in found:
        if len(there) > 1 and not source.several:
            both = " and ".join(str(place) for place in there[:2])
            raise StarsmithError(f"{benchmark}: both {both} could be meant; name the one file, or its folder.")
    return [(source, there) for source, there in found if there]


def places(sources: Sequence[Source], path: Path | None) -> list[tuple[Source, list[Path]]]:
    """Return each source with the files at `path` that could be meant: none, one, or several, which `read` refuses."""
    if path is None:
        return [(source, []) for source in sources]
    return [(source, _places(source, path, alone=len(sources) == 1)) for source in sources]


def known_version(path: Path) -> str:
    """Return which version of an official file this is; empty where that is not known.

    Raises StarsmithError for a file that cannot be read.
    """
    return known_versions().get(hashlib.sha256(_content(path)).hexdigest(), "")


def _places(source: Source, path: Path, *, alone: bool) -> list[Path]:
    """Return the files that can be meant: of the same name only the one nearest to the top, packed or not."""
    if path.is_file():
        # Somebody who names one file means it, whatever it is called.
        return [path] if alone or _has_name(path, source) else []
    below = sorted(each for each in path.rglob("*") if each.is_file() and _has_name(each, source))
    if source.several:
        return below
    for name in source.names:
        same = [each for each in below if _is_called(each, name)]
        depth = min((len(each.parts) for each in same), default=0)
        if same:
            return [each for each in same if len(each.parts) == depth]
    return []


def _has_name(path: Path, source: Source) -> bool:
    return any(_is_called(path, name) for name in source.names)


def _is_called(path: Path, name: str) -> bool:
    called = path.as_posix().removesuffix(".gz")
    return fnmatch(f"/{called}", f"*/{name}") if "/" in name else fnmatch(called.rpartition("/")[2], name)


def _where(sources: Sequence[Source]) -> str:
    return " ".join(dict.fromkeys(f"Get it from {source.where}." for source in sources))


@cache
def known_versions() -> Mapping[str, str]:
    """Return SHA-256 of the unpacked content -> version, of the files that are known here."""
    text = resources.files("starsmith").joinpath("data/benchmark_files.tsv").read_text("utf-8")
    return {digest: version for digest, _, version in (line.split("\t") for line in text.splitlines()[1:])}


def _file(path: Path, key: str) -> tuple[File, list[Row]]:
    content = _content(path)
    digest = hashlib.sha256(content).hexdigest()
    rows = _rows(path, content)
    version = known_versions().get(digest, "")
    return File(key=key, path=str(path), digest=digest, version=version, rows=len(rows)), rows


def _content(path: Path) -> bytes:
    try:
        with open_plain(path) as packed, gzip.open(packed) if path.suffix == ".gz" else packed as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise StarsmithError(f"{path}: cannot be unpacked: {error}") from None
    if len(content) > LARGEST_FILE:
        raise StarsmithError(f"{path}: larger than {LARGEST_FILE:,} bytes; no file of a benchmark is.")
    return content


def _rows(path: Path, content: bytes) -> list[Row]:
    name = path.name.removesuffix(".gz")
    try:
        rows = _parquet(content) if name.endswith(".parquet") else _json(name, content.decode())
    except (ValueError, RecursionError, OSError) as error:
        raise StarsmithError(f"{path}: cannot be read: {error}"[:300]) from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise StarsmithError(f"{path}: expected one JSON object for each problem, and at least one.")
    return rows


def _parquet(content: bytes) -> list[Row]:
    # Here, so that a list of the benchmarks does not wait for it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[Row] = pq.read_table(pa.BufferReader(content)).to_pylist()
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None
    return rows


def _json(name: str, text: str) -> list[Row]:
    """Return the objects of JSON lines, of an array, or the one object of a file that holds one.

    Of an official file of another kind the one row is its text.
    """
    if name.endswith((".py", ".tsv", ".csv")) or ".txt" in name:
        return [{"text": text}]
    if not name.endswith(".json"):
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    whole = json.loads(text)
    return whole if isinstance(whole, list) else [whole]
