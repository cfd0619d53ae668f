"""What was generated already: a line for each completion, kept as it is made, so that nothing is made twice.

A journal begins with what determined it, and only a run of the same goes on with it. A line that a crash cut off is
left out. Once all is there, the generations file is made of it in one step; whatever happens in between, the next run
comes to the same bytes.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path
from typing import Any

from starsmith.errors import StarsmithError
from starsmith.evaluate.generators.asked import Made

Key = tuple[str, int]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make an error of the system, such as a full disk, one that names the file and says that nothing is lost."""
    try:
        yield
    except OSError as error:
        raise StarsmithError(
            f"{path} cannot be written: {error.strerror or error}. What was generated before is kept; run it again."
        ) from error


class Journal:
    """The journal of one generations file. Use it in a `with` statement; only one process can.

    Args:
        path: where it stands while a run is not finished.
        about: what determines what is generated, as plain values.

    Raises StarsmithError where another process has it, or where it is of something else.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self._path = path
        self._places: dict[Key, int] = {}
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._file: BufferedRandom = open(handle, "r+b")  # noqa: SIM115 (it is open as long as this)
        try:
            self._lock()
            self._read(_line(about))
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StarsmithError(f"Another run is writing {self._path}; wait for it, or name another --out.") from None

    def _read(self, head: bytes) -> None:
        first = self._file.readline()
        if not first.endswith(b"\n"):
            # New, or cut off before anything was kept.
            self._restart(head)
            return
        if first != head:
            raise StarsmithError(
                f"{self._path} was begun with another model, data or settings. Remove it, or name another --out."
            )
        good = len(first)
        for line in self._file:
            key = _key(line)
            if key is None:
                break
            self._places[key] = good
            good += len(line)
        self._file.seek(good)
        self._file.truncate()

    def _restart(self, head: bytes) -> None:
        with writing(self._path):
            self._file.seek(0)
            self._file.truncate()
            self._file.write(head)
            self._file.flush()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        # What could not be written is lost; the next run makes it again.
        try:
            self._file.close()
        except OSError as problem:
            if error[0] is None:
                raise StarsmithError(f"{self._path} cannot be written: {problem.strerror}.") from problem

    def __contains__(self, key: Key) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, made: Sequence[Made]) -> None:
        """Keep completions: after this returns, no crash of the process or the machine loses them."""
        with writing(self._path):
            place = self._file.seek(0, os.SEEK_END)
            lines = [_line(_row(each)) for each in made]
            self._file.write(b"".join(lines))
            self._file.flush()
            os.fsync(self._file.fileno())
        for each, line in zip(made, lines, strict=True):
            self._places[each.asked.key] = place
            place += len(line)

    def write(self, path: Path, order: Iterable[Key]) -> None:
        """Write the generations file, whole or not at all."""
        partial = path.with_name(f".{path.name}.partial")
        with writing(path):
            with partial.open("wb") as file:
                for key in order:
                    self._file.seek(self._places[key])
                    file.write(self._file.readline())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)

    def remove(self) -> None:
        """Remove it: all it held is in the generations file."""
        self._path.unlink(missing_ok=True)


def _row(made: Made) -> dict[str, Any]:
    row: dict[str, Any] = {"task_id": made.asked.task, "sample": made.asked.sample, "completion": made.text}
    row |= {"finish": made.finish, "tokens": made.tokens}
    return row | ({"prompt_shortened_by": made.shortened} if made.shortened else {})


def _line(value: Mapping[str, Any]) -> bytes:
    # ASCII, since half a character can be in a completion and in no UTF-8.
    return json.dumps(value).encode("ascii") + b"\n"


def _key(line: bytes) -> Key | None:
    try:
        row = json.loads(line)
        return (row["task_id"], row["sample"]) if line.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError):
        return None
