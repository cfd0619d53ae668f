"""The commands of `starsmith eval` that run nothing of a model's: list, doctor, setup."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starsmith.command import add_command, print_json
from starsmith.errors import StarsmithError
from starsmith.eval_cli import DATA_VARIABLE

if TYPE_CHECKING:
    from starsmith.evaluate.catalogue import Entry
    from starsmith.evaluate.environment import Environment, Examination

_MOST_FILES: Final = 3
"""Files that are named one by one; MultiPL-E has 18."""


def add_setting_up(actions: Any) -> None:
    """Add the commands to those of `eval`."""
    _add_list(actions)
    _add_doctor(actions)
    _add_setup(actions)


def _add_list(actions: Any) -> None:
    command = add_command(actions, "list", "List the benchmarks, what each needs, and what of it is here.", run_list)
    command.add_argument("--data", metavar="PATH", help=f"a folder that has official files (default: ${DATA_VARIABLE})")
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_doctor(actions: Any) -> None:
    summary = "Say whether the sandbox works, which languages can be run, and how to get what is missing."
    command = add_command(actions, "doctor", summary, run_doctor)
    command.add_argument("--python", metavar="PATH", help="the interpreter that programs run under")
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_setup(actions: Any) -> None:
    summary = "Make the Python environment that some benchmarks' programs need, by pip."
    command = add_command(actions, "setup", summary, run_setup)
    command.add_argument("benchmark", metavar="NAME", nargs="*", help="for these benchmarks (default: for all)")
    command.add_argument("--path", metavar="DIR", help="where to make it (default: where `eval run` looks for it)")
    command.add_argument(
        "--also", metavar="PACKAGE", action="append", default=[], help="a large package, such as torch; repeatable"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def run_list(arguments: argparse.Namespace) -> None:
    from starsmith.evaluate import environment
    from starsmith.evaluate.catalogue import catalogue

    given = arguments.data or os.environ.get(DATA_VARIABLE)
    entries = catalogue(Path(given) if given else None)
    known = environment.found()
    if arguments.json:
        print_json({"data": given, "benchmarks": [entry.plain() | _packages(entry, known) for entry in entries]})
        return
    for entry in entries:
        _show(entry, known)
    if not given:
        print(f"Give --data, or set {DATA_VARIABLE}, to see which files are here.")


def _packages(entry: "Entry", known: "Environment | None") -> dict[str, list[str]]:
    have = known.packages if known else {}
    return {"packages_missing": [name for name in entry.needs if name not in have]}


def _show(entry: "Entry", known: "Environment | None") -> None:
    problems = "?" if entry.problems is None else f"{entry.problems:,}"
    languages = ", ".join(entry.languages)
    state = "missing" if entry.missing else "here"
    print(f"{entry.name:<20} {problems:>6} problems  {state:<8} {entry.title}; {languages}")
    print(f"  licence: {'; '.join(dict.fromkeys(file.licence for file in entry.files))}")
    present = [file for file in entry.files if file.found]
    if present:
        known_as = [f"{file.found[0]} ({file.version or 'a version that is not known'})" for file in present]
        print(f"  here: {_few(known_as)}")
    if entry.missing:
        print(f"  get: {_few([file.where for file in entry.missing])}")
    if lacking := _packages(entry, known)["packages_missing"]:
        print(f"  packages: {', '.join(lacking)} not in the environment; see `starsmith eval setup {entry.name}`")
    if entry.toolchains:
        print(f"  tools: of {len(entry.toolchains)} languages; see `starsmith eval doctor`")


def _few(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _MOST_FILES} more" if len(texts) > _MOST_FILES else ""
    return ", ".join(texts[:_MOST_FILES]) + more


def run_doctor(arguments: argparse.Namespace) -> None:
    from starsmith.evaluate.environment import examine

    found = examine(Path(arguments.python) if arguments.python else None)
    if arguments.json:
        print_json(found.plain())
    else:
        _show_examination(found)
    if found.sandbox:
        raise StarsmithError(f"The sandbox does not work. {found.sandbox}")


def _show_examination(found: "Examination") -> None:
    if not found.sandbox:
        print(f"Sandbox: works; programs run under {found.interpreter}.")
    known = found.environment
    print(f"Environment: {known.folder}, {len(known.packages)} packages." if known else "Environment: none.")
    for tool in found.tools:
        name = f"{tool.benchmark:<14} {tool.language:<11}"
        print(f"{name} {tool.said}" if tool.found else f"{name} missing ({tool.said}). Get it: {tool.get}.")


def run_setup(arguments: argparse.Namespace) -> None:
    from starsmith.evaluate import environment
    from starsmith.evaluate.benchmarks import PLACES, benchmark

    folder = Path(arguments.path) if arguments.path else environment.default_folder()
    chosen = [benchmark(name) for name in arguments.benchmark or PLACES]
    packages = environment.packages_for(chosen, also=arguments.also)
    made = environment.set_up(folder.absolute(), packages)
    left_out = sorted({name for each in chosen for name in each.python_packages} - made.packages.keys())
    if arguments.json:
        print_json({**environment.plain(made), "left_out": left_out})
        return
    print(f"{made.folder}: Python {made.version} with {len(made.packages)} packages.")
    if left_out:
        print(f"Left out: {', '.join(left_out)}. Get one with --also NAME.")
    if not arguments.path:
        return
    print(f"Programs run under it with --python {made.python}.")
