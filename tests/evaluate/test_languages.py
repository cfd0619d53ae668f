"""One real problem of MultiPL-E in each language, solved rightly and wrongly; and HumanEvalFix's beside Python.

MultiPL-E has no official solutions, so those of `HumanEval_53_add` are written here. Languages whose tools are missing
are skipped.
"""

import dataclasses
import os

import pytest

from starsmith.errors import StarsmithError
from starsmith.evaluate.benchmarks import benchmark
from starsmith.evaluate.dataset import load
from starsmith.evaluate.sandbox import Sandbox

SOLUTIONS = {
    "cpp": "    return x + y;",
    "cs": "        return x + y;",
    "d": "{\n    return x + y;\n}\n",
    "go": "    return x + y\n}\n",
    "java": "        return x + y;",
    "jl": "    return x + y\nend\n",
    "js": "  return x + y;\n}\n",
    "lua": "    return x + y\nend\n",
    "php": "    return $x + $y;\n}\n",
    "pl": "    return $x + $y;\n}\n",
    "r": "\n    return(x + y)\n}\n",
    "rb": "  x + y\nend\n",
    "rkt": "  (+ x y))\n",
    "rs": "    x + y",
    "scala": "        x + y",
    "sh": "    echo $(($1 + $2))",
    "swift": "    return x + y",
    "ts": "  return x + y;\n}\n",
}
IN_CI = {"lua", "pl", "sh"}
"""Languages whose tools `.ci/run` installs: small ones."""
QUICK = {*IN_CI, "js"}
"""What runs unasked where it is there. STARSMITH_LANGUAGES=all runs the others, some of which take minutes."""


@pytest.fixture(scope="module")
def own_box():
    try:
        with Sandbox(workers=1) as box:
            yield box
    except StarsmithError as error:
        pytest.skip(str(error))


def skip_where_missing(box, tools, language):
    if language not in QUICK and os.environ.get("STARSMITH_LANGUAGES") != "all":
        pytest.skip("set STARSMITH_LANGUAGES=all to run it")
    (run,) = box.run([tools.probe()])
    if run.status != "passed":
        reason = f"{language}: {run.detail}. Get it from {tools.get}"
        assert os.environ.get("CI") != "true" or language not in IN_CI, reason
        pytest.skip(reason)


@pytest.mark.parametrize("language", SOLUTIONS)
def test_multipl_e(own_box, test_data, language):
    made = benchmark("multipl-e", {"language": language})
    skip_where_missing(own_box, made.toolchains[language], language)
    problems, _ = load(made.sources(), test_data / "multipl_e_humaneval", benchmark=made.title, make=made.problems)
    problem = next(each for each in problems if each.id.endswith("HumanEval_53_add"))
    right = SOLUTIONS[language]
    wrong = right.replace("+ y", "- y").replace("+ $", "- $").replace("(+ x", "(- x")
    assert wrong != right
    told = []
    for completion in (right, wrong, "?? no program"):
        check = made.check(problem, completion)
        told.append(check.judge(list(own_box.run(check.work))))
    assert [each.passed for each in told] == [True, False, False], told


@pytest.mark.parametrize("language", ["js", "java", "go", "cpp", "rust"])
def test_humaneval_fix(own_box, test_data, language):
    made = benchmark("humaneval-fix", {"language": language})
    skip_where_missing(own_box, made.toolchains[language], language)
    problems, _ = load(made.sources(), test_data / "humanevalpack", benchmark=made.title, make=made.problems)
    for kind in ("reference", "buggy"):
        check = made.check(problems[0], getattr(problems[0], kind))
        (run,) = own_box.run([dataclasses.replace(check.work[0], id=kind)])
        assert check.judge([run]).passed == (kind == "reference"), run
