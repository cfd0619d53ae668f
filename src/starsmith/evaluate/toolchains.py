"""The languages that are compiled or interpreted by tools of their own: which command lines, which tools, from where.

Command lines and what counts as passed are those of MultiPL-E, as in the BigCode evaluation harness 8fc5bae6. Whether a
tool is there is asked inside the sandbox, by `probe`: what only root can run does not count. Time limits are those
of the harness, of compiler and program together, as processor time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from starsmith.evaluate.problem import Verdict, limits, of_run
from starsmith.evaluate.run import Command, Limits, Run

Passed = Callable[[Run], bool]


def _always(run: Run) -> bool:
    return True


def _silent(run: Run) -> bool:
    return not run.stderr


def _no_error_word(run: Run) -> bool:
    return b"ERROR" not in run.stdout + run.stderr


def _no_fail_word(run: Run) -> bool:
    return b"FAIL" not in run.stdout


def _mono(run: Run) -> bool:
    # Mono ends with 0 whatever happened.
    return not any(sign in run.stderr for sign in (b"System.Diagnostics.DefaultTraceListener.Fail", b"Unhandled Exc"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Toolchain:
    """How a program of one language is run."""

    language: str
    """As the paper spells it."""
    file: str
    """Name of the program's file."""
    steps: tuple[tuple[str, ...], ...]
    probes: tuple[tuple[str, ...], ...]
    """Command lines that succeed where the tools and libraries are there, and say their versions."""
    get: str
    """Where the tools come from."""
    seconds: float
    passed: Passed = _always
    """Whether a run that ended with exit code 0 has passed after all."""
    environment: Mapping[str, str] = field(default_factory=dict)
    processes: int = 64

    def limits(self, seconds: float | None = None) -> Limits:
        # Runtimes such as Java's, Go's and Node's reserve far more addresses than they use.
        return limits(
            seconds or self.seconds,
            own_seconds=0.0,
            address_bytes=0,
            processes=self.processes,
            file_bytes=512 << 20,
            files=16384,
        )

    def command(self, source: str, *, name: str, seconds: float | None = None) -> Command:
        """Return the command that runs a program; `name` is its id."""
        content = source.encode("utf-8", "surrogatepass")
        return Command(
            id=name,
            steps=self.steps,
            files={self.file: content},
            environment=dict(self.environment),
            limits=self.limits(seconds),
        )

    def judged(self, run: Run) -> Verdict:
        """Return the verdict on the run of a `command`."""
        verdict = of_run((run,))
        if verdict.passed and not self.passed(run):
            return Verdict(passed=False, reason="wrong", detail="what it wrote says that it failed")
        return verdict

    def probe(self) -> Command:
        """Return the command that passes where the tools are there; the end of its output has their versions."""
        return Command(
            id=self.language,
            steps=self.probes,
            environment=dict(self.environment),
            limits=self.limits(30.0),
        )


def _interpreted(language: str, file: str, command: tuple[str, ...], **other: object) -> Toolchain:
    return Toolchain(language=language, file=file, steps=((*command, file),), **other)  # type: ignore[arg-type]


