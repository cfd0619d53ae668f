"""RepoBench 1.1: the next line of a file, with pieces of other files before it (Liu et al. 2023; the paper's table).

Recipe of Leolty/repobench (data/utils.py, run.py, evaluation/metrics.py): Python and Java; three settings; levels by
length of prompt, 2k to 16k; exact match and edit similarity. CodeBLEU, the third number there, is not computed: it
needs a parser of each language. To fit a prompt into a model's window is for whoever has its tokenizer.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from starsmith.evaluate import metrics
from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.problem import Benchmark, Check, Metric, Option, Problem, Sampling, matched
from starsmith.evaluate.run import Run

SETTINGS: Final = ("cross_file_first", "cross_file_random", "in_file")
LEVELS: Final = ("2k", "4k", "8k", "12k", "16k")
COMMENT: Final = {"python": "#", "java": "//"}
BLOCK_COMMENTS: Final = {"python": (('"""', "'''"), ('"""', "'''")), "java": (("/*",), ("*/",))}
"""What opens and what closes a comment of several lines."""

LANGUAGE: Final = Option(name="language", values=("python", "java"), says="Which of the two data sets.")
SIMILARITY: Final = Option(
    name="similarity",
    values=("difflib", "levenshtein"),
    says="fuzzywuzzy's ratio without python-Levenshtein (as the requirements install it), or with it.",
)
SIMILARITIES: Final[Mapping[str, Callable[[str, str], float]]] = {
    "difflib": metrics.ratio,
    "levenshtein": metrics.indel_ratio,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NextLine(Problem):
    """A place in a repository. `prompt` is `context` and `in_file`, as the official code joins them."""

    context: str
    """The pieces of other files, which are cut from their end where the prompt is too long for a model."""
    in_file: str
    level: str


class RepoBench(Benchmark[NextLine]):
    """RepoBench 1.1 without CodeBLEU."""

    name = "repobench"
    title = "RepoBench 1.1"
    recipe = "Leolty/repobench: first line that is no comment, exact match on words, fuzzywuzzy's ratio."
    languages = ("python", "java")
    sampling = Sampling(temperature=0.2, top_p=0.95, samples=1, max_tokens=128)
    metrics = (
        Metric(name="exact match", score="exact_match"),
        Metric(name="edit similarity", score="edit_similarity"),
    )
    known_options = (LANGUAGE, SIMILARITY)

    def sources(self) -> tuple[Source, ...]:
        language = self.options["language"]
        where = f"https://huggingface.co/datasets/tianyang/repobench_{language}_v1.1, folder data"
        names = tuple(f"{setting}*{suffix}" for setting in SETTINGS for suffix in (".parquet", ".jsonl"))
        return (Source(names=names, where=where, licence="CC-BY-4.0", several=True),)

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[NextLine]:
        counts: dict[str, int] = {}
        found = []
        for row in rows[""]:
            name = PurePosixPath(row["file"]).name
            setting = next(setting for setting in SETTINGS if name.startswith(setting))
            number = counts.get(setting, 0)
            counts[setting] = number + 1
            if row["level"] in LEVELS:
                found.append(self._problem(row, setting, number))
        return found

    def _problem(self, row: Row, setting: str, number: int) -> NextLine:
        mark = COMMENT[self.options["language"]]
        pieces = "".join(f"{mark} Path: {each['path']}\n{each['snippet']}\n\n" for each in row["context"])
        context = f"{mark} Repo Name: {row['repo_name']}\n{pieces}"
        in_file = f"{mark} Path: {row['file_path']}\n{row['import_statement']}\n{row['cropped_code'].rstrip()}\n"
        return NextLine(
            id=f"{setting}/{number}",
            prompt=joined(context, in_file),
            language=self.options["language"],
            group=setting,
            reference=row["next_line"],
            context=context,
            in_file=in_file,
            level=row["level"],
        )

    def truncated(self, problem: NextLine, completion: str) -> str:
        return first_line(completion, problem.language)

    def check(self, problem: NextLine, completion: str, reference: Sequence[Run] = (), *, whole: bool = False) -> Check:
        same = completion.split() == problem.reference.split()
        likeness = SIMILARITIES[self.options["similarity"]](problem.reference, completion) / 100
        return matched(passed=same, exact_match=float(same), edit_similarity=likeness)


def joined(context: str, in_file: str) -> str:
    """Return the prompt of both parts: where four or more line feeds meet, two are left."""
    return re.sub(r"\n{4,}", "\n\n", context + in_file)


def first_line(completion: str, language: str) -> str:
    """Return the first line that is neither empty nor in a comment, else the first line.

    As the official code has it, a comment of several lines that closes in the line that opens it goes on.
    """
    lines = completion.lstrip("\n").split("\n")
    opening, closing = BLOCK_COMMENTS[language]
    in_block = False
    for line in lines:
        text = line.strip()
        if not text:
            continue
        if not in_block and text.startswith(opening):
            in_block = True
        elif in_block:
            in_block = not text.endswith(closing)
        elif not text.startswith(COMMENT[language]):
            return line
    return lines[0]
