"""The command line: parses, calls, prints. It decides nothing.

Heavy modules are imported by the command that needs them, so that `starsmith --help` answers at once. Results go to
standard output, progress and errors to standard error. Exit codes: 0 done, 1 the input is at fault, 2 usage.
"""

import argparse
import os
import select
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from starsmith import __version__
from starsmith.command import Parser, add_command, add_engine, engine_options, print_json
from starsmith.errors import StarsmithError, UsageError
from starsmith.eval_cli import add_eval
from starsmith.eval_run_cli import add_running
from starsmith.eval_setup_cli import add_setting_up
from starsmith.model_cli import add_model_commands
from starsmith.opt_out_cli import add_opt_out

STAGES = ("collect", "annotate", "decide", "release")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; the CLI reference is generated from it."""
    top = Parser(prog="starsmith", description="Build code corpora that you can answer for.")
    top.add_argument("--version", action="version", version=f"starsmith {__version__}")
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    _add_init(commands)
    _add_build(commands)
    _add_status(commands)
    _add_why(commands)
    _add_report(commands)
    _add_gc(commands)
    add_opt_out(commands)
    add_model_commands(commands)
    actions = add_eval(commands)
    add_running(actions)
    add_setting_up(actions)
    return top


def _add_init(commands: Any) -> None:
    command = add_command(commands, "init", "Write a complete, commented recipe.", run_init)
    command.add_argument("recipe", metavar="RECIPE", help="the file to write; it must not exist")


def _add_build(commands: Any) -> None:
    command = add_command(commands, "build", "Build a corpus: collect, annotate, decide, release.", run_build)
    command.add_argument("recipe", metavar="RECIPE", help="the recipe, a TOML file")
    command.add_argument(
        "--workspace", metavar="W", help="the folder of the corpus or its s3:// URI, in place of the recipe's"
    )
    add_engine(command)
    command.add_argument("--until", choices=STAGES, default=STAGES[-1], help="stop after this stage (default: release)")
    command.add_argument("--json", action="store_true", help="print one JSON object and no progress")


def _add_status(commands: Any) -> None:
    command = add_command(
        commands, "status", "Show every stage of the last build, and what a re-run would do.", run_status
    )
    command.add_argument("workspace", metavar="W", help="the folder of the corpus, or its s3:// URI")
    command.add_argument(
        "--verify", action="store_true", help="hash every file of the last build and name each that is not as recorded"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_why(commands: Any) -> None:
    command = add_command(commands, "why", "Say what happened to a document, an origin, or a piece of code.", run_why)
    command.add_argument(
        "workspace", metavar="W", help="the folder of the corpus, or its s3:// URI; of a token, its place alone will do"
    )
    command.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help="a SWHID, owner/repo, owner/repo:path, a file on disk, - for code on standard input, or a token of a "
        "pack: PACK/epoch-0/SHARD:NUMBER",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_report(commands: Any) -> None:
    command = add_command(commands, "report", "Write the report of the last build: one HTML file.", run_report)
    command.add_argument("workspace", metavar="W", help="the folder of the corpus, or its s3:// URI")
    command.add_argument("--out", metavar="FILE", help="where to write it (default: report.html in the workspace)")


def _add_gc(commands: Any) -> None:
    command = add_command(commands, "gc", "Remove what the last build does not refer to.", run_gc)
    command.add_argument("workspace", metavar="W", help="the folder of the corpus, or its s3:// URI")
    command.add_argument("--json", action="store_true", help="print one JSON object")


def run_init(arguments: argparse.Namespace) -> None:
    from starsmith.recipe import template

    path = Path(arguments.recipe)
    if path.exists():
        raise StarsmithError(f"{path} exists already. Choose another name, or remove it first.")
    if not path.absolute().parent.is_dir():
        raise StarsmithError(f"The folder {path.absolute().parent} does not exist. Make it first.")
    path.write_text(template(), encoding="utf-8")
    print(f"Wrote {path}. Set its [[source]], then run `starsmith build {path}`.")


def run_build(arguments: argparse.Namespace) -> None:
    from starsmith.build import build
    from starsmith.govern.terminal import build_table
    from starsmith.progress import reporter
    from starsmith.recipe import load

    recipe = load(arguments.recipe)
    workspace = arguments.workspace or recipe.workspace
    with reporter(quiet=arguments.json) as progress:
        result = build(
            recipe,
            workspace=workspace,
            until=arguments.until,
            reporter=progress,
            **engine_options(arguments),
        )
    if arguments.json:
        print_json(result.plain())
    else:
        build_table(result)


def run_status(arguments: argparse.Namespace) -> None:
    from starsmith.build import status
    from starsmith.govern.foreign_text import counted
    from starsmith.govern.terminal import status_table

    verified = _verified(arguments) if arguments.verify else {}
    result = status(arguments.workspace)
    if arguments.json:
        print_json(result.plain() | verified)
    else:
        status_table(result)
        print("\n".join(result.damaged), end="\n" if result.damaged else "")
    if result.damaged:
        raise StarsmithError(
            f"{counted(len(result.damaged), 'file')} of the last build {'is' if len(result.damaged) == 1 else 'are'} "
            "missing or damaged. `starsmith status --verify` reads them all."
        )


def _verified(arguments: argparse.Namespace) -> dict[str, Any]:
    """Verify a workspace and say what was found; raise if anything is wrong."""
    from starsmith.integrity import verify
    from starsmith.workspace import open_store

    found = verify(open_store(arguments.workspace, create=False))
    plain = {"verified": found.plain()}
    if found.problems:
        if arguments.json:
            print_json({"workspace": found.workspace} | plain)
        else:
            print("\n".join(found.problems))
        raise StarsmithError(
            f"{len(found.problems)} of {found.files:,} files in {found.workspace} are not as recorded."
        )
    if not arguments.json:
        print(f"Verified  {found.files:,} files, {found.bytes:,} bytes: all as recorded")
    return plain


def run_why(arguments: argparse.Namespace) -> None:
    from starsmith.format.pack_file import token_place
    from starsmith.govern.look_up import LookUp
    from starsmith.workspace import open_store

    if place := token_place(arguments.target or arguments.workspace):
        _why_token(arguments, place)
        return
    if arguments.target is None:
        raise UsageError("A target is missing. Try `starsmith why --help`.")
    look_up = LookUp(open_store(arguments.workspace, create=False))
    target = arguments.target
    answer = look_up.snippet(sys.stdin.buffer.read()) if target == "-" else look_up.target(target)
    if arguments.json:
        print_json(answer.plain())
    else:
        print(answer.words())


def _why_token(arguments: argparse.Namespace, place: Any) -> None:
    from starsmith.govern.token_story import token_story

    story = token_story(place, workspace=arguments.workspace if arguments.target else None)
    if arguments.json:
        print_json(story.plain())
    else:
        print(story.words())


def run_report(arguments: argparse.Namespace) -> None:
    from starsmith.govern.report import REPORT_FILE, write_own_report, write_report
    from starsmith.workspace import open_store

    store = open_store(arguments.workspace, create=False)
    if arguments.out:
        write_report(store, Path(arguments.out))
    else:
        write_own_report(store)
    print(arguments.out or f"{arguments.workspace.partition('?')[0].rstrip('/')}/{REPORT_FILE}")


def run_gc(arguments: argparse.Namespace) -> None:
    from starsmith.workspace import collect_garbage, open_store, read_build, writing

    read_build(open_store(arguments.workspace, create=False))
    with writing(arguments.workspace) as store:
        files, size = collect_garbage(store, read_build(store))
    if arguments.json:
        print_json({"files": files, "bytes": size})
    else:
        print(f"Removed {files:,} files, {size:,} bytes.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Arrow's own pools keep what they are done with (after the queries of a 2 GB corpus 290 MB instead of 120) at no
    # gain in speed. Arrow reads this when it is first imported, in every process of a build.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        parsed = parser().parse_args(given)
        parsed.run(parsed)
        sys.stdout.flush()
    except StarsmithError as error:
        return _failed(str(error), error.exit_code, given)
    except KeyboardInterrupt:
        print("starsmith: interrupted. Run the same command again to go on.", file=sys.stderr)
        return 130
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _is_unread(sys.stdout):
            return 0
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        return _failed(f"{what}.", StarsmithError.exit_code, given)
    return 0


def main_of_build() -> int:
    """Build on Spark: `starsmith-build`, which `spark-submit` starts."""
    return main(["build", "--engine", "spark", *sys.argv[1:]])


def _failed(message: str, exit_code: int, given: Sequence[str]) -> int:
    if "--debug" in given:
        traceback.print_exc()
    print(f"starsmith: {message}", file=sys.stderr)
    return exit_code


def _is_unread(output: TextIO) -> bool:
    """Whether the one who read our output has seen enough; nothing more is then written."""
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    # Otherwise the interpreter would complain at exit about what it could not write.
    os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
    return True
