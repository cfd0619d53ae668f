"""HumanEval+: HumanEval's problems on eighty times as many inputs (Liu et al. 2023; the paper's Table of HumanEval).

The recipe is EvalPlus 26d6d00b: greedy, base and plus, judged by `differential`. BigCode's harness runs the test
strings of another file instead, and errs by one or two tasks.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.differential import EVERY_STOP, FLOATS, LEAST, PlusBenchmark, PlusProblem

STOPS: Final = (*EVERY_STOP, "\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert ")


class HumanEvalPlus(PlusBenchmark):
    """HumanEval+ by EvalPlus's oracle; its base score is EvalPlus's HumanEval."""

    name = "humaneval-plus"
    title = "HumanEval+"
    known_options = (FLOATS, LEAST)

    def sources(self) -> tuple[Source, ...]:
        where = "https://github.com/evalplus/humanevalplus_release, release v0.1.10, HumanEvalPlus.jsonl.gz"
        names = ("HumanEvalPlus.jsonl", "HumanEvalPlus-v0.1.10.jsonl")
        return (Source(names=names, where=where, licence="Apache-2.0"),)

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[PlusProblem]:
        return [self._problem(row) for row in rows[""]]

    def _problem(self, row: Row) -> PlusProblem:
        return PlusProblem(
            id=row["task_id"],
            prompt=row["prompt"],
            stops=STOPS,
            reference=row["canonical_solution"],
            entry_point=row["entry_point"],
            base=tuple(map(tuple, row["base_input"])),
            plus=tuple(map(tuple, row["plus_input"])),
            tolerance=row["atol"],
            mbpp=False,
            exact=self.options["floats"] == "exact",
            least_seconds=float(self.options["least"]),
        )
