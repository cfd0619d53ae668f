"""The result of a benchmark: scores, what became of every completion and why, and all that a score depends on.

`result.json` in a result's folder holds it whole, one problem a line. It is written in one step at the end, from the
verdicts that lie beside it.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from starsmith.disk import disk_errors
from starsmith.errors import StarsmithError
from starsmith.evaluate.metrics import Estimate
from starsmith.evaluate.problem import Verdict
from starsmith.evaluate.verdict_file import Judged
from starsmith.plain_file import read_plain

FORMAT: Final = 1
RESULT_FILE: Final = "result.json"
LARGEST_RESULT: Final = 1 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One number of a result, 0 to 1 or a number, with its 95% interval over problems."""

    group: str
    """"" for the whole; else a language, a kind of instruction."""
    metric: str
    unit: str
    value: float
    low: float
    high: float
    problems: int

    @classmethod
    def of(cls, group: str, metric: str, unit: str, estimate: Estimate) -> Self:
        return cls(group=group, metric=metric, unit=unit, **asdict(estimate))


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a benchmark said of one file of generations."""

    benchmark: str
    title: str
    version: str
    options: Mapping[str, str]
    scores: Sequence[Score]
    tasks: Mapping[str, Sequence[Judged]]
    """Problem: its completions, in the order of the file. Problems without any are left out."""
    warnings: Sequence[str]
    record: Mapping[str, Any]
    """Everything that can change a score: data, generations, sandbox, versions, the command."""

    def score(self, metric: str, group: str = "") -> Score | None:
        """Return one of the scores."""
        return next((each for each in self.scores if (each.metric, each.group) == (metric, group)), None)

    def reasons(self) -> Mapping[str, int]:
        """Return how often each reason was given, the most frequent first."""
        return dict(Counter(each.verdict.reason for judged in self.tasks.values() for each in judged).most_common())

    def head(self) -> dict[str, Any]:
        """Return everything but the verdicts, as plain values."""
        return {
            "format": FORMAT,
            "benchmark": self.benchmark,
            "title": self.title,
            "version": self.version,
            "options": dict(self.options),
            "scores": [asdict(each) for each in self.scores],
            "completions": sum(map(len, self.tasks.values())),
            "reasons": dict(self.reasons()),
            "warnings": list(self.warnings),
            **self.record,
        }

    def write(self, folder: Path) -> None:
        """Write `result.json` into a folder."""
        head = json.dumps(self.head(), indent=1)
        verdicts = {task: [_packed(each) for each in found] for task, found in self.tasks.items()}
        lines = (f"  {json.dumps(task)}: {json.dumps(found)}" for task, found in verdicts.items())
        replace_file(folder / RESULT_FILE, head[:-2] + ',\n "tasks": {\n' + ",\n".join(lines) + "\n }\n}\n")


def replace_file(path: Path, text: str) -> None:
    """Write a file in one step: whoever reads it finds the old or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_errors(str(path)):
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def read_result(place: Path) -> Result:
    """Return the result in a folder, or in a `result.json`.

    Raises StarsmithError where there is none, or one that this version does not read.
    """
    path = place / RESULT_FILE if place.is_dir() else place
    content = read_plain(path, expected="a result of `starsmith eval score`", most=LARGEST_RESULT)
    try:
        found = json.loads(content)
        if found["format"] != FORMAT:
            raise StarsmithError(f"{path} has format {found['format']!r}; this version reads {FORMAT}. Score it again.")
        return _result(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StarsmithError(f"{path} is no result of `starsmith eval score` ({type(error).__name__}).") from None


def _result(found: Mapping[str, Any]) -> Result:
    own = ("benchmark", "title", "version", "options", "warnings")
    derived = {"format", "scores", "completions", "reasons", "tasks", *own}
    return Result(
        **{name: found[name] for name in own},
        scores=[Score(**each) for each in found["scores"]],
        tasks={task: [_unpacked(task, each) for each in judged] for task, judged in found["tasks"].items()},
        record={name: value for name, value in found.items() if name not in derived},
    )


_ALWAYS: Final = ("passed", "reason")
_OF_VERDICT: Final = ("detail", "scores", "counted", "answer")
_OF_RUN: Final = ("beside", "cpu_seconds", "wall_seconds", "memory_bytes")


def _packed(judged: Judged) -> dict[str, Any]:
    """Return a verdict without what is as it mostly is."""
    plain = asdict(judged)
    values = plain.pop("verdict") | plain
    usual = asdict(Verdict(passed=True)) | dict.fromkeys(_OF_RUN, 0)
    left = {name: values[name] for name in (*_OF_VERDICT, *_OF_RUN) if values[name] != usual[name]}
    return {name: values[name] for name in _ALWAYS} | left


def _unpacked(task: str, row: Mapping[str, Any]) -> Judged:
    of_run = {name: row[name] for name in _OF_RUN if name in row}
    return Judged(
        task=task, verdict=Verdict(**{name: value for name, value in row.items() if name not in of_run}), **of_run
    )
