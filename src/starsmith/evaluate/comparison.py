"""Results side by side: one line a score, the problems on which they differ, and the paper's own figures.

Figures of the paper are facts of a data file, with their sources; what could not be looked up is empty there. Whether
two results may be compared at all is said, not decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any, Final

from starsmith.evaluate.result import Result, Score

PAPER_MODELS: Final = ("StarCoder2-3B", "StarCoder2-7B", "StarCoder2-15B")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One score of a benchmark in every result; None where a result does not have it."""

    benchmark: str
    title: str
    group: str
    metric: str
    unit: str
    cells: tuple[Score | None, ...]
    paper: tuple[float | None, ...] = ()
    """By PAPER_MODELS, 0 to 1."""
    source: str = ""

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.title, self.metric, self.group) if part)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A problem of which results do not say the same."""

    benchmark: str
    task: str
    passed: tuple[str, ...]
    """By result: how many of how many passed, with the reason of the first that did not; empty without the problem."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Results side by side."""

    names: tuple[str, ...]
    lines: tuple[Line, ...]
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "paper": list(PAPER_MODELS)}


def compare(results: Mapping[str, Result], *, paper: bool) -> Comparison:
    """Return results by name side by side; `paper` puts the paper's figures beside them."""
    lines = [_line(key, results, paper=paper) for key in _keys(results)]
    return Comparison(
        names=tuple(results),
        lines=tuple(lines),
        differences=tuple(_differences(results)),
        warnings=tuple(_warnings(results)),
    )


Key = tuple[str, str, str]
"""Benchmark, group, metric."""


def _keys(results: Mapping[str, Result]) -> list[Key]:
    return list(dict.fromkeys((r.benchmark, score.group, score.metric) for r in results.values() for score in r.scores))


def _line(key: Key, results: Mapping[str, Result], *, paper: bool) -> Line:
    benchmark, group, metric = key
    found = [result for result in results.values() if result.benchmark == benchmark]
    cells = [result.score(metric, group) if result.benchmark == benchmark else None for result in results.values()]
    row = _paper_row(key, found) if paper else None
    return Line(
        benchmark=benchmark,
        title=found[0].title,
        group=group,
        metric=metric,
        unit=next(cell.unit for cell in cells if cell),
        cells=tuple(cells),
        paper=() if not paper else tuple(_share(row[name]) if row else None for name in PAPER_MODELS),
        source=row["source"] if row else "",
    )


def _share(cell: str) -> float | None:
    return float(cell) / 100 if cell else None


@cache
def paper_rows() -> Sequence[Mapping[str, str]]:
    """Return the paper's figures, in percent, as the data file has them."""
    head, *lines = resources.files("starsmith").joinpath("data/paper_scores.tsv").read_text("utf-8").splitlines()
    return [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines]


def _paper_row(key: Key, results: Sequence[Result]) -> Mapping[str, str] | None:
    """Return the paper's row where every result was made under the options it was."""
    for row in paper_rows():
        options = dict([row["options"].split("=")]) if row["options"] else {}
        same = all(options.items() <= dict(result.options).items() for result in results)
        if (row["benchmark"], row["group"], row["metric"]) == key and same:
            return row
    return None


def _differences(results: Mapping[str, Result]) -> list[Difference]:
    found = []
    for benchmark, several in _of_same(results).items():
        tasks = dict.fromkeys(task for result in several for task in result.tasks)
        for task in tasks:
            said = [_passed(result, task) for result in several]
            if len({each.partition(" ")[0] for each in said if each}) > 1:
                cells = tuple(
                    _passed(result, task) if result.benchmark == benchmark else "" for result in results.values()
                )
                found.append(Difference(benchmark=benchmark, task=task, passed=cells))
    return found


def _of_same(results: Mapping[str, Result]) -> dict[str, list[Result]]:
    """Return the benchmarks of which there are several results, with them."""
    by_benchmark: dict[str, list[Result]] = {}
    for result in results.values():
        by_benchmark.setdefault(result.benchmark, []).append(result)
    return {name: several for name, several in by_benchmark.items() if len(several) > 1}


def _passed(result: Result, task: str) -> str:
    """Return such as `3/20 timeout`."""
    judged = result.tasks.get(task, ())
    failed = next((each.verdict.reason for each in judged if not each.verdict.passed), "")
    passed = sum(each.verdict.passed for each in judged)
    # EvalPlus judges twice; who passes the first only has not passed here.
    base = sum(each.verdict.scores.get("base", 0) >= 1 for each in judged)
    also = f", base {base}/{len(judged)}" if base != passed and failed and base else ""
    return f"{passed}/{len(judged)}{' ' + failed if failed else ''}{also}" if judged else ""


_MUST_AGREE: Final = ("version", "options", "data", "problems", "samples", "python", "isolated")


def _warnings(results: Mapping[str, Result]) -> list[str]:
    names = {id(result): name for name, result in results.items()}
    told = []
    for several in _of_same(results).values():
        for one, other in pairwise(several):
            first, second = _conditions(one), _conditions(other)
            apart = [name for name in _MUST_AGREE if first[name] != second[name]]
            if apart:
                pair = f"{names[id(one)]} and {names[id(other)]}"
                told.append(f"{pair} differ in {', '.join(apart)}: their scores may not compare.")
    told += [
        f"{name} is of {result.record['problems']['judged']} of {result.record['problems']['all']} problems."
        for name, result in results.items()
        if not result.record["problems"]["complete"]
    ]
    return told


def _conditions(result: Result) -> dict[str, Any]:
    record = result.record
    return {
        "version": result.version,
        "options": dict(result.options),
        "data": sorted(file["digest"] for file in record["data"]),
        "problems": sorted(result.tasks),
        "samples": sorted({len(found) for found in result.tasks.values()}),
        "python": record["versions"]["python"],
        "isolated": record["sandbox"]["isolated"],
    }
