"""Files that somebody names: opened only where they are files.

Whoever opens a pipe that nobody writes to waits for ever, and a device may have no end. Recipes, benchmarks, probes,
lists, receipts and deltas are opened here, so that each such mistake is told in the same words. What is read of them is
the business of those who ask. Files of repositories and archives, where a link is not followed either, are opened by
`sources`.
"""

import os
import stat
from io import BufferedReader
from pathlib import Path

from starsmith.errors import StarsmithError


def open_plain(path: Path, *, name: str | None = None, expected: str = "a file") -> BufferedReader:
    """Open a regular file, or a link to one, for reading; wait for nothing.

    `name` is what errors call it, by default its path. Raises StarsmithError for whatever is missing, may not be read,
    or is something else.
    """
    called = name or str(path)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise StarsmithError(f"{called} cannot be read: {error.strerror}.") from error
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        found = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise StarsmithError(f"{called} is {found}; expected {expected}.")
    return open(handle, "rb")


def read_plain(path: Path, *, name: str | None = None, expected: str = "a file", most: int | None = None) -> bytes:
    """Return the bytes of a regular file of at most `most` bytes.

    Raises StarsmithError as `open_plain` does, for a larger file, and for one that cannot be read to its end.
    """
    called = name or str(path)
    with open_plain(path, name=name, expected=expected) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise StarsmithError(f"{called} has {size:,} bytes; expected at most {most:,}.")
        try:
            return file.read() if most is None else file.read(most)
        except OSError as error:
            raise StarsmithError(f"{called} cannot be read: {error.strerror}.") from error
