"""HumanEvalFix: repair a function with one fault, in six languages (Muennighoff et al. 2023; the paper's table of it).

The recipe is that of the BigCode evaluation harness 8fc5bae6 (`humanevalpack.py`) and its runner of six languages. The
paper prompts base models in the form of an issue. What a language's program is made of beside prompt and completion is
the harness's: a list of imports, the test, for Go the packages that are used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.fix_toolchains import PACKAGES_OF_GO, TOOLCHAINS, cpp_program, go_program, rust_program
from starsmith.evaluate.problem import (
    BESIDE,
    END_OF_TEXT,
    Benchmark,
    Check,
    Option,
    Sampling,
    TestedProblem,
    by_its_test,
)
from starsmith.evaluate.run import Run

PYTHON_SECONDS: Final = 10.0
LANGUAGES: Final = ("python", "js", "java", "go", "cpp", "rust")
_STOPS: Final[Mapping[str, tuple[str, ...]]] = {
    "python": ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\nassert"),
    "go": ("\n//", "\nfunc main(", "struct", "\nfunc"),
}
_STOPS_OF_FORM: Final[Mapping[str, tuple[str, ...]]] = {"instruct": (), "issue": ("```",), "commit": ()}
_PYTHON_IMPORTS: Final = (
    "import math, re, sys, copy, datetime, itertools, collections, heapq, statistics, functools, hashlib, string\n"
    # The harness imports it always; without it only the programs that use it fail.
    "try:\n    import numpy\n    import numpy as np\nexcept ImportError:\n    pass\n"
    "from typing import *\nfrom collections import *\n"
)

LANGUAGE: Final = Option(
    name="language", values=("all", *LANGUAGES), says="all: each language whose file is there. Else that one alone."
)
FORM: Final = Option(
    name="form",
    values=("issue", "instruct", "commit"),
    says="How the model is asked: as an issue with its answer (base models), by an instruction, as a commit.",
)
CONTEXT: Final = Option(
    name="context",
    values=("tests", "docs"),
    says="tests: the fault shows by the tests, which are in the prompt. docs: by the docstring.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FixProblem(TestedProblem):
    """A faulty function. `unstripped` is the head of the function that a completion goes on from."""

    buggy: str
    test_setup: str = ""
    declaration: str = ""


class HumanEvalFix(Benchmark[FixProblem]):
    """HumanEvalPack's repairs."""

    name = "humaneval-fix"
    title = "HumanEvalFix"
    recipe = "BigCode evaluation harness 8fc5bae6, humanevalfixtests: 20 samples, cut at the end of the function."
    languages = LANGUAGES
    toolchains = TOOLCHAINS
    sampling = Sampling(temperature=0.2, top_p=0.95, samples=20)
    known_options = (LANGUAGE, FORM, CONTEXT, BESIDE)

    def sources(self) -> tuple[Source, ...]:
        chosen = self.options["language"]
        where = "https://huggingface.co/datasets/bigcode/humanevalpack"
        return tuple(
            Source(
                names=(f"humanevalpack-{language}.jsonl", f"{language}/data/humanevalpack.jsonl"),
                where=f"{where}, data/{language}/data/humanevalpack.jsonl",
                licence="MIT",
                key=language,
                optional=chosen == "all",
            )
            for language in (LANGUAGES if chosen == "all" else (chosen,))
        )

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[FixProblem]:
        return [self._problem(row, language) for language, found in rows.items() for row in found]

    def _problem(self, row: Row, language: str) -> FixProblem:
        head = f"fn main(){{}}\n{row['declaration']}" if language == "rust" else row["declaration"]
        if self.options["context"] == "docs":
            head = row["prompt"]
        context = head + row["buggy_solution"]
        if self.options["context"] == "tests":
            context += f"\n{row['test']}"
        form = self.options["form"]
        return FixProblem(
            id=row["task_id"],
            prompt=_PROMPTS[form].format(context=context, name=row["entry_point"], head=head).strip(),
            language=language,
            group=language,
            stops=(*_STOPS.get(language, ()), *_STOPS_OF_FORM[form], END_OF_TEXT),
            reference=row["canonical_solution"],
            test=f"\n{row['test']}",
            unstripped=head,
            buggy=row["buggy_solution"],
            test_setup=row.get("test_setup", ""),
            declaration=row["declaration"],
        )

    def truncated(self, problem: FixProblem, completion: str) -> str:
        text = super().truncated(problem, completion.rstrip())
        if problem.language == "python":
            return indented(text)
        return balanced(text, opened=2 if problem.language == "java" else 1, java=problem.language == "java")

    def check(
        self, problem: FixProblem, completion: str, reference: Sequence[Run] = (), *, whole: bool = False
    ) -> Check:
        # The prompt ends without white space; a completion that does not begin a line was made for one that has it.
        begins_a_line = completion.lstrip(" \t").startswith("\n")
        head = problem.unstripped.rstrip() if begins_a_line else problem.unstripped
        program = completion if whole else head + completion
        if problem.language == "python":
            source = f"{_PYTHON_IMPORTS}{program}".strip()
            return by_its_test(source, problem, seconds=PYTHON_SECONDS, where=self.options["test"])
        tools = TOOLCHAINS[problem.language]
        work = tools.command(_whole(problem, program) + problem.test, name=problem.id)
        return Check(work=(work,), judge=lambda runs: tools.judged(runs[0]))


_PROMPTS: Final[Mapping[str, str]] = {
    "instruct": "{context}\nFix bugs in {name}.\n\n{head}",
    "issue": "<issue_start>username_0: Fix bugs in {name}.\n\n```{context}```\nUpvotes: 100"
    "<issue_comment>username_1: Sure, here is the fixed code.\n\n```{head}",
    "commit": "<commit_before>{context}<commit_msg>Fix bugs in {name}.<commit_after>{head}",
}


def _whole(problem: FixProblem, program: str) -> str:
    match problem.language:
        case "cpp":
            return cpp_program(program)
        case "java":
            return program.replace("public class Main {\n    }", "").strip()
        case "go":
            return go_program(program, setup=problem.test_setup, test=problem.test, packages=PACKAGES_OF_GO)
        case "rust":
            return rust_program(program, declaration=problem.declaration)
    return program


def indented(text: str) -> str:
    """Return the lines before the first that has text and begins in the first column."""
    lines = text.split("\n")
    ends = (number for number, line in enumerate(lines) if line.strip() and line[0] not in " \t")
    return "\n".join(lines[: next(ends, len(lines))])


def balanced(text: str, *, opened: int, java: bool = False) -> str:
    """Return the text up to the brace that closes the last of those open, `opened` of them before it begins.

    Where none does, up to the last closing brace; of Java, without a main method, and with a brace that is lacking.
    """
    depth = opened
    for place, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if depth == 0:
            return text[: place + 1]
    if java and "public static void main" in text:
        text = text[: text.find("public static void main")] + "}"
    text = text[: text.rfind("}")] + "}" if "}" in text else text
    return text + "\n}" if java and text.count("{") - 1 == text.count("}") else text
