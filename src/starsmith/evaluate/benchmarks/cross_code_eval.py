"""CrossCodeEval: the rest of a statement that needs another file (Ding et al. 2023; the paper's Table of it).

Recipe of amazon-science/cceval (scripts/eval_metric.py, eval_utils.py). The official cut of Python statements asks
tree-sitter whether the text parses; here Python's own parser is asked, and where a prompt is no Python 3 the first line
with text is taken. To fit a prompt into a model's window is for whoever has its tokenizer.
"""

import ast
import keyword
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starsmith.evaluate import metrics
from starsmith.evaluate.benchmarks.repo_bench import SIMILARITIES, SIMILARITY
from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.problem import Benchmark, Check, Metric, Option, Problem, Sampling, matched
from starsmith.evaluate.run import Run

LONGEST_STATEMENT: Final = 10_000
"""Characters of a completion in which the end of a Python statement is looked for: 50 tokens are asked for."""
RETRIEVERS: Final = ("bm25", "unixcoder_cosine_sim", "openai_cosine_sim")

LANGUAGE: Final = Option(
    name="language", values=("python", "java", "typescript", "csharp"), says="Which of the four data sets."
)
RETRIEVAL: Final = Option(
    name="retrieval",
    values=("none", *(f"rg1_{each}" for each in RETRIEVERS), *(f"oracle_{each}" for each in RETRIEVERS)),
    says="What of other files stands before the prompt: nothing, what was found, or what was found by the answer.",
)

_COMMENT: Final = re.compile(r"(?:#|//).*")
_KEYWORDS: Final[Mapping[str, frozenset[str]]] = {
    # The literals True and False count as identifiers there.
    "python": frozenset(keyword.kwlist) - {"True", "False"},
    "java": frozenset(
        "abstract assert boolean break byte case catch char class const continue default do double else enum extends "
        "final finally float for goto if implements import instanceof int interface long native new package private "
        "protected public return short static strictfp super switch synchronized this throw throws transient try void "
        "volatile while var".split()
    ),
    "typescript": frozenset(
        "break case catch class const continue debugger default delete do else enum export extends finally for "
        "function if implements import in instanceof interface let new package private protected public return static "
        "super switch this throw try typeof var void while with yield".split()
    ),
    "csharp": frozenset(
        "abstract as base bool break byte case catch char checked class const continue decimal default delegate do "
        "double else enum event explicit extern finally fixed float for foreach goto if implicit in int interface "
        "internal is lock long namespace new null object operator out override params private protected public "
        "readonly ref return sbyte sealed short sizeof stackalloc static string struct switch this throw try typeof "
        "uint ulong unchecked unsafe ushort using virtual void volatile while".split()
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement(Problem):
    """A place in a file. `prompt` is the other files' pieces, a line feed, and `in_file`."""

    context: str
    in_file: str


class CrossCodeEval(Benchmark[Statement]):
    """CrossCodeEval's line completion."""

    name = "crosscodeeval"
    title = "CrossCodeEval"
    recipe = "amazon-science/cceval: one statement, exact match on stripped lines, fuzzywuzzy's ratio, identifiers."
    languages = ("python", "java", "typescript", "csharp")
    sampling = Sampling(temperature=0.2, top_p=0.95, samples=1, max_tokens=50)
    metrics = (
        Metric(name="exact match", score="exact_match"),
        Metric(name="edit similarity", score="edit_similarity"),
        Metric(name="identifier match", score="identifier_match"),
        Metric(name="identifier F1", score="identifier_f1"),
    )
    known_options = (LANGUAGE, RETRIEVAL, SIMILARITY)

    def sources(self) -> tuple[Source, ...]:
        retrieval = self.options["retrieval"]
        task = "line_completion" if retrieval == "none" else f"line_completion_{retrieval}"
        where = "https://github.com/amazon-science/cceval, data/crosscodeeval_data.tar.xz, unpacked"
        names = (f"{self.options['language']}/{task}.jsonl",)
        return (Source(names=names, where=where, licence="Apache-2.0; the code in it under its own licences"),)

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[Statement]:
        return [self._problem(row) for row in rows[""]]

    def _problem(self, row: Row) -> Statement:
        context = "" if self.options["retrieval"] == "none" else row["crossfile_context"]["text"]
        return Statement(
            id=row["metadata"]["task_id"],
            prompt=f"{context}\n{row['prompt']}",
            language=self.options["language"],
            reference=row["groundtruth"],
            context=context,
            in_file=row["prompt"],
        )

    def truncated(self, problem: Statement, completion: str) -> str:
        if problem.language == "python":
            return python_statement(problem.in_file, completion)
        return bracket_statement(completion)

    def check(
        self, problem: Statement, completion: str, reference: Sequence[Run] = (), *, whole: bool = False
    ) -> Check:
        found, expected = (_COMMENT.sub("", text) for text in (completion, problem.reference))
        names, expected_names = (metrics.identifiers(text, _KEYWORDS[problem.language]) for text in (found, expected))
        same = _lines(found) == _lines(expected)
        likeness = SIMILARITIES[self.options["similarity"]](found.strip(), expected.strip()) / 100
        return matched(
            passed=same,
            exact_match=float(same),
            edit_similarity=likeness,
            identifier_match=float(names == expected_names),
            identifier_f1=metrics.f1(names, expected_names),
        )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def bracket_statement(completion: str) -> str:
    """Return a completion up to its first `;`, `{` or `}`.

    One that begins with such a sign is left whole, as the official code has it.
    """
    place = next((place for place, sign in enumerate(completion) if sign in ";{}"), 0)
    return completion[: place + 1] if place else completion


def python_statement(prompt: str, completion: str) -> str:
    """Return the first lines of a completion with which the file so far is Python; all of it where none are."""
    searched = completion[:LONGEST_STATEMENT]
    ends = [match.start() for match in re.finditer("\n", searched) if match.start() > 0]
    for end in ends:
        if _is_python(prompt + completion[:end]):
            return completion[:end].rstrip()
    if not _is_python(prompt) and not _is_python(f"{prompt}pass\n"):
        return next((line for line in searched.split("\n") if line.strip()), completion)
    return completion


def _is_python(code: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
