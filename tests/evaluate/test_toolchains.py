"""The command lines of the languages: each complete, and Bash's run for real."""

import pytest

from starsmith.evaluate import fix_toolchains
from starsmith.evaluate.toolchains import TOOLCHAINS

ALL = [*TOOLCHAINS.values(), *fix_toolchains.TOOLCHAINS.values()]


def test_the_18_languages_of_the_paper():
    assert sorted(tools.language for tools in TOOLCHAINS.values()) == sorted(
        "C++,C#,D,Go,Java,Julia,JavaScript,Lua,PHP,Perl,R,Ruby,Racket,Rust,Scala,Bash,Swift,TypeScript".split(",")
    )


@pytest.mark.parametrize("tools", ALL, ids=lambda tools: f"{tools.language} {tools.file}")
def test_each_can_be_run_and_asked_for(tools):
    work = tools.command("x", name="id")
    assert tools.file in work.files
    assert work.limits.address_bytes == 0
    assert work.limits.cpu_seconds == tools.seconds
    programs = {step[0] for step in work.steps} - {"sh"}
    asked = {probe[0] for probe in tools.probes}
    # What a step makes itself needs no asking.
    assert {name for name in programs if not name.startswith("./")} <= asked | {"scalac"}
    assert tools.get


def test_bash_for_real(box):
    tools = TOOLCHAINS["sh"]
    sources = {"good": "[[ $((1 + 1)) == 2 ]]", "bad": "set -e\n[[ 1 == 2 ]]\ntrue", "odd": "fi"}
    verdicts = {run.id: tools.judged(run) for run in box.run(tools.command(s, name=n) for n, s in sources.items())}
    assert {name: verdict.passed for name, verdict in verdicts.items()} == {"good": True, "bad": False, "odd": False}


def test_a_text_that_is_no_unicode_is_still_bytes():
    assert TOOLCHAINS["sh"].command("\udc80", name="x").files["program.sh"] == b"\xed\xb2\x80"


def test_go_gets_the_packages_it_uses():
    setup = 'package main\n\nimport (\n    "testing"\n    "fmt"\n)\n'
    program = 'import "fmt"\nfunc F() string {\n    // strings.ToUpper\n    return fmt.Sprint(rand.Int())\n}'
    made = fix_toolchains.go_program(program, setup=setup, test="", packages=fix_toolchains.PACKAGES_OF_GO)
    assert made.count('"fmt"') == 1
    assert '"math/rand"' in made
    assert '"strings"' not in made
    assert made.count("package main") == 1


def test_rust_gets_what_its_declaration_has():
    declaration = "use md5;\nfn f(x: i32) -> i32 {"
    made = fix_toolchains.rust_program("fn f(x: i32) -> i32 { 1 }\nfn main(){}", declaration=declaration)
    assert made == "use md5;\nfn f(x: i32) -> i32 { 1 }\nfn main(){}"
    assert fix_toolchains.rust_program("x", declaration="").startswith("fn main(){}\n")
