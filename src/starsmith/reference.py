"""The reference pages of the documentation, made from the code: commands, reasons, schemas and recipe keys.

`python -m starsmith.reference FOLDER` rewrites them; a test compares what is committed with what the code says now.
This module describes and decides nothing: words come from the parser's help, `verdict.REASONS`, the docstrings below
the schemas and the settings' own documentation.
"""

import argparse
import ast
import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pyarrow as pa

from starsmith import cli
from starsmith.verdict import REASONS

SCHEMA_MODULES = ("starsmith.document",)
"""Modules whose Arrow schemas the reference shows, in this order."""

_GENERATED = "<!-- Generated from the code by `make reference`; change the code, not this page. -->\n"

_ABOUT_REASONS = """\
Every document of a build has exactly one verdict: kept, or dropped for one of these reasons. Where several stages would
have dropped it, the first in the profile's order gives the reason; what the others measured stays visible in
`starsmith why`.
"""

_AREAS = {
    "source": "What the source itself says about a path. No content is read.",
    "error": "A document that could not be read or annotated. It costs a ledger row, never the build.",
    "duplicate": "The same thing is kept elsewhere; the evidence names the winner.",
    "licence": "The licence found for it, or none.",
    "filter": "A measure of the text against the recipe's threshold.",
}


def cli_reference(parser: argparse.ArgumentParser) -> str:
    """Return the page of commands, in Markdown, from the argument parser."""
    commands = _commands(parser)
    lines = [_GENERATED, "# Command line\n", f"{parser.description}\n"]
    lines += ["Exit codes: 0 done, 1 the input is at fault, 2 the command line cannot be understood.\n"]
    lines += _options(parser, "For every command:")
    for name, command in commands.items():
        lines += [f"## {name}\n", f"```\n{_synopsis(command)}\n```\n", f"{command.description or ''}\n"]
        lines += _options(command, "")
    return _page(lines)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the subcommands of a parser by name, in the order in which they were added."""
    groups = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {name: command for group in groups for name, command in group.choices.items()}


def _shown(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    return [a for a in parser._actions if not isinstance(a, hidden) and a.help != argparse.SUPPRESS]


def _form(action: argparse.Action) -> str:
    """Return how one argument is written on the command line."""
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.choices and action.metavar is None:
        value = "{" + ",".join(str(choice) for choice in action.choices) + "}"
    if not action.option_strings:
        return value
    longest = max(action.option_strings, key=len)
    return longest if action.nargs == 0 else f"{longest} {value}"


def _synopsis(command: argparse.ArgumentParser) -> str:
    positional = [_form(a) for a in _shown(command) if not a.option_strings]
    optional = [f"[{_form(a)}]" for a in _shown(command) if a.option_strings]
    return " ".join([command.prog, *positional, *optional])


def _options(command: argparse.ArgumentParser, title: str) -> Iterator[str]:
    actions = _shown(command)
    if not actions:
        return
    if title:
        yield f"{title}\n"
    yield "| argument | meaning |\n|---|---|"
    for action in actions:
        words = (action.help or "") % {**vars(action), "prog": command.prog}
        yield f"| `{_form(action)}` | {_cell(words)} |"
    yield ""


def reasons_reference() -> str:
    """Return the page of reasons, in Markdown, grouped by the area before the dot."""
    lines = [_GENERATED, "# Reasons\n", _ABOUT_REASONS]
    for area in dict.fromkeys(reason.partition(".")[0] for reason in REASONS):
        lines += [f"## {area}\n", f"{_AREAS.get(area, '')}\n", "| reason | a document left out for it is |\n|---|---|"]
        lines += [
            f"| `{reason}` | {_cell(words)} |" for reason, words in REASONS.items() if reason.startswith(f"{area}.")
        ]
        lines += [""]
    return _page(lines)


def schemas_reference() -> str:
    """Return the page of row types, in Markdown: every Arrow schema with the words that stand below it in the code."""
    lines = [_GENERATED, "# Schemas\n"]
    lines += ["Tables are Parquet files in the workspace. Ids are 20 bytes; times are microseconds since 1970 UTC.\n"]
    for name in SCHEMA_MODULES:
        module = importlib.import_module(name)
        words = _attribute_docstrings(module)
        for title, schema in _schemas(module):
            lines += [f"## {title}\n", f"{words.get(title, '')}\n", *_columns(schema)]
    return _page(lines)


def _schemas(module: ModuleType) -> Iterator[tuple[str, pa.Schema]]:
    for name, value in vars(module).items():
        if isinstance(value, pa.Schema) and not name.startswith("_"):
            yield name, value


def _columns(schema: pa.Schema) -> Iterator[str]:
    yield "| column | type | may be null |\n|---|---|---|"
    for field in schema:
        yield f"| `{field.name}` | {_cell(str(field.type))} | {'yes' if field.nullable else 'no'} |"
    yield ""


def _attribute_docstrings(module: ModuleType) -> dict[str, str]:
    """Return the string that follows each assignment at the top level of a module, by the assigned name."""
    body = ast.parse(inspect.getsource(module)).body
    found = {}
    for statement, following in pairwise(body):
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if targets and isinstance(targets[0], ast.Name) and isinstance(following, ast.Expr):
            value = following.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[targets[0].id] = inspect.cleandoc(value.value)
    return found


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _page(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def pages() -> dict[str, str]:
    """Return every generated page by file name."""
    return {
        "cli.md": cli_reference(cli.parser()),
        "reasons.md": reasons_reference(),
        "schemas.md": schemas_reference(),
    }


def main(folder: Path) -> None:
    """Write every generated page into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
