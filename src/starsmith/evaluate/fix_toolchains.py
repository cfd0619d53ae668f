"""HumanEvalFix beside Python: the command lines of its runner, and what a program is made of in each language.

Facts from the BigCode evaluation harness 8fc5bae6 and the `code_eval_octopack` metric it loads. Rust programs need
three crates, which cargo finds where Debian's packages put them, without a network.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from starsmith.evaluate.run import Command, Run
from starsmith.evaluate.toolchains import Toolchain

PACKAGES_OF_GO: Final = (
    *("math", "strings", "fmt", "strconv", "time", "bytes", "regexp", "sort", "math/rand", "crypto/md5"),
)
"""What the harness imports where a program uses it and does not import it."""

_INCLUDES: Final = "using namespace std;\n" + "".join(
    f"#include<{name}>\n"
    for name in (
        "stdlib.h algorithm cmath math.h numeric stdio.h vector set map queue stack list deque boost/any.hpp "
        "string climits cstring iostream sstream fstream"
    ).split()
)
_MANIFEST: Final = b"""[package]
name = "rust"
version = "0.1.0"
edition = "2021"
[dependencies]
rand = "*"
regex = "*"
md5 = "*"
"""
_REGISTRY: Final = b"""[source.crates-io]
replace-with = "debian"
[source.debian]
directory = "/usr/share/cargo/registry"
"""
_HOME: Final = {"HOME": "/tmp"}  # noqa: S108 (inside the sandbox)


def _wrote_nothing(run: Run) -> bool:
    # `console.assert` writes and goes on.
    return not run.stdout and not run.stderr


class _CargoToolchain(Toolchain):
    """cargo: a program is a project."""

    def command(self, source: str, *, name: str, seconds: float | None = None) -> Command:
        files = {
            "Cargo.toml": _MANIFEST,
            ".cargo/config.toml": _REGISTRY,
            self.file: source.encode("utf-8", "surrogatepass"),
        }
        environment = dict(self.environment)
        return Command(id=name, steps=self.steps, files=files, environment=environment, limits=self.limits(seconds))


TOOLCHAINS: Final[Mapping[str, Toolchain]] = {
    "cpp": Toolchain(
        language="C++",
        file="test.cpp",
        steps=(("g++", "-std=c++11", "test.cpp", "-lcrypto", "-lssl"), ("./a.out",)),
        probes=(
            ("g++", "--version"),
            ("test", "-r", "/usr/include/boost/any.hpp"),
            ("test", "-r", "/usr/include/openssl/md5.h"),
        ),
        get="Debian: g++, libboost-dev, libssl-dev",
        seconds=60,
    ),
    "js": Toolchain(
        language="JavaScript",
        file="test.js",
        steps=(("node", "test.js"),),
        probes=(("node", "--version"),),
        get="Debian: nodejs; npm: js-md5, installed globally, for one program",
        seconds=10,
        environment={"NODE_PATH": "/usr/local/lib/node_modules:/usr/lib/node_modules"},
        passed=_wrote_nothing,
    ),
    "java": Toolchain(
        language="Java",
        file="Main.java",
        steps=(("javac", "Main.java"), ("java", "-cp", ".", "Main")),
        probes=(("javac", "-version"), ("java", "-version")),
        get="Debian: default-jdk-headless",
        seconds=20,
    ),
    "go": Toolchain(
        language="Go",
        file="main_test.go",
        steps=(("go", "test", "-timeout=20s", "main_test.go"),),
        probes=(("go", "version"), ("test", "-d", "/usr/share/gocode/src/github.com/stretchr/testify/assert")),
        get="Debian: golang-go, golang-github-stretchr-testify-dev",
        seconds=60,
        environment={**_HOME, "GOCACHE": "/tmp/.go-cache", "GO111MODULE": "off", "GOPATH": "/usr/share/gocode"},  # noqa: S108
        processes=128,
    ),
    "rust": _CargoToolchain(
        language="Rust",
        file="src/bin/test.rs",
        steps=(("cargo", "test", "--offline", "--bin", "test"),),
        probes=(
            ("cargo", "--version"),
            *(("sh", "-c", f"ls -d /usr/share/cargo/registry/{name}-*") for name in ("rand", "regex", "md5")),
        ),
        get="Debian: cargo, librust-rand+default-dev, librust-regex+default-dev, librust-md5+default-dev",
        seconds=300,
        environment={**_HOME, "CARGO_HOME": "/tmp/.cargo-home"},  # noqa: S108
        processes=128,
    ),
}


def cpp_program(program: str) -> str:
    """Return a C++ program with the harness's includes and without a main function of its own."""
    return (_INCLUDES + program.split("int main")[0]).strip()


def rust_program(program: str, *, declaration: str) -> str:
    """Return a Rust program with `main` once, and with the lines of the declaration that it lacks."""
    lacking = [
        line.strip()
        for line in declaration.split("\n")
        if line.strip() not in program and not (line.strip().startswith("fn") and line.strip().split("(")[0] in program)
    ]
    head = [] if "fn main()" in program else ["fn main(){}"]
    return "\n".join([*head, *lacking, "fn main()".join(program.split("fn main()")[:2])])


def go_program(program: str, *, setup: str, test: str, packages: Sequence[str]) -> str:
    """Return a Go program with the test's package line and imports, and the packages it uses without importing."""
    for line in setup.split("\n"):
        quoted = line.replace("import", "").replace("(", "").replace(")", "").strip()
        if quoted.startswith('"') and quoted in program:
            setup = setup.replace(quoted, "")
    whole = f"{setup}\n{program}\n{test}"
    lacking = [name for name in packages if f'"{name}"' not in whole and _uses(whole, name.rpartition("/")[2])]
    imports = "import (\n" + "".join(f'    "{name}"\n' for name in lacking) + ")\n" if lacking else ""
    return f"{setup}\n{imports}{program.replace('package main', '') if 'package main' in setup else program}"


def _uses(program: str, package: str) -> bool:
    return any(
        f"{package}." in line and not line.strip().startswith("//") for line in program.split("\n") if line.strip()
    )
