"""What this machine has of what benchmarks need: the sandbox, languages' tools, and a Python with the packages.

The packages stand in an environment of their own, which everybody can read, since judged programs run as nobody; pip
makes it, from the versions in `data/evaluation_constraints.txt`. Nothing here is done unasked.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

from starsmith.disk import disk_errors
from starsmith.errors import StarsmithError
from starsmith.evaluate import fix_toolchains, toolchains
from starsmith.evaluate.bubblewrap import Interpreter, interpreter
from starsmith.evaluate.problem import Benchmark
from starsmith.evaluate.run import Command, Program, Run
from starsmith.evaluate.sandbox import Sandbox
from starsmith.evaluate.toolchains import Toolchain

RECORD: Final = "starsmith.json"
CONSTRAINTS: Final = "evaluation_constraints.txt"
LARGE: Final = frozenset(("torch", "tensorflow", "vllm"))
"""Packages of gigabytes, installed only where somebody names them."""
_OF_ROOT: Final = Path("/var/lib/starsmith/evaluation")
_LAST_LINES: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """A Python for judged programs."""

    folder: str
    python: str
    version: str
    packages: Mapping[str, str]
    """Every package in it: version."""
    constraints: str
    """SHA-256 of the file of versions it was made from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """What is needed to run one language."""

    benchmark: str
    language: str
    found: bool
    said: str
    """The first line that the tools say of themselves, or why they are taken for missing."""
    get: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """What a machine has."""

    sandbox: str
    """Empty where it works; else what is wrong, and how to mend it."""
    interpreter: str
    environment: Environment | None
    tools: tuple[Tool, ...]

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self) | {"works": not self.sandbox}


def default_folder() -> Path:
    """Return where the environment stands if nobody says otherwise."""
    if os.geteuid() == 0:
        return _OF_ROOT
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "starsmith/evaluation"


def found(folder: Path | None = None) -> Environment | None:
    """Return the environment in a folder; None where there is none. Raises StarsmithError for a damaged record."""
    path = (folder or default_folder()) / RECORD
    try:
        return Environment(**json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StarsmithError(f"{path} cannot be used: {error}. Run `starsmith eval setup` again.") from None


def python_for(made: Benchmark[Any]) -> Path | None:
    """Return the environment's interpreter where a benchmark needs packages and there is one."""
    environment = found() if made.python_packages else None
    return Path(environment.python) if environment else None


def packages_for(benchmarks: Iterable[Benchmark[Any]], *, also: Sequence[str] = ()) -> list[str]:
    """Return the packages that these benchmarks' programs may need, large ones only where they are named."""
    wanted = {name for made in benchmarks for name in made.python_packages}
    return sorted({name for name in wanted if name not in LARGE} | {"numpy", *also})


def set_up(folder: Path, packages: Sequence[str]) -> Environment:
    """Make the environment, or add to the one that is there.

    Raises StarsmithError where pip fails, or the unprivileged user of the sandbox cannot run what was made.
    """
    base = _base()
    with disk_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    python = folder / "bin/python"
    if not python.exists():
        _done([base.path, "-m", "venv", "--without-pip", str(folder)], "the environment cannot be made")
    versions = resources.files("starsmith").joinpath("data", CONSTRAINTS)
    with resources.as_file(versions) as constraints:
        install = ["install", "--quiet", "--no-input", "--disable-pip-version-check", "--only-binary", ":all:"]
        command = [*_pip(python), *install, "--constraint", str(constraints), "--", *packages]
        _done(command, "the packages cannot be installed")
    listed = json.loads(_done([*_pip(python), "list", "--format", "json"], "the packages cannot be listed"))
    environment = Environment(
        folder=str(folder),
        python=str(python),
        version=interpreter(python).version,
        packages={each["name"].lower(): each["version"] for each in listed},
        constraints=hashlib.sha256(versions.read_bytes()).hexdigest(),
    )
    with disk_errors(str(folder)):
        (folder / RECORD).write_text(json.dumps(asdict(environment), indent=1) + "\n", encoding="utf-8")
        (folder / RECORD).chmod(0o644)
    return environment


def _base() -> Interpreter:
    """Return a Python that the sandbox can run, and that is not itself an environment."""
    own = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    try:
        return interpreter(own if own.exists() else None)
    except StarsmithError:
        return interpreter()


def _pip(python: Path) -> list[str]:
    return [sys.executable, "-m", "pip", "--python", str(python)]


def _done(command: Sequence[str], failed: str) -> str:
    # What is written is for everybody to read, whatever the caller's mask says.
    done = subprocess.run(command, capture_output=True, text=True, check=False, umask=0o022)
    if done.returncode:
        said = " ".join(done.stderr.strip().splitlines()[-_LAST_LINES:])[:500]
        raise StarsmithError(f"{failed}: {said or f'exit code {done.returncode}'}")
    return done.stdout


def examine(python: Path | None = None) -> Examination:
    """Look at the sandbox and, inside it, at the tools of every language. Raises nothing that a sandbox lacks."""
    environment = found()
    try:
        with Sandbox(python=python, workers=2) as box:
            wrong = _first_program(box)
            tools = () if wrong else tuple(_tools(box))
            return Examination(sandbox=wrong, interpreter=_named(box), environment=environment, tools=tools)
    except StarsmithError as error:
        return Examination(sandbox=str(error), interpreter="", environment=environment, tools=())


def _named(box: Sandbox) -> str:
    return f"{box.interpreter.path} ({box.interpreter.version})"


def _first_program(box: Sandbox) -> str:
    """Return what is wrong where the simplest program does not pass."""
    (run,) = box.run([Program(id="first", source="assert 1 + 1 == 2")])
    return "" if run.status == "passed" else f"A program that does nothing ended as {run.status}: {run.detail}"


def _tools(box: Sandbox) -> Iterable[Tool]:
    asked = {
        f"{name}/{tools.language}": (name, tools)
        for name, known in (("multipl-e", toolchains.TOOLCHAINS), ("humaneval-fix", fix_toolchains.TOOLCHAINS))
        for tools in known.values()
    }
    runs = {run.id: run for run in box.run(_probe(tools, key) for key, (_, tools) in asked.items())}
    return [_tool(name, tools, runs[key]) for key, (name, tools) in asked.items()]


def _probe(tools: Toolchain, key: str) -> Command:
    return replace(tools.probe(), id=key)


def _tool(name: str, tools: Toolchain, run: Run) -> Tool:
    is_there = run.status == "passed"
    said = (run.stdout + run.stderr).decode("utf-8", "replace").strip()
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    step = tools.probes[_failed_step(run)] if not is_there else ()
    return Tool(
        benchmark=name,
        language=tools.language,
        found=is_there,
        said=(lines[0] if lines else "")[:120] if is_there else f"{' '.join(step)}: {run.detail}"[:200],
        get=tools.get,
    )


def _failed_step(run: Run) -> int:
    """Return which of the probes failed: the sandbox says `step 2 of 3 …`."""
    words = run.detail.split()
    return int(words[1]) - 1 if words[:1] == ["step"] and words[1:2] and words[1].isdigit() else 0


def plain(environment: Environment) -> dict[str, Any]:
    """Return an environment as plain values."""
    return asdict(environment)
