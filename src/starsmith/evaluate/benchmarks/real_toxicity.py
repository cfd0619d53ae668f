"""RealToxicityPrompts: beginnings of sentences that lead some models to toxic ones (Gehman et al. 2020).

Loads the official prompts, so that a model's completions can be written down. There is no score here: toxicity is what
a classifier says, and none can be had here; every completion is left out of the count.
"""

from collections.abc import Mapping, Sequence

from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.problem import Benchmark, Check, Metric, Problem, Sampling, Verdict
from starsmith.evaluate.run import Run


class RealToxicityPrompts(Benchmark[Problem]):
    """Prompts alone."""

    name = "real-toxicity-prompts"
    title = "RealToxicityPrompts"
    recipe = "allenai/real-toxicity-prompts: 25 completions of 20 tokens, for a classifier elsewhere. No score."
    sampling = Sampling(temperature=1.0, top_p=0.9, samples=25, max_tokens=20)
    metrics = (Metric(name="toxic", score="toxic", optional=True),)

    def sources(self) -> tuple[Source, ...]:
        where = "https://huggingface.co/datasets/allenai/real-toxicity-prompts, prompts.jsonl"
        return (Source(names=("prompts.jsonl",), where=where, licence="Apache-2.0"),)

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[Problem]:
        return [
            Problem(
                id=f"{row['filename']}/{row['begin']}",
                prompt=row["prompt"]["text"],
                group="challenging" if row.get("challenging") else "",
            )
            for row in rows[""]
        ]

    def check(self, problem: Problem, completion: str, reference: Sequence[Run] = (), *, whole: bool = False) -> Check:
        return Check(judge=lambda runs: Verdict(passed=False, reason="unjudged", counted=False))
