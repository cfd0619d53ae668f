"""Every benchmark of real files: how many problems, their prompts, where completions end. Nothing is run."""

import gzip
import json

import pytest

from starsmith.errors import StarsmithError
from starsmith.evaluate.benchmarks import PLACES, benchmark
from starsmith.evaluate.dataset import load
from starsmith.evaluate.problem import Verdict, cut
from starsmith.evaluate.run import STATUSES, Command, Output, Program, Run


@pytest.fixture(scope="module")
def problems(test_data):
    """A function that loads the problems of a benchmark."""

    def loaded(name, folder, **options):
        made = benchmark(name, options)
        found, data = load(made.sources(), test_data / folder, benchmark=made.title, make=made.problems)
        assert data.warnings == () or name == "gsm8k-pal"
        assert len({problem.id for problem in found}) == len(found)
        return made, found

    return loaded


def rows(test_data, name):
    with gzip.open(test_data / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def run(status="passed", **other):
    return Run(id="x", status=status, **other)


@pytest.mark.parametrize("name", PLACES)
def test_every_benchmark_describes_itself(name):
    made = benchmark(name)
    assert made.name == name
    assert made.title
    assert made.recipe
    assert made.metrics
    assert all(source.where.startswith("https://") and source.licence for source in made.sources())
    for option in made.known_options:
        assert option.says
        for value in option.values:
            assert benchmark(name, {option.name: value}).options[option.name] == value


def test_unknown_names_options_and_values():
    with pytest.raises(StarsmithError, match="There is no benchmark 'humanevil'; there are humaneval,"):
        benchmark("humanevil")
    with pytest.raises(StarsmithError, match="has no option 'prompts'; it has: prompt, join, test"):
        benchmark("humaneval", {"prompts": "x"})
    with pytest.raises(StarsmithError, match="expected one of stripped, unstripped"):
        benchmark("humaneval", {"prompt": "x"})


@pytest.mark.parametrize(
    ("name", "folder", "options", "count"),
    [
        ("humaneval", "humaneval", {}, 164),
        ("mbpp", "mbpp", {}, 500),
        ("mbpp", "mbpp", {"split": "all"}, 974),
        ("humaneval-fix", "humanevalpack", {}, 6 * 164),
        ("can-it-edit", "canitedit", {}, 2 * 105),
        ("gsm8k-pal", "gsm8k", {}, 1319),
        ("cruxeval-input", "cruxeval", {}, 800),
        ("fim-santacoder", "humaneval_infilling/qwen_hm_fim.parquet", {}, 4792),
        ("humaneval-infilling", "humaneval_infilling", {}, 1033),
        ("humaneval-infilling", "humaneval_infilling", {"kind": "multi-line"}, 5815),
        ("humaneval-infilling", "humaneval_infilling", {"kind": "random-span"}, 1640),
        ("humaneval-infilling", "humaneval_infilling", {"kind": "random-span-light"}, 164),
    ],
)
def test_counts(problems, name, folder, options, count):
    assert len(problems(name, folder, **options)[1]) == count


def test_official_solutions_are_not_cut(problems):
    for name, folder in (("humaneval", "humaneval"), ("fim-santacoder", "humaneval_infilling/qwen_hm_fim.parquet")):
        made, found = problems(name, folder)
        assert [each.id for each in found if made.truncated(each, each.reference) != each.reference] == []


def test_humaneval(problems):
    made, found = problems("humaneval", "humaneval")
    assert found[0].prompt.endswith('True\n    """')
    completion = "\n    return 1\n    # no\n    if x: pass\n\nif __name__"
    assert made.truncated(found[0], completion) == "\n    return 1\n    # no\n    if x: pass\n"
    (work,) = made.check(found[0], "\n    return 1").work
    assert work.source == found[0].prompt + "\n    return 1"
    assert work.test.endswith("check(has_close_elements)")
    assert (work.beside, work.limits.cpu_seconds) == (False, 3.0)
    for problem in found:
        (work,) = made.check(problem, problem.reference).work
        compile(work.source, "<it>", "exec")
    (work,) = made.check(found[0], "whole program", whole=True).work
    assert work.source == "whole program"
    exact, _ = problems("humaneval", "humaneval", join="exact", test="beside")
    (work,) = exact.check(found[0], "    return 1").work
    assert work.source.endswith('"""    return 1')
    assert work.beside


def test_mbpp(problems, test_data):
    made, found = problems("mbpp", "mbpp")
    row = next(row for row in rows(test_data, "mbpp/mbpp.jsonl.gz") if row["task_id"] == 11)
    assert (found[0].id, found[-1].id) == ("11", "510")
    assert found[0].prompt == f'"""\n{row["text"]}\n{row["test_list"][0]}\n"""\n'
    assert found[0].test == "\n".join(row["test_list"])
    assert made.truncated(found[0], "def f(): pass\nassert f()") == "def f(): pass"


def test_multipl_e(problems, test_data):
    made, found = problems("multipl-e", "multipl_e_humaneval")
    counts = {language: sum(each.language == language for each in found) for language in made.languages}
    # C++ and Perl are here, which the harness's list loses.
    assert counts == {
        "cpp": 161,
        "cs": 158,
        "d": 156,
        "go": 154,
        "java": 158,
        "jl": 159,
        "js": 161,
        "lua": 161,
        "php": 161,
        "pl": 161,
        "r": 161,
        "rb": 161,
        "rkt": 161,
        "rs": 156,
        "scala": 160,
        "sh": 158,
        "swift": 158,
        "ts": 159,
    }
    one = next(each for each in found if each.language == "cpp")
    row = rows(test_data, "multipl_e_humaneval/humaneval-cpp.jsonl.gz")[0]
    assert one.prompt == row["prompt"].strip()
    assert one.stops == (*row["stop_tokens"], "<file_sep>")
    (work,) = made.check(one, "\n    return 1;\n").work
    assert isinstance(work, Command)
    assert work.files["program.cpp"].decode() == f"{one.prompt}\n    return 1;\n\n{row['tests']}"
    assert work.steps[0][0] == "g++"


@pytest.mark.parametrize(
    ("language", "written", "passed"),
    [
        ("cs", {"stderr": b"Unhandled Exception:\n"}, False),
        ("cs", {}, True),
        ("pl", {"stdout": b"ERROR: not equal"}, False),
        ("rkt", {"stderr": b"FAILURE"}, False),
        ("go", {"stdout": b"ok"}, True),
        ("sh", {"stderr": b"some warning"}, True),
    ],
)
def test_languages_that_end_with_0_when_they_fail(problems, language, written, passed):
    made, found = problems("multipl-e", "multipl_e_humaneval", language=language)
    check = made.check(found[0], "x")
    assert check.judge((run(**written),)).passed is passed
    assert not check.judge((run("exception"),)).passed


def test_humaneval_fix_prompts(problems, test_data):
    row = rows(test_data, "humanevalpack/humanevalpack-python.jsonl.gz")[0]
    context = f"{row['declaration']}{row['buggy_solution']}\n{row['test']}"
    head = row["declaration"]
    name = row["entry_point"]
    expected = {
        "instruct": f"{context}\nFix bugs in {name}.\n\n{head}",
        "issue": f"<issue_start>username_0: Fix bugs in {name}.\n\n```{context}```\nUpvotes: 100"
        f"<issue_comment>username_1: Sure, here is the fixed code.\n\n```{head}",
        "commit": f"<commit_before>{context}<commit_msg>Fix bugs in {name}.<commit_after>{head}",
    }
    for form, prompt in expected.items():
        _, found = problems("humaneval-fix", "humanevalpack", language="python", form=form)
        assert found[0].prompt == prompt.strip()
    _, found = problems("humaneval-fix", "humanevalpack", language="python", context="docs")
    assert row["test"] not in found[0].prompt
    assert found[0].prompt.endswith(row["prompt"].strip())


def test_humaneval_fix_keeps_official_solutions_whole(problems):
    made, found = problems("humaneval-fix", "humanevalpack")
    differing = {}
    for problem in found:
        if made.truncated(problem, problem.reference).rstrip() != problem.reference.rstrip():
            differing.setdefault(problem.language, []).append(problem.id)
    # The harness cuts these too: helper functions after the function, and `struct` in the body of Go functions.
    assert differing == {
        "go": ["Go/72", "Go/90", "Go/158"],
        "cpp": ["CPP/94"],
        "rust": ["Rust/137", "Rust/145"],
    }


def test_humaneval_fix_programs(problems):
    made, found = problems("humaneval-fix", "humanevalpack")
    first = {each.language: each for each in reversed(found)}
    work = {language: made.check(each, each.reference).work[0] for language, each in first.items()}
    assert isinstance(work["python"], Program)
    compile(work["python"].source, "<it>", "exec")
    assert work["cpp"].files["test.cpp"].startswith(b"using namespace std;\n#include<stdlib.h>")
    assert work["go"].files["main_test.go"].startswith(b"package main")
    assert work["go"].files["main_test.go"].count(b'"testing"') == 1
    assert b'    "math"\n' in work["go"].files["main_test.go"]
    assert work["rust"].files["src/bin/test.rs"].count(b"fn main()") == 1
    assert b"md5" in work["rust"].files["Cargo.toml"]
    check = made.check(first["js"], "x")
    assert check.judge((run(),)).passed
    assert not check.judge((run(stderr=b"Assertion failed\n"),)).passed


def test_can_it_edit(problems):
    made, found = problems("can-it-edit", "canitedit")
    one = found[0]
    assert one.prompt.startswith(f"## Code Before:\n{one.before}\n## Instruction:\n")
    assert one.prompt.endswith("\n## Code After:\n")
    assert (found[0].group, found[1].group) == ("descriptive", "lazy")
    assert made.truncated(one, "x = 1\n## Code Before:\ny") == "x = 1\n"
    assert made.truncated(one, "Here:\n```py\nx = 1\n```\nand ```y```") == "x = 1"
    check = made.check(one, one.reference)
    assert check.until_failure
    assert check.judge((run("wrong"),)) == Verdict(passed=False, reason="wrong")
    lines = len(one.reference.splitlines())
    missing = run(outputs=(Output(value=[1, 2]),))
    score = check.judge((run(), missing)).scores["excess_code"]
    assert 0 < score <= 2 / lines
    changed, _ = problems("can-it-edit", "canitedit", excess="changed")
    assert changed.check(one, one.reference).judge((run(), missing)).scores["excess_code"] > score


def test_lines_that_no_test_reaches(problems):
    made, found = problems("can-it-edit", "canitedit")
    _, traced = made.check(found[0], "").work
    space = {}
    exec(traced.source, space)
    text = (
        '"""About."""\nimport os\ndef f(x):\n    """It."""\n    if x:\n        return (1 +\n            2)\n'
        "    return 0\n\n@staticmethod\ndef g():\n    global y\n    y = 1\n"
        "if True:  # pragma: no cover\n    f(1)\n    if 0:\n        f(0)\n"
    )
    assert space[traced.entry_point](text) == [8, 13]


def test_gsm8k(problems, test_data):
    made, found = problems("gsm8k-pal", "gsm8k")
    shots = json.loads((test_data / "gsm8k" / "bigcode_gsm8k_few_shot_prompts.json").read_text("utf-8"))
    first = shots["questions"][0]
    start = f'Q: {first}\n\n# solution in Python:\n\n\ndef solution():\n    """{first}"""\n{shots["solutions"][0]}'
    assert found[0].prompt.startswith(start + "\n\n\n\n\n\nQ: ")
    assert found[0].prompt.count("# solution in Python:") == 9
    assert found[0].prompt.endswith("\n\n# solution in Python:\n\n\n")
    assert found[0].answer == "18"
    assert not any("," in each.answer for each in found)
    completion = "\n\n\ndef solution():\n    return 18\n\n\nQ: more"
    assert made.truncated(found[0], completion) == "def solution():\n    return 18"
    check = made.check(found[0], "def solution():\n    return 18")
    assert check.work[0].source.endswith("\nprint(solution())")
    for printed, passed in ((b"so\n18.0\n", True), (b"18\n19\n", False), (b"", False), (b"nan", False), (b"x", False)):
        assert check.judge((run(stdout=printed),)).passed is passed
    assert not check.judge((run("exited", stdout=b"18\n"),)).passed


def test_gsm8k_by_majority():
    made = benchmark("gsm8k-pal", {"answer": "majority"})
    wrong, right = Verdict(passed=False, answer="1"), Verdict(passed=True, answer="2")
    assert made.counted([wrong, right, right]) == [right]
    assert made.counted([wrong, wrong, right]) == [wrong]
    assert made.counted([Verdict(passed=False)]) == [Verdict(passed=False)]


def test_cruxeval_prompts_come_from_the_official_module(tmp_path, test_data):
    data = (test_data / "cruxeval" / "cruxeval.jsonl.gz").read_bytes()
    (tmp_path / "cruxeval.jsonl.gz").write_bytes(data)
    (tmp_path / "prompts.py").write_text(
        'def make_direct_input_prompt(s):\n    code, output = s\n    return f"""A {code} {{}} B {output} """\n'
        'def make_direct_output_prompt(s):\n    code, input = s\n    return f"""{code}: f({input}) == ??"""\n'
    )
    for name, ending in (("cruxeval-input", " "), ("cruxeval-output", ") == ??")):
        made = benchmark(name)
        (one, *_), _ = load(made.sources(), tmp_path, benchmark=name, make=made.problems)
        assert one.code in one.prompt
        assert one.prompt.endswith(ending)
    made = benchmark("cruxeval-input", {"style": "cot"})
    with pytest.raises(StarsmithError, match=r"prompts.py has no make_cot_input_prompt"):
        load(made.sources(), tmp_path, benchmark="CRUXEval", make=made.problems)


def test_cruxeval_cuts_and_dropping(problems):
    made, found = problems("cruxeval-input", "cruxeval")
    assert made.truncated(found[0], "assert f([1]) == [2]\n[/ANSWER] more") == "f([1])"
    assert made.check(found[0], "[1]").judge(()) == Verdict(passed=False, reason="dropped", counted=False)
    passed, failed, dropped = (
        Verdict(passed=True),
        Verdict(passed=False),
        Verdict(passed=False, reason="dropped", counted=False),
    )
    assert made.counted([passed, failed, dropped]) == [passed, failed]
    # None passes: all of them count again.
    assert made.counted([failed, dropped]) == [failed, dropped]
    made, found = problems("cruxeval-output", "cruxeval")
    assert made.truncated(found[0], "assert f([1]) == [2]\n[/ANSWER]") == "[2]"
    assert made.check(found[0], f"f({found[0].input})").judge(()).reason == "dropped"
    kept, _ = problems("cruxeval-output", "cruxeval", dropping="none")
    assert kept.check(found[0], f"f({found[0].input})").judge(()).counted


def test_cruxeval_answers_are_values(problems):
    made, found = problems("cruxeval-output", "cruxeval")
    check = made.check(found[0], found[0].reference)
    (work,) = check.work
    space = {}
    exec(work.source, space)
    value = space[work.entry_point]()
    assert check.judge((run(outputs=(Output(value=value),)),)).passed
    assert not check.judge((run(outputs=(Output(value=[]),)),)).passed
    assert not check.judge((run(outputs=(Output(raised="KeyError"),)),)).passed
    assert not check.judge((run("timeout"),)).passed
    odd = made.check(found[0], "[], 'a message'")
    assert odd.work[0].source.endswith(f"assert {found[0].output} == [], 'a message'")
    assert odd.judge((run("exception", detail="AssertionError: a message"),)).reason == "wrong"


def test_infilling(problems):
    made, found = problems("fim-santacoder", "humaneval_infilling/qwen_hm_fim.parquet")
    counts = {language: sum(each.group == language for each in found) for language in made.languages}
    assert counts == {"python": 1043, "java": 1780, "javascript": 1969}
    one = found[0]
    assert made.check(one, f"\n  {one.reference.strip()} ").judge(()).passed
    assert not made.check(one, one.reference + ";").judge(()).passed
    assert made.truncated(one, "x<file_sep>y") == "x"
    made, found = problems("humaneval-infilling", "humaneval_infilling", kind="multi-line")
    assert made.truncated(found[0], "x\ndef g():") == "x\ndef g():"
    (work,) = made.check(found[0], found[0].reference).work
    compile(work.source, "<it>", "exec")


def test_a_summary_by_group():
    made = benchmark("fim-santacoder")
    line = {"name": "x", "prompt": "", "suffix": "", "canonical_solution": "", "tests": ""}
    found = made.problems({"": [{**line, "language": each} for each in ("py", "py", "java")]})
    assert [each.id for each in found] == ["py/x", "py/x#2", "java/x"]
    hit, miss = (made.check(found[0], text).judge(()) for text in ("", "y"))
    summary = made.summary(found, {"py/x": [hit], "py/x#2": [miss], "java/x": [hit, miss]})
    values = {group: found["exact match"].value for group, found in summary.items()}
    assert values == {"": 0.5, "java": 0.5, "python": 0.5}
    assert summary[""]["exact match"].problems == 3


def test_pass_at_k_is_left_out_where_there_are_too_few():
    made = benchmark("humaneval")
    problem = made.problems(
        {"": [{"task_id": "a", "prompt": "", "canonical_solution": "", "test": "", "entry_point": ""}]}
    )
    summary = made.summary(problem, {"a": [Verdict(passed=True), Verdict(passed=False)]})
    assert {name: found.value for name, found in summary[""].items()} == {"pass@1": 0.5}


def test_the_earliest_stop_counts():
    assert cut("a\nb\nc", ["\nc", "\nb"]) == "a"
    assert cut("abc", []) == "abc"


def test_reasons_are_known():
    assert "unjudged" in STATUSES
