"""What a document may not hold: the texts of each benchmark's problems, from the rows of its published files.

Follows section 6 of the paper's data description, which takes docstrings, solutions and questions; tests and whole
prompts are taken too, and `decontaminate` chooses. Known benchmarks are read by the fields their authors publish,
any other by fields that the user names.

Reads no file (`starsmith.benchmarks` does) and holds no benchmark's text.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starsmith.errors import StarsmithError

Row = Mapping[str, Any]

FIELDS: Final = ("prompt", "docstring", "solution", "tests")
"""The parts of a problem, as evidence names them."""

MBPP_TEST_IDS: Final = range(11, 511)
"""Section 6: the 500 problems of the test split; the others are prompts, training and validation."""

_QUOTED: Final = re.compile(r'("""|\'\'\')(?P<text>.*?)\1', re.DOTALL)
_BLOCK: Final = re.compile(r"/\*(?P<text>.*?)\*/", re.DOTALL)
_COMMENT: Final = re.compile(r"[ \t]*(?:///?|--|;;|#(?![!i]|lang))[^\n]*")
_NOTHING: Final = ("None", "null")
"""How a published field says that it holds nothing: example tests of HumanEvalPack for Rust."""
_DS1000_SOLUTION: Final = re.compile(r"^.*(?:SOLUTION START|BEGIN SOLUTION).*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemText:
    """One text of one problem. `field` is one of FIELDS."""

    benchmark: str
    problem: str
    field: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Which columns of a row hold what. `ids` are tried in turn; a row without any is known by its number, from 0."""

    ids: tuple[str, ...] = ("task_id", "id", "problem_id", "name")
    prompt: tuple[str, ...] = ()
    docstring: tuple[str, ...] = ()
    solution: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    docstring_in: tuple[str, ...] = ()
    """Columns whose text holds a docstring or a leading comment."""
    takes: Callable[[str], bool] = field(default=lambda problem: True)
    """Whether the problem of this id belongs to the benchmark's test split."""

    def columns(self) -> frozenset[str]:
        return frozenset((*self.prompt, *self.docstring, *self.solution, *self.tests, *self.docstring_in))


def _in_mbpp_test(problem: str) -> bool:
    return not problem.isdecimal() or int(problem) in MBPP_TEST_IDS


LAYOUTS: Final[dict[str, Layout]] = {
    "humaneval": Layout(
        prompt=("prompt",), docstring_in=("prompt",), solution=("canonical_solution",), tests=("test",)
    ),
    "humanevalplus": Layout(
        prompt=("prompt",), docstring_in=("prompt",), solution=("canonical_solution",), tests=("test",)
    ),
    "mbpp": Layout(prompt=("text", "prompt"), solution=("code",), tests=("test_list",), takes=_in_mbpp_test),
    "mbppplus": Layout(
        prompt=("prompt",),
        docstring_in=("prompt",),
        solution=("canonical_solution", "code"),
        tests=("assertion", "test_list"),
    ),
    "multipl-e": Layout(
        ids=("name", "task_id"),
        prompt=("prompt",),
        docstring_in=("prompt",),
        solution=("canonical_solution",),
        tests=("tests", "test"),
    ),
    "gsm8k": Layout(prompt=("question",), solution=("answer",)),
    "ds1000": Layout(prompt=("prompt",), solution=("reference_code",), tests=("code_context",)),
    "apps": Layout(prompt=("question",)),
    "humanevalpack": Layout(
        prompt=("prompt", "instruction"),
        docstring=("docstring", "text"),
        docstring_in=("prompt",),
        solution=("canonical_solution", "buggy_solution"),
        tests=("test", "example_test"),
    ),
    "canitedit": Layout(
        ids=("full_name", "name", "id"),
        prompt=("before",),
        docstring=("instruction_descriptive", "instruction_lazy"),
        solution=("after",),
        tests=("tests",),
    ),
    "cruxeval": Layout(solution=("code",)),
    "bigcodebench": Layout(
        prompt=("complete_prompt", "instruct_prompt"),
        docstring_in=("complete_prompt",),
        solution=("canonical_solution",),
        tests=("test",),
    ),
}
"""Known benchmarks. APPS has 115,212 solutions, which the paper left out for their cost; they are left out here too."""


def problem_texts(benchmark: str, rows: Iterable[Row], layout: Layout) -> Iterator[ProblemText]:
    """Yield the texts of every problem of `rows` that belongs to the test split.

    Raises StarsmithError where rows hold none of the layout's columns, or a column that is neither text nor a list
    of texts.
    """
    columns = layout.columns()
    for number, row in enumerate(rows):
        if not columns & row.keys():
            raise StarsmithError(
                f"{benchmark}: row {number} has none of the fields {', '.join(sorted(columns))}; "
                f"it has {', '.join(sorted(map(str, row)))}. Name the fields that hold text."
            )
        problem = _problem_id(row, layout, number)
        if not layout.takes(problem):
            continue
        for part, text in _parts(benchmark, row, layout):
            if text.strip():
                yield ProblemText(benchmark=benchmark, problem=problem, field=part, text=text)


def named_layout(
    *, identifier: str = "", prompt: str = "", docstring: str = "", solution: str = "", tests: str = ""
) -> Layout:
    """Return the layout of a benchmark of the user's own: for each part the columns that hold it, with commas between.

    >>> named_layout(identifier="nr", prompt="task, hint").prompt
    ('task', 'hint')
    """
    names = {"prompt": prompt, "docstring": docstring, "solution": solution, "tests": tests}
    columns = {part: tuple(name.strip() for name in text.split(",") if name.strip()) for part, text in names.items()}
    if not any(columns.values()):
        raise StarsmithError("A benchmark needs at least one field that holds text; name prompt, docstring, solution …")
    return Layout(
        ids=(identifier,) if identifier else Layout().ids,
        prompt=columns["prompt"],
        docstring=columns["docstring"],
        solution=columns["solution"],
        tests=columns["tests"],
    )


def _problem_id(row: Row, layout: Layout, number: int) -> str:
    """Return a problem's id; that of MultiPL-E names no language, so its language is put before it."""
    metadata = row.get("metadata")
    places = [row, metadata] if isinstance(metadata, dict) else [row]
    found = [place[name] for name in layout.ids for place in places if place.get(name) is not None]
    problem = str(found[0]) if found else str(number)
    if "stop_tokens" in row and isinstance(row.get("language"), str):
        return f"{row['language']}/{problem}"
    return problem


def _parts(benchmark: str, row: Row, layout: Layout) -> Iterator[tuple[str, str]]:
    for part in FIELDS:
        for column in getattr(layout, part):
            text = _text(benchmark, column, row.get(column))
            yield part, before_solution(text) if benchmark == "ds1000" and part == "prompt" else text
    for column in layout.docstring_in:
        yield "docstring", docstring_of(_text(benchmark, column, row.get(column)))


def _text(benchmark: str, column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return "" if value in _NOTHING else value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    raise StarsmithError(f"{benchmark}: field {column} is {type(value).__name__}; expected text or a list of texts.")


def before_solution(prompt: str) -> str:
    """Return a prompt of DS-1000 up to the mark where the solution begins (section 6).

    >>> before_solution("Problem:\\n<code>\\nBEGIN SOLUTION\\n<code>\\n")
    'Problem:\\n<code>\\n'
    """
    match = _DS1000_SOLUTION.search(prompt)
    return prompt[: match.start()] if match else prompt


def docstring_of(prompt: str) -> str:
    r"""Return the text of the last docstring or block comment of a prompt, else its longest run of comment lines.

    Comment lines keep their marks, since the documents that hold them do.

    >>> docstring_of('def half(x):\n    \"\"\"Halve it.\"\"\"\n')
    'Halve it.'
    >>> docstring_of("import x\n// Halve\n// it.\nint half(int x) {\n")
    '// Halve\n// it.'
    """
    # Where the last comment closes: beyond it every opening would be searched for in vain, each to the end.
    for pattern, end in ((_QUOTED, len(prompt)), (_BLOCK, prompt.rfind("*/") + 2)):
        found = [match["text"] for match in pattern.finditer(prompt, 0, end)]
        if found:
            return found[-1]
    runs: list[list[str]] = [[]]
    for line in prompt.splitlines():
        if _COMMENT.fullmatch(line):
            runs[-1].append(line)
        else:
            runs.append([])
    return "\n".join(max(runs, key=lambda run: sum(map(len, run))))