_HOME: Final = {"HOME": "/tmp"}  # noqa: S108 (inside the sandbox)
_GO: Final = {**_HOME, "GOCACHE": "/tmp/.go-cache", "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}  # noqa: S108
_JAVATUPLES: Final = "/usr/share/java/javatuples.jar"

TOOLCHAINS: Final[Mapping[str, Toolchain]] = {
    "cpp": Toolchain(
        language="C++",
        file="program.cpp",
        steps=(("g++", "program.cpp", "-o", "program", "-std=c++17"), ("./program",)),
        probes=(("g++", "--version"),),
        get="Debian: g++",
        seconds=30,
    ),
    "cs": Toolchain(
        language="C#",
        file="program.cs",
        steps=(
            ("mcs", "/d:DEBUG", "-r:System.Numerics.dll", "program.cs", "/out:program.exe"),
            ("mono", "program.exe"),
        ),
        probes=(("mcs", "--version"), ("mono", "--version")),
        get="Debian: mono-devel. MultiPL-E uses Mono's csc, which Debian lacks",
        seconds=20,
        passed=_mono,
        environment={**_HOME, "MONO_TRACE_LISTENER": "Console.Error"},
    ),
    "d": Toolchain(
        language="D",
        file="program.d",
        steps=(("ldc2", "-unittest", "program.d", "-of=program"), ("./program",)),
        probes=(("ldc2", "--version"),),
        get="Debian: ldc. MultiPL-E uses rdmd, which Debian lacks",
        seconds=15,
    ),
    "go": Toolchain(
        language="Go",
        file="program_test.go",
        steps=(("go", "test", "program_test.go"),),
        probes=(("go", "version"),),
        get="Debian: golang-go",
        seconds=30,
        passed=_no_fail_word,
        environment=_GO,
        processes=128,
    ),
    "java": Toolchain(
        language="Java",
        file="Problem.java",
        steps=(
            ("javac", "-encoding", "UTF8", "-cp", _JAVATUPLES, "-d", "out", "Problem.java"),
            ("java", "-ea", "-cp", f"out:{_JAVATUPLES}", "Problem"),
        ),
        probes=(("javac", "-version"), ("java", "-version"), ("test", "-r", _JAVATUPLES)),
        get="Debian: default-jdk-headless, libjavatuples-java",
        seconds=30,
    ),
    "jl": _interpreted(
        "Julia",
        "program.jl",
        ("julia",),
        probes=(("julia", "--version"),),
        get="https://julialang.org; Debian 12 has no package",
        seconds=5,
        environment=_HOME,
    ),
    "js": _interpreted(
        "JavaScript", "program.js", ("node",), probes=(("node", "--version"),), get="Debian: nodejs", seconds=5
    ),
    "lua": _interpreted(
        "Lua",
        "program.lua",
        ("lua",),
        probes=(("lua", "-v"), ("lua", "-e", "require('luaunit')")),
        get="Debian: lua5.4, lua-unit, and `lua` chosen by update-alternatives",
        seconds=15,
    ),
    "php": _interpreted(
        "PHP", "program.php", ("php",), probes=(("php", "--version"),), get="Debian: php-cli", seconds=15
    ),
    "pl": _interpreted(
        "Perl",
        "program.pl",
        ("perl",),
        probes=(("perl", "-MTest::Deep", "-e", "print $^V"),),
        get="Debian: perl, libtest-deep-perl",
        seconds=15,
        passed=_no_error_word,
    ),
    "r": _interpreted(
        "R", "program.r", ("Rscript",), probes=(("Rscript", "--version"),), get="Debian: r-base-core", seconds=5
    ),
    "rb": _interpreted(
        "Ruby",
        "program.rb",
        ("ruby",),
        probes=(("ruby", "--version"), ("ruby", "-rtest/unit", "-e", "exit! 0")),
        get="Debian: ruby, ruby-test-unit",
        seconds=5,
    ),
    "rkt": _interpreted(
        "Racket",
        "program.rkt",
        ("racket",),
        probes=(("racket", "--version"), ("racket", "-l", "rackunit")),
        get="Debian: racket, racket-common",
        seconds=15,
        # rackunit ends with 0 even where tests fail.
        passed=_silent,
        environment=_HOME,
    ),
    "rs": Toolchain(
        language="Rust",
        file="program.rs",
        steps=(("rustc", "program.rs", "-o", "program"), ("./program",)),
        probes=(("rustc", "--version"),),
        get="Debian: rustc",
        seconds=20,
    ),
    "scala": Toolchain(
        language="Scala",
        file="program.scala",
        # Only what the program itself writes to stderr fails it.
        steps=(
            ("sh", "-c", "mkdir out && scalac -d out program.scala 2>compiler.txt"),
            ("scala", "-cp", "out", "Problem"),
        ),
        probes=(("scalac", "-version"), ("scala", "-version")),
        get="Debian: scala",
        seconds=60,
        passed=_silent,
        environment=_HOME,
        processes=128,
    ),
    "sh": _interpreted(
        "Bash",
        "program.sh",
        ("bash",),
        probes=(("bash", "--version"), ("bc", "--version"), ("jq", "--version")),
        get="Debian: bash; bc and jq, which programs call, change scores",
        seconds=15,
    ),
    "swift": Toolchain(
        language="Swift",
        file="program.swift",
        steps=(("swiftc", "program.swift", "-o", "program"), ("./program",)),
        probes=(("swiftc", "--version"),),
        get="https://swift.org/download; Debian 12 has no package",
        seconds=50,
        environment=_HOME,
    ),
    "ts": Toolchain(
        language="TypeScript",
        file="program.ts",
        steps=(("tsc", "--target", "esnext", "program.ts"), ("node", "program.js")),
        probes=(("tsc", "--version"), ("node", "--version")),
        get="npm: typescript and @types/node, or Debian: node-typescript; Debian: nodejs",
        seconds=30,
    ),
}
"""By MultiPL-E's short names: the 18 languages of the paper beside Python."""
