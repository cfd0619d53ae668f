"""The commands of `starsmith opt-out`: parses, calls, prints, like `cli`.

The list is private, but this is the terminal of whoever keeps it: `list` and the errors show names.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starsmith.command import add_command, add_engine, engine_options, print_json
from starsmith.errors import StarsmithError

_KINDS = ("owner", "repository", "origin", "swhid")


def add_opt_out(commands: Any) -> None:
    """Add `opt-out` and its commands to the command line."""
    summary = "Keep the list of those who asked to be left out."
    group = commands.add_parser("opt-out", help=summary, description=summary)
    actions = group.add_subparsers(title="commands", dest="action", metavar="COMMAND", required=True)
    _add_add(actions)
    _add_import(actions)
    _add_list(actions)
    _add_apply(actions)
    _add_verify(actions)
    _add_patch(actions)


def _add_add(actions: Any) -> None:
    command = add_command(actions, "add", "Put a request on the list; it holds from the next build on.", run_add)
    _add_workspace(command, "the folder of the corpus, or its s3:// URI; it is made if there is none")
    kinds = command.add_mutually_exclusive_group(required=True)
    kinds.add_argument(
        "--owner", metavar="NAME", help="an account, organisation or group, with all it has and will have"
    )
    kinds.add_argument("--repo", metavar="OWNER/NAME", dest="repository", help="one repository or package")
    kinds.add_argument("--origin", metavar="URL-PREFIX", help="all that lies at a URL or below it")
    kinds.add_argument("--swhid", metavar="ID", help="a content, or the origin with this root directory, head or id")
    command.add_argument(
        "--alias", metavar="OLD-NAME", action="append", default=[], help="a former name; may be given more than once"
    )
    command.add_argument(
        "--note", metavar="TEXT", default="", help="whatever helps to remember the request; stays private"
    )
    _add_json(command)


def _add_import(actions: Any) -> None:
    command = add_command(actions, "import", "Put the requests of a file on the list; bad lines are named.", run_import)
    _add_workspace(command, "the folder of the corpus, or its s3:// URI; it is made if there is none")
    command.add_argument(
        "file",
        metavar="FILE",
        help="CSV with a header, or JSON lines: one of owner, repo, origin and swhid a line, and alias and note",
    )
    _add_json(command)


def _add_list(actions: Any) -> None:
    command = add_command(actions, "list", "Show the list.", run_list)
    _add_workspace(command, "the folder of the corpus, or its s3:// URI")
    _add_json(command)


def _add_apply(actions: Any) -> None:
    summary = "Remove what new requests name; write a new release, a delta and a receipt for each request."
    command = add_command(actions, "apply", summary, run_apply)
    _add_workspace(command, "the folder of the corpus, or its s3:// URI")
    command.add_argument(
        "--purge", action="store_true", help="also delete older releases and all that the last build does not need"
    )
    add_engine(command)
    _add_json(command)


def _add_verify(actions: Any) -> None:
    command = add_command(actions, "verify", "Hold a release against a receipt; no workspace is needed.", run_verify)
    command.add_argument("receipt", metavar="RECEIPT", help="the receipt, a JSON file")
    command.add_argument("release", metavar="RELEASE", help="the folder of the release")
    _add_json(command)


def _add_patch(actions: Any) -> None:
    summary = "Make the new release from the old one and a delta; no workspace is needed."
    command = add_command(actions, "patch", summary, run_patch)
    command.add_argument("delta", metavar="DELTA", help="the delta, a zip file")
    command.add_argument("release", metavar="RELEASE", help="the folder of the old release")
    command.add_argument(
        "--out",
        metavar="FOLDER",
        required=True,
        help="the folder to make for the new release, which must not exist; always needed",
    )
    command.add_argument(
        "--equal-rows", action="store_true", help="accept files with equal rows and other bytes (another pyarrow)"
    )
    _add_json(command)


def _add_workspace(command: argparse.ArgumentParser, words: str) -> None:
    command.add_argument("workspace", metavar="W", help=words)


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object")


def run_add(arguments: argparse.Namespace) -> None:
    from starsmith.govern.opt_out import Request, checked, put, read
    from starsmith.workspace import writing

    kind = next(kind for kind in _KINDS if getattr(arguments, kind) is not None)
    # Checked before the workspace is opened, which would make one.
    request = checked(
        Request(kind=kind, value=getattr(arguments, kind), aliases=tuple(arguments.alias), note=arguments.note)
    )
    with writing(arguments.workspace) as store:
        (changed,) = put(store, [request])
        total = len(read(store).requests)
    if arguments.json:
        print_json({"changed": changed, "requests": total})
    else:
        done = "The request was put on the list" if changed else "The list has this request already"
        print(f"{done}; it holds {total:,}.")


def run_import(arguments: argparse.Namespace) -> None:
    from starsmith.govern.opt_out import put, read
    from starsmith.govern.opt_out_file import read_file
    from starsmith.workspace import writing

    lines = list(read_file(Path(arguments.file)))
    with writing(arguments.workspace) as store:
        changes = put(store, [request for line in lines for request in line.requests])
        total = len(read(store).requests)
    bad = [{"line": line.number, "problem": problem} for line in lines for problem in line.problems]
    taken, bad_lines = sum(changes), sum(bool(line.problems) for line in lines)
    if arguments.json:
        print_json({"taken": taken, "known": len(changes) - taken, "bad": bad, "requests": total})
    else:
        for each in bad:
            print(f"{arguments.file}, line {each['line']}: {each['problem']}", file=sys.stderr)
        print(f"{taken:,} taken, {len(changes) - taken:,} known already, {_counted(bad_lines)}.")
    if bad:
        raise StarsmithError(f"{arguments.file} has {_counted(bad_lines)}; what is well formed was taken.")


def _counted(lines: int) -> str:
    return f"{lines:,} bad line{'' if lines == 1 else 's'}"


def run_list(arguments: argparse.Namespace) -> None:
    from starsmith.govern.foreign_text import visible
    from starsmith.govern.opt_out import read
    from starsmith.workspace import open_store

    listed = read(open_store(arguments.workspace, create=False))
    if arguments.json:
        print_json({"requests": [asdict(each) for each in listed.requests], "contents": len(listed.contents)})
        return
    for each in listed.requests:
        former = f", formerly {', '.join(each.aliases)}" if each.aliases else ""
        print(
            visible(
                f"{each.added[:10]}  {each.kind:<10}  {each.value}{former}{f'  ({each.note})' if each.note else ''}"
            )
        )
    if not listed.requests:
        print("Nobody has asked to be left out.")


def run_apply(arguments: argparse.Namespace) -> None:
    from starsmith.build import apply_opt_outs
    from starsmith.progress import reporter

    with reporter(quiet=arguments.json) as progress:
        applied = apply_opt_outs(
            arguments.workspace,
            purge=arguments.purge,
            reporter=progress,
            **engine_options(arguments),
        )
    if arguments.json:
        print_json(applied.plain())
    else:
        print(applied.words())


def run_verify(arguments: argparse.Namespace) -> None:
    from starsmith.govern.receipt import load
    from starsmith.govern.verification import verify
    from starsmith.storage import located

    result = verify(load(located(arguments.receipt)), located(arguments.release))
    if arguments.json:
        print_json(result.plain())
    else:
        print(result.words())
    if not result.holds:
        raise StarsmithError(f"{arguments.release} is not what the receipt says.")


def run_patch(arguments: argparse.Namespace) -> None:
    from starsmith.govern.patch import patch

    done = patch(Path(arguments.delta), Path(arguments.release), Path(arguments.out), equal_rows=arguments.equal_rows)
    if arguments.json:
        print_json(done.plain())
    else:
        print(done.words())
