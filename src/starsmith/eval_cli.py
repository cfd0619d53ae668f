"""The commands of `starsmith eval`: parses, calls, prints, like `cli`."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starsmith.command import add_command, positive, print_json
from starsmith.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starsmith.evaluate.problem import Benchmark
    from starsmith.evaluate.result import Result
    from starsmith.evaluate.scoring import Job

REPORT_FILE: Final = "report.md"
DATA_VARIABLE: Final = "STARSMITH_BENCHMARKS"


def add_eval(commands: Any) -> Any:
    """Add `eval` and its commands to the command line; return what further ones can be added to."""
    summary = "Run the paper's benchmarks on a model, or on what it wrote."
    group = commands.add_parser("eval", help=summary, description=summary)
    actions = group.add_subparsers(title="commands", dest="action", metavar="COMMAND", required=True)
    _add_score(actions)
    _add_compare(actions)
    return actions


def _add_score(actions: Any) -> None:
    summary = "Judge a file of generations. Killed and started again, it goes on where it was."
    command = add_command(actions, "score", summary, run_score)
    add_benchmark(command)
    command.add_argument(
        "--generations", metavar="G", required=True, help="what a model wrote: .jsonl or .json, or either packed as .gz"
    )
    add_scoring(command)


def _add_compare(actions: Any) -> None:
    summary = "Put results side by side: scores, the problems on which they differ, the paper's figures."
    command = add_command(actions, "compare", summary, run_compare)
    command.add_argument("results", metavar="R", nargs="+", help="folders that `starsmith eval score` wrote")
    command.add_argument("--paper", action="store_true", help="show what the paper's models score")
    command.add_argument("--plot", metavar="FILE", help="write the scores as bars: an SVG file")
    command.add_argument("--json", action="store_true", help="print one JSON object")


def add_benchmark(command: argparse.ArgumentParser) -> None:
    """Add the options that say which problems are meant."""
    command.add_argument("benchmark", metavar="NAME", help="a benchmark, such as humaneval or mbpp-plus")
    command.add_argument(
        "--data", metavar="PATH", help=f"the official file, or a folder that has it (default: ${DATA_VARIABLE})"
    )
    command.add_argument(
        "--option",
        metavar="KEY=VALUE",
        type=_key_value,
        action="append",
        default=[],
        help="an option of the benchmark; may be given more than once",
    )
    command.add_argument("--problems", metavar="ID,ID", default="", help="these problems alone")
    command.add_argument("--first", metavar="N", type=positive, help="so many problems alone, from the first on")
    command.add_argument("--samples", metavar="N", type=positive, help="so many completions a problem at the most")


def add_scoring(command: argparse.ArgumentParser) -> None:
    """Add the options that say how programs are run, and where the result goes."""
    command.add_argument("--out", metavar="R", required=True, help="the folder of the result")
    command.add_argument("--workers", metavar="N", type=positive, help="programs at a time (default: one per core)")
    command.add_argument(
        "--python",
        metavar="PATH",
        help="the interpreter that programs run under (default: the one of `eval setup`, where needed)",
    )
    command.add_argument(
        "--unsafe-no-sandbox",
        action="store_true",
        help="run programs without isolation: each can do what you can. Warns, and is recorded",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object and no progress")


def _key_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def chosen_benchmark(arguments: argparse.Namespace) -> "Benchmark[Any]":
    """Return the benchmark that the options of `add_benchmark` name."""
    from starsmith.evaluate.benchmarks import benchmark

    return benchmark(arguments.benchmark, dict(arguments.option))


def data_path(arguments: argparse.Namespace) -> Path:
    """Return where the official files are. Raises UsageError where nothing says so."""
    given = arguments.data or os.environ.get(DATA_VARIABLE)
    if not given:
        where = chosen_benchmark(arguments).sources()[0].where
        raise UsageError(f"Give --data, or set {DATA_VARIABLE}: the official file or its folder. Get it from {where}.")
    return Path(given)


def scoring_job(arguments: argparse.Namespace, generations: Path) -> "Job":
    """Return what the options of `add_benchmark` and `add_scoring` ask for."""
    from starsmith.evaluate.environment import python_for
    from starsmith.evaluate.scoring import Job

    made = chosen_benchmark(arguments)
    return Job(
        benchmark=made,
        data=data_path(arguments),
        generations=generations,
        out=Path(arguments.out),
        problems=[name for name in arguments.problems.split(",") if name],
        first=arguments.first,
        samples=arguments.samples,
        workers=arguments.workers or len(os.sched_getaffinity(0)),
        python=Path(arguments.python) if arguments.python else python_for(made),
        unsafe=arguments.unsafe_no_sandbox,
        command=["starsmith", *sys.argv[1:]],
    )


def run_score(arguments: argparse.Namespace) -> None:
    from starsmith.evaluate.scoring import score
    from starsmith.progress import reporter

    with reporter(quiet=arguments.json) as progress:
        result = score(scoring_job(arguments, Path(arguments.generations)), progress)
    show_result(result, arguments)


def show_result(result: "Result", arguments: argparse.Namespace) -> None:
    """Write the page of a result beside it, and print it as every command of this group does."""
    from starsmith.evaluate.result import replace_file
    from starsmith.govern.score_report import page, score_lines

    replace_file(Path(arguments.out) / REPORT_FILE, page(result))
    if arguments.json:
        print_json(result.head())
        return
    print("\n".join([*score_lines(result), f"Result in {arguments.out}"]))


def run_compare(arguments: argparse.Namespace) -> None:
    from starsmith.disk import disk_errors
    from starsmith.evaluate.comparison import compare
    from starsmith.evaluate.result import read_result
    from starsmith.govern.score_report import comparison_text, plot

    found = compare(_named_results(arguments.results, read_result), paper=arguments.paper)
    if arguments.plot:
        with disk_errors(arguments.plot):
            Path(arguments.plot).write_text(plot(found), encoding="utf-8")
    if arguments.json:
        print_json(found.plain())
    else:
        print(comparison_text(found, paper=arguments.paper))


def _named_results(places: list[str], read: "Callable[[Path], Result]") -> "dict[str, Result]":
    """Return results by the names of their folders, or by their whole paths where names are alike."""
    if len(set(places)) < len(places):
        raise UsageError("One result is named twice.")
    names = [Path(place).resolve().name for place in places]
    return {
        name if names.count(name) == 1 else place: read(Path(place)) for name, place in zip(names, places, strict=True)
    }
