"""Benchmarks from the files a user has: JSON lines, JSON and Parquet, and the folders of DS-1000 and APPS.

Starsmith ships no benchmark, since a corpus that could hold one must not come from a place that does. What the rows
mean is for `curate.benchmark_texts`; here they are only read. Nothing is executed: pickled fixtures are not opened.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from starsmith.curate.benchmark_texts import LAYOUTS, Layout, ProblemText, problem_texts
from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.plain_file import open_plain
from starsmith.settings import BenchmarkSettings

MAX_BYTES: Final = 2 * 1024**3
"""The largest benchmark file that is read, unpacked: the largest known (APPS) has 1.3 GB."""
SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")

_APPS_QUESTION: Final = "question.txt"
_DS1000_PROMPT: Final = "prompt.txt"
_DS1000_FILES: Final = {
    "prompt": _DS1000_PROMPT,
    "reference_code": "reference_code.txt",
    "code_context": "code_context.txt",
}


def layout_of(settings: BenchmarkSettings) -> Layout | None:
    """Return the fields that a recipe names, or None where it leaves them to the benchmark's name."""
    if not any((settings.prompt, settings.docstring, settings.solution, settings.tests)):
        return None
    return Layout(
        ids=(settings.id,) if settings.id else Layout().ids,
        prompt=_names(settings.prompt),
        docstring=_names(settings.docstring),
        solution=_names(settings.solution),
        tests=_names(settings.tests),
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def digest(path: Path) -> str:
    """Return a digest of a benchmark's file, or of all files below a folder.

    Raises StarsmithError for what is neither, or cannot be read.
    """
    files = sorted(found for found in path.rglob("*") if found.is_file()) if path.is_dir() else [path]
    if not path.is_dir() and not path.is_file():
        raise StarsmithError(f"There is no benchmark {path}; expected a file or a folder.")
    try:
        return fingerprint([[each.relative_to(path).as_posix(), _sha256(each)] for each in files])
    except OSError as error:
        raise StarsmithError(f"{path}: cannot be read: {error.strerror}.") from None


def _sha256(file: Path) -> str:
    with open_plain(file) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def load(benchmark: str, path: Path, *, layout: Layout | None = None) -> list[ProblemText]:
    """Return the texts of a benchmark: one file, or every file below a folder, in the order of their names.

    `layout` says which fields hold text; without one `benchmark` must be one of LAYOUTS. Raises StarsmithError for
    an unknown benchmark, and for a file that is missing, empty, damaged or not of a kind that is read.
    """
    if layout is None and benchmark not in LAYOUTS:
        known = ", ".join(sorted(LAYOUTS))
        raise StarsmithError(f"Benchmark {benchmark!r} is not known; name the fields that hold text, or use {known}.")
    texts: list[ProblemText] = []
    for name, rows in _row_groups(path):
        try:
            texts += problem_texts(benchmark, rows, layout or LAYOUTS[benchmark])
        except StarsmithError as error:
            raise StarsmithError(f"{name}: {error}") from None
    if not texts:
        raise StarsmithError(f"{path}: no problem of {benchmark} was found in it.")
    return texts


def _row_groups(path: Path) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Yield (file or folder, rows)."""
    if not path.is_dir():
        yield path, _rows(path)
        return
    for file_name, read in ((_APPS_QUESTION, _apps_row), (_DS1000_PROMPT, _ds1000_row)):
        folders = sorted(found.parent for found in path.rglob(file_name))
        if folders:
            yield path, [read(folder, root=path) for folder in folders]
            return
    files = sorted(found for found in path.rglob("*") if found.name.endswith(SUFFIXES) and found.is_file())
    if not files:
        raise StarsmithError(f"{path}: no benchmark file lies in this folder; expected one of {', '.join(SUFFIXES)}.")
    for file in files:
        yield file, _rows(file)


def _apps_row(folder: Path, *, root: Path) -> dict[str, Any]:
    return {"id": folder.relative_to(root).as_posix(), "question": _file_text(folder / _APPS_QUESTION)}


def _ds1000_row(folder: Path, *, root: Path) -> dict[str, Any]:
    files = {column: folder / name for column, name in _DS1000_FILES.items()}
    texts = {column: _file_text(file) for column, file in files.items() if file.is_file()}
    return {"id": folder.relative_to(root).as_posix(), **texts}


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of one file."""
    if not path.name.endswith(SUFFIXES):
        raise StarsmithError(f"{path}: not a benchmark file; expected one of {', '.join(SUFFIXES)}.")
    rows = _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path, _file_text(path))
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise StarsmithError(f"{path}: expected one object for each problem, and at least one.")
    return list(rows)


def _parquet_rows(path: Path) -> Sequence[Any]:
    try:
        with open_plain(path) as file:
            return pq.read_table(file).to_pylist()  # type: ignore[no-any-return]
    except (OSError, pa.ArrowException) as error:
        raise StarsmithError(f"{path}: cannot be read as Parquet: {error}") from None


def _json_rows(path: Path, text: str) -> Sequence[Any]:
    """Return the objects of JSON lines, of a JSON array, or of an object that holds one for each id."""
    try:
        if ".jsonl" in path.name:
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StarsmithError(f"{path}: not valid JSON: {error}") from None
    if isinstance(whole, dict):
        return [row if not isinstance(row, dict) else {"id": name, **row} for name, row in whole.items()]
    return whole if isinstance(whole, list) else []


def _file_text(path: Path) -> str:
    """Return a text file, unpacked, of at most MAX_BYTES."""
    try:
        with open_plain(path) as packed, gzip.open(packed) if path.suffix == ".gz" else packed as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise StarsmithError(f"{path}: larger than {MAX_BYTES} bytes; no benchmark is.")
        return content.decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise StarsmithError(f"{path}: cannot be read: {error}") from None
