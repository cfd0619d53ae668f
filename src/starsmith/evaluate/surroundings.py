"""What a score depends on beside data and completions: interpreter, compilers, packages, machine.

Asked inside the sandbox, where programs run: what only the caller can run does not count.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from starsmith import __version__
from starsmith.evaluate.bubblewrap import Interpreter, code_digest
from starsmith.evaluate.problem import Benchmark, Problem, Tools, Work
from starsmith.evaluate.run import Program, Run
from starsmith.evaluate.sandbox import Sandbox

LONGEST_VERSION: Final = 2000
"""Characters of what the tools of one language say of themselves."""
_VERSIONS: Final = """
import importlib.metadata as starsmith_metadata_
def starsmith_version_(name):
    try: return starsmith_metadata_.version(name)
    except starsmith_metadata_.PackageNotFoundError: return ""
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What was found."""

    interpreter: str
    """Version of the Python that programs run under."""
    path: str
    tools: Mapping[str, str] = field(default_factory=dict)
    """Language: what its tools say of themselves."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Language that cannot be run: where its tools come from."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Package that programs may need: version, or empty where it is not there."""

    def warnings(self) -> list[str]:
        """Return what a user is to know, each in a sentence."""
        told = [f"{each} is left out: its tools are missing ({get})." for each, get in sorted(self.missing.items())]
        if lacking := [name for name, version in self.packages.items() if not version]:
            told.append(f"{self.path} lacks {', '.join(lacking)}: programs that need them fail.")
        return told

    def plain(self) -> dict[str, Any]:
        """Return the part of a result's record that tells of them."""
        return {
            "missing": dict(self.missing),
            "versions": {
                "starsmith": __version__,
                "python": self.interpreter,
                "interpreter": self.path,
                "packages": dict(self.packages),
                "tools": dict(self.tools),
                "bubblewrap": _bubblewrap(),
                "sandbox": code_digest(),
                "kernel": platform.release(),
                "machine": platform.machine(),
                "cores": os.cpu_count(),
            },
        }


def look(made: Benchmark[Any], problems: Sequence[Problem], python: Interpreter, *, unsafe: bool) -> Surroundings:
    """Return what there is of what these problems need. Raises StarsmithError where the sandbox cannot be had."""
    languages = dict.fromkeys(problem.language for problem in problems)
    wanted = {name: made.toolchains[name] for name in languages if name in made.toolchains}
    runs = _asked(wanted, made.python_packages, python, unsafe=unsafe)
    packages = runs.pop("", None)
    return Surroundings(
        interpreter=python.version,
        path=python.path,
        tools={name: _said(run) for name, run in runs.items() if run.status == "passed"},
        missing={name: wanted[name].get for name, run in runs.items() if run.status != "passed"},
        packages={} if packages is None else _packages(made.python_packages, packages),
    )


def _asked(
    wanted: Mapping[str, Tools], packages: Sequence[str], python: Interpreter, *, unsafe: bool
) -> dict[str, Run]:
    """Return what became of the question for each language's tools, and under "" of that for packages."""
    if not wanted and not packages:
        return {}
    names = {tools.language: name for name, tools in wanted.items()}
    calls = tuple((name,) for name in packages)
    question = Program(id="", source=_VERSIONS, entry_point="starsmith_version_", calls=calls)
    with Sandbox(python=Path(python.path), unsafe=unsafe) as box:
        work: list[Work] = [*(tools.probe() for tools in wanted.values()), *([question] if packages else [])]
        return {names.get(run.id, ""): run for run in box.run(work)}


def _packages(names: Sequence[str], run: Run) -> dict[str, str]:
    versions = [str(output.value or "")[:100] for output in run.outputs]
    return dict(zip(names, [*versions, *[""] * len(names)], strict=False))


def _said(run: Run) -> str:
    return (run.stdout + run.stderr).decode("utf-8", "replace").strip()[:LONGEST_VERSION]


def _bubblewrap() -> str:
    program = shutil.which("bwrap")
    if program is None:
        return ""
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.strip()
