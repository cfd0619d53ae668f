"""MultiPL-E: HumanEval in 18 other languages (Cassano et al. 2023; the paper's Table of MultiPL-E).

The recipe is that of the BigCode evaluation harness 8fc5bae6: stripped prompt, the file's own stop tokens and
`<file_sep>`, 50 samples. Two faults of the harness are not followed: commas missing in its list, which lose C++ and
Perl, and result files of earlier runs that it counts. How a language is run, and whether it can be: `toolchains`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.problem import Benchmark, Check, Option, Sampling, TestedProblem
from starsmith.evaluate.run import Run
from starsmith.evaluate.toolchains import TOOLCHAINS

FILE_SEPARATOR: Final = "<file_sep>"

LANGUAGE: Final = Option(
    name="language", values=("all", *TOOLCHAINS), says="all: each language whose file is there. Else that one alone."
)


class MultiplE(Benchmark[TestedProblem]):
    """MultiPL-E's translations of HumanEval."""

    name = "multipl-e"
    title = "MultiPL-E (HumanEval)"
    recipe = "BigCode evaluation harness 8fc5bae6: stripped prompt, stop tokens of the file, pass by exit code."
    languages = tuple(TOOLCHAINS)
    toolchains = TOOLCHAINS
    sampling = Sampling(temperature=0.2, top_p=0.95, samples=50)
    known_options = (LANGUAGE,)

    def sources(self) -> tuple[Source, ...]:
        chosen = self.options["language"]
        where = "https://huggingface.co/datasets/nuprl/MultiPL-E"
        return tuple(
            Source(
                names=(f"humaneval-{language}.jsonl", f"humaneval-{language}/test*.parquet"),
                where=f"{where}, humaneval-{language}",
                licence="BSD-3-Clause with a machine learning restriction: must not be trained on",
                key=language,
                optional=chosen == "all",
            )
            for language in ([*TOOLCHAINS] if chosen == "all" else [chosen])
        )

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[TestedProblem]:
        return [_problem(row, language) for language, found in rows.items() for row in found]

    def check(
        self, problem: TestedProblem, completion: str, reference: Sequence[Run] = (), *, whole: bool = False
    ) -> Check:
        tools = TOOLCHAINS[problem.language]
        program = completion if whole else problem.prompt + completion
        work = tools.command(f"{program}\n{problem.test}", name=problem.id)
        return Check(work=(work,), judge=lambda runs: tools.judged(runs[0]))


def _problem(row: Row, language: str) -> TestedProblem:
    return TestedProblem(
        id=f"{language}/{row['name']}",
        prompt=row["prompt"].strip(),
        language=language,
        group=language,
        stops=(*row["stop_tokens"], FILE_SEPARATOR),
        test=row["tests"],
    )
