"""MBPP+: the sanitised problems of MBPP on many more inputs (Liu et al. 2023; the paper's Table of MBPP).

The recipe is EvalPlus 26d6d00b. Its data set exists twice: 0.1.0 has 399 problems, 0.2.0 has 378 of them, since 21 were
taken out as broken. Scores of the two do not compare; papers of early 2024 use the former.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.differential import EVERY_STOP, FLOATS, LEAST, PlusBenchmark, PlusProblem
from starsmith.evaluate.inputs import mbpp_arguments
from starsmith.evaluate.problem import Option

STOPS: Final = (*EVERY_STOP, '\n"""', "\nassert")

EDITION: Final = Option(
    name="edition",
    values=("0.2.0", "0.1.0"),
    says="Which edition of the data set: 378 problems, or the 399 that papers of early 2024 use.",
)


class MbppPlus(PlusBenchmark):
    """MBPP+ by EvalPlus's oracle; its base score is EvalPlus's MBPP."""

    name = "mbpp-plus"
    title = "MBPP+"
    known_options = (EDITION, FLOATS, LEAST)

    def sources(self) -> tuple[Source, ...]:
        edition = self.options["edition"]
        names = (f"MbppPlus-v{edition}.jsonl", *(("MbppPlus.jsonl",) if edition == "0.2.0" else ()))
        where = f"https://github.com/evalplus/mbppplus_release, release v{edition}, MbppPlus.jsonl.gz"
        return (Source(names=names, where=where, licence="Apache-2.0"),)

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[PlusProblem]:
        return [self._problem(row) for row in rows[""]]

    def _problem(self, row: Row) -> PlusProblem:
        task = int(row["task_id"].removeprefix("Mbpp/"))
        return PlusProblem(
            id=row["task_id"],
            prompt=row["prompt"],
            stops=STOPS,
            reference=row["canonical_solution"],
            entry_point=row["entry_point"],
            base=tuple(mbpp_arguments(task, given) for given in row["base_input"]),
            plus=tuple(mbpp_arguments(task, given) for given in row["plus_input"]),
            tolerance=row["atol"],
            mbpp=True,
            exact=self.options["floats"] == "exact",
            least_seconds=float(self.options["least"]),
        )
