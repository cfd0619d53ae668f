"""The verdicts of a result folder as they come: a file that whoever is killed leaves behind whole.

One line for each completion that was run, appended in one write, so that a killed run loses at most the line it was at.
The key of a line is a digest of the completion and of all that decides on it. A line is never changed; two lines of one
key cannot come about, because one process at a time holds the folder.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from starsmith.disk import disk_errors
from starsmith.errors import StarsmithError
from starsmith.evaluate.problem import Verdict
from starsmith.plain_file import open_plain

LONGEST_DETAIL: Final = 200
"""Characters of a detail that are kept. An exception's text is a program's own, and may be anything."""
LONGEST_LINE: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A verdict, and what its programs took."""

    task: str
    verdict: Verdict
    beside: bool = False
    """The test could not judge the program from a process of its own, and was run in the program's."""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    memory_bytes: int = 0


class VerdictFile:
    """The verdicts of one folder under one set of settings. Use it in a `with` statement.

    Args:
        path: the file; it is made where there is none.
        settings: what every verdict of it depends on, of plain values.

    Raises StarsmithError where the file holds verdicts under other settings, or is damaged.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path, self._settings = path, dict(settings)
        self._descriptor, self._size = -1, 0
        self.found: dict[str, Judged] = {}
        """Key: verdict."""

    def __enter__(self) -> "VerdictFile":
        with disk_errors(str(self._path)):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._read()
            if not self.found:
                self._cut(0)
                self._append({"settings": self._settings})
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def add(self, key: str, judged: Judged) -> None:
        """Write down a verdict. It is kept from then on, whatever becomes of this process."""
        self._append({"key": key, **asdict(judged)})
        self.found[key] = judged

    def _append(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line).encode("ascii") + b"\n"
        with disk_errors(str(self._path)):
            try:
                if os.pwrite(self._descriptor, data, self._size) != len(data):
                    raise OSError(28, "No space left on device")
            except OSError:
                self._cut(self._size)
                raise
        self._size += len(data)

    def _cut(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        self._size = size

    def _read(self) -> None:
        settings: Mapping[str, Any] = self._settings
        for number, line in enumerate(self._lines(), 1):
            try:
                row = json.loads(line)
                if number == 1:
                    settings = row["settings"]
                else:
                    self.found[row["key"]] = _judged(row)
            except (ValueError, KeyError, TypeError):
                raise StarsmithError(
                    f"{self._path}, line {number}: no verdict that was written here. Remove the file to judge anew."
                ) from None
        self._cut(self._size)
        if self.found and settings != self._settings:
            raise StarsmithError(
                f"{self._path.parent} has verdicts of another kind: {_difference(settings, self._settings)}. "
                "Choose another folder, or remove this one."
            )

    def _lines(self) -> Iterator[bytes]:
        """Yield the whole lines; what was cut off at the end is not one."""
        with open_plain(self._path) as file:
            while (line := file.readline(LONGEST_LINE)).endswith(b"\n"):
                yield line
                self._size += len(line)


def _judged(row: Mapping[str, Any]) -> Judged:
    values = {name: row[name] for name in ("task", "beside", "cpu_seconds", "wall_seconds", "memory_bytes")}
    return Judged(verdict=Verdict(**row["verdict"]), **values)


def _difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    name = next(name for name in {**found, **expected} if found.get(name) != expected.get(name))
    return f"{name} is {_shown(found.get(name))} there and {_shown(expected.get(name))} now"


def _shown(value: object) -> str:
    return json.dumps(value)[:200]
