"""Lists of paths: a text file that names one place a line, given in place of a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

from starsmith.errors import StarsmithError

_MOST_BYTES = 256 * 2**20


def listed_paths(path: Path, *, wrong: str, empty: str) -> Iterator[tuple[Path, str]]:
    """Yield (path, what errors call it) of a list; empty lines and lines that begin with # say nothing.

    Paths are relative to the list. Raises StarsmithError that says `wrong` of what is no text file, and `empty` of a
    list without a path.
    """
    try:
        is_list = path.is_file() and path.stat().st_size <= _MOST_BYTES
        content = path.read_bytes() if is_list else b"\0"
    except OSError as error:
        raise StarsmithError(f"{path} cannot be read: {error.strerror}.") from error
    if b"\0" in content:
        raise StarsmithError(f"{path} {wrong}")
    lines = [line.strip() for line in os.fsdecode(content).split("\n")]
    chosen = [(number, line) for number, line in enumerate(lines, start=1) if line and not line.startswith("#")]
    if not chosen:
        raise StarsmithError(f"{path} {empty}")
    for number, line in chosen:
        yield path.parent / Path(line).expanduser(), f"{path}, line {number}: {line}"
