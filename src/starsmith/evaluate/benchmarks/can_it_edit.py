"""CanItEdit: change a program as an instruction says (Cassano et al. 2024; the paper's Table of CanItEdit).

Recipe of nuprl/CanItEdit (benchmark/generate_completions.py, evaluator_overlay.py, pass_k.py). Two scores, for the
descriptive and for the lazy instruction. ExcessCode is the mean over passing completions of lines that the tests do
not reach over lines of the difference; coverage is measured by a tracer of our own, not by coverage.py.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from starsmith.evaluate.dataset import Row, Source
from starsmith.evaluate.problem import (
    PASS_AT_1,
    Benchmark,
    Check,
    Metric,
    Option,
    Sampling,
    TestedProblem,
    Verdict,
    limits,
    of_run,
)
from starsmith.evaluate.run import Program, Run

SECONDS: Final = 15.0
STOPS: Final = (
    *("## Code After:", "## Instruction:", "## Code Before:", "## Test Case:", "## Explanation:"),
    *("\n# Code Before", "\n# Code After", "\n# Instruction"),
)
KINDS: Final = ("descriptive", "lazy")

EXCESS: Final = Option(
    name="excess",
    values=("official", "changed"),
    says="official: every line of the difference counts below the line, unchanged ones too. changed: those that were "
    "added or taken away, which is what the official text says.",
)
BESIDE: Final = Option(
    name="test",
    values=("beside", "apart"),
    says="beside: the tests run in the program's process, as the official harness does it: they use its classes in "
    "ways that do not cross between processes. apart: in one of their own; what cannot cross is `unjudged`.",
)

_MISSING: Final = "starsmith_missing_"
_TRACER: Final = """
import ast as starsmith_ast_, re as starsmith_re_, sys as starsmith_sys_
def starsmith_missing_(text):
    tree, first, skipped, lines = starsmith_ast_.parse(text), {}, set(), text.split("\\n")
    pragma = starsmith_re_.compile(r"#\\s*pragma:\\s*no\\s*cover", starsmith_re_.I)
    for node in starsmith_ast_.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, starsmith_ast_.stmt):
            start = min([node.lineno] + [each.lineno for each in getattr(node, "decorator_list", [])])
            last = body[0].lineno - 1 if isinstance(body, list) and body else node.end_lineno
            for line in range(start, max(last, node.lineno) + 1): first[line] = node.lineno
            if pragma.search(lines[node.lineno - 1]): skipped.update(range(start, node.end_lineno + 1))
            if isinstance(node, (starsmith_ast_.Global, starsmith_ast_.Nonlocal)): skipped.add(node.lineno)
        if isinstance(body, list) and body and isinstance(body[0], starsmith_ast_.Expr) and isinstance(
            body[0].value, starsmith_ast_.Constant) and isinstance(body[0].value.value, str):
            skipped.update(range(body[0].lineno, body[0].end_lineno + 1))
    reached = set()
    def trace(frame, event, argument):
        if frame.f_code.co_filename != "<edited>": return None
        if event == "line": reached.add(first.get(frame.f_lineno))
        return trace
    space = {"__name__": "__main__"}
    code = compile(tree, "<edited>", "exec")
    starsmith_sys_.settrace(trace)
    try: exec(code, space)
    finally: starsmith_sys_.settrace(None)
    return sorted(set(first.values()) - skipped - reached)
"""
"""Runs inside the sandbox. A program could deceive it, about its own ExcessCode and nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EditProblem(TestedProblem):
    """A program with an instruction to change it."""

    before: str


class CanItEdit(Benchmark[EditProblem]):
    """CanItEdit's 105 programs, each with two instructions."""

    name = "can-it-edit"
    title = "CanItEdit"
    recipe = "nuprl/CanItEdit: direct prompt, first code block if there is one, tests beside, 20 samples."
    sampling = Sampling(temperature=0.2, top_p=0.95, samples=20, max_tokens=3072)
    metrics = (PASS_AT_1, Metric(name="ExcessCode", score="excess_code", optional=True, unit="number"))
    known_options = (BESIDE, EXCESS)
    python_packages = ("numpy", "pandas", "scipy", "torch", "scikit-learn", "z3-solver", "autograd", "vllm")

    def sources(self) -> tuple[Source, ...]:
        where = "https://huggingface.co/datasets/nuprl/CanItEdit"
        licence = "BSD-3-Clause with a machine learning restriction: must not be trained on"
        return (
            Source(
                names=("canitedit.jsonl", "CanItEdit/data/test*.parquet", "CanItEdit/test.jsonl"),
                where=where,
                licence=licence,
            ),
        )

    def problems(self, rows: Mapping[str, Sequence[Row]]) -> list[EditProblem]:
        return [
            EditProblem(
                id=f"{row['full_name']}/{kind}",
                prompt=(
                    f"## Code Before:\n{row['before']}\n## Instruction:\n{row[f'instruction_{kind}']}\n## Code After:\n"
                ),
                group=kind,
                stops=STOPS,
                reference=row["after"],
                test=row["tests"],
                before=row["before"],
            )
            for row in rows[""]
            for kind in KINDS
        ]

    def truncated(self, problem: EditProblem, completion: str) -> str:
        text = super().truncated(problem, completion)
        return code_block(text) or text

    def check(
        self, problem: EditProblem, completion: str, reference: Sequence[Run] = (), *, whole: bool = False
    ) -> Check:
        beside = self.options["test"] == "beside"
        program = Program(
            id=problem.id, source=completion, test=problem.test, beside=beside, limits=limits(SECONDS, processes=128)
        )
        traced = Program(
            id=problem.id,
            source=_TRACER,
            entry_point=_MISSING,
            calls=((f"{completion}\n{problem.test}",),),
            limits=limits(4 * SECONDS, processes=128),
        )
        changed = _difference(problem.before, completion, only_changed=self.options["excess"] == "changed")
        return Check(work=(program, traced), until_failure=True, judge=lambda runs: _judged(runs, changed))


def _judged(runs: Sequence[Run], changed: int) -> Verdict:
    verdict = of_run(runs)
    if len(runs) < 2 or runs[1].status != "passed" or runs[1].outputs[0].raised or not changed:
        return verdict
    missing = runs[1].outputs[0].value
    known = isinstance(missing, list)
    return replace(verdict, scores={"excess_code": len(missing) / changed}) if known else verdict


def _difference(before: str, after: str, *, only_changed: bool) -> int:
    lines = difflib.Differ().compare(before.splitlines(), after.splitlines())
    return sum(not only_changed or line.startswith(("+ ", "- ")) for line in lines)


def code_block(text: str) -> str | None:
    """Return the first Markdown code block without its first line; None where there is none.

    >>> code_block("So:\\n```python\\nx = 1\\n```\\n")
    'x = 1'
    """
    parts = text.split("```", 2)
    if len(parts) < 3:
        return None
    code = parts[1].strip().split("# Example usage:")[0]
    language, line_feed, rest = code.partition("\n")
    return (rest if line_feed and language else code).strip()
