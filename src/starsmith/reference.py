"""The reference pages of the documentation, made from the code: commands, reasons, schemas, recipe keys, benchmarks.

`python -m starsmith.reference FOLDER` rewrites them; a test compares what is committed with what the code says now.
This module describes and decides nothing: words come from the parser's help, `verdict.REASONS`, the docstrings below
the schemas and the settings' own documentation.
"""

import argparse
import ast
import dataclasses
import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from starsmith import cli
from starsmith.evaluate.benchmarks import PLACES, benchmark
from starsmith.evaluate.problem import Benchmark
from starsmith.evaluate.run import STATUSES
from starsmith.recipe import PROFILES, TABLES, profile_values
from starsmith.settings_reader import default_of, limits
from starsmith.toml_text import toml_value
from starsmith.train import recipe as training
from starsmith.verdict import REASONS

SCHEMA_MODULES = {
    "starsmith.release": "The release",
    "starsmith.released": "The rows a release is made from",
    "starsmith.ledger": "Verdicts",
    "starsmith.document": "What is collected and measured",
    "starsmith.decide": "What decisions are made on",
}
"""Modules whose Arrow schemas the reference shows, in this order, under these titles."""

_GENERATED = "<!-- Generated from the code by `make reference`; change the code, not this page. -->\n"

_ABOUT_COMMANDS = """\
Results go to standard output, progress and errors to standard error. With `--json` standard output holds one JSON
object and nothing else. Exit codes: 0 done, 1 the input is at fault, 2 the command line cannot be understood, 130
interrupted. `--debug` may stand before or after the command."""

_ABOUT_REASONS = """\
Every document of a build has exactly one verdict: kept, or dropped for one of these reasons. Where several stages would
have dropped it, the first in the profile's order gives the reason; what the others measured stays visible in
`starsmith why`.
"""

_ABOUT_RECIPES = """\
A recipe is one TOML file. Every key may be left out but for one `[[source]]`; a key that is set overrides the profile.
An unknown key, a wrong type or an impossible value ends the build before it begins. Paths are relative to the recipe,
`~` is the home folder, and a path or URI with a credential in it is refused. Numbers such as 1.4 are sections of the
data description of The Stack v2.
"""

_ABOUT_TRAINING = """\
A training recipe is one TOML file for all steps from a corpus to a model: `starsmith tokenizer train`, `starsmith pack`
and `starsmith train` each read their tables of it. Only `[data] pack` has to be set. An unknown key, a wrong type or an
impossible value ends the run before it begins. Numbers such as 8.2 are sections of the paper's data description.
"""

_ABOUT_BENCHMARKS = """\
What `starsmith eval` knows. Official files are taken from wherever you have them (`--data`); none is downloaded, none
ships with Starsmith. Each recipe follows its official harness by default; where it can depart from that, or where that
harness has a fault, there is an option (`--option key=value`, the first value is the default).

A score is the mean over problems, with a 95% interval by bootstrap over problems. pass@k is the unbiased estimator.
"""

_AREAS = {
    "source": "What the source itself says about a path. No content is read.",
    "optout": "Somebody asked for it. Whole origins that were asked for are not collected and have no row here.",
    "error": "A document that could not be read or annotated. It costs a ledger row, never the build.",
    "duplicate": "The same thing is kept elsewhere; the evidence names the winner.",
    "licence": "The licence found for it, or none.",
    "filter": "A measure of the text against the recipe's threshold.",
    "benchmark": "The text was held against the problems of the recipe's benchmarks.",
    "malware": "A running clamd was asked.",
}


def cli_reference(parser: argparse.ArgumentParser) -> str:
    """Return the page of commands, in Markdown, from the argument parser."""
    commands = _commands(parser)
    lines = [_GENERATED, "# Command line\n", f"{parser.description}\n"]
    lines += [f"{_ABOUT_COMMANDS}\n", *_options(parser)]
    for name, command in commands.items():
        lines += [f"## {name}\n", f"```\n{_synopsis(command)}\n```\n", f"{command.description or ''}\n"]
        lines += _options(command)
    return _page(lines)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of a parser by name, a group before the commands in it, in the order of their adding."""
    commands: dict[str, argparse.ArgumentParser] = {}
    for name, command in _group(parser).items():
        inner = _commands(command)
        commands |= {name: command, **{f"{name} {each}": found for each, found in inner.items()}}
    return commands


def _group(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    groups = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return {name: command for group in groups for name, command in group.choices.items()}


def _shown(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the arguments a page lists: an option of every command, such as `--debug`, is listed once, at the top."""
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    shown = [a for a in parser._actions if not isinstance(a, hidden) and a.help != argparse.SUPPRESS]
    return [a for a in shown if a.default != argparse.SUPPRESS or isinstance(a, argparse._VersionAction)]


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
    options: list[str] = []
    for action in (each for each in _shown(command) if each.option_strings):
        group = _one_of(command, action)
        if group and action is group[0]:
            options.append(f"({' | '.join(map(_form, group))})")
        elif not group:
            options.append(_form(action) if action.required else f"[{_form(action)}]")
    return " ".join([command.prog, *positional, *options, *(["COMMAND …"] if _group(command) else [])])


def _one_of(command: argparse.ArgumentParser, action: argparse.Action) -> list[argparse.Action]:
    """Return the options of which one must be given, if this is one of them."""
    groups = (group._group_actions for group in command._mutually_exclusive_groups if group.required)
    return next((group for group in groups if action in group), [])


def _options(command: argparse.ArgumentParser) -> Iterator[str]:
    actions = _shown(command)
    if not actions:
        return
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
    for name, title in SCHEMA_MODULES.items():
        module = importlib.import_module(name)
        words = _attribute_docstrings(module)
        lines += [f"## {title}\n"]
        for schema_name in _assigned(module):
            schema = getattr(module, schema_name)
            if isinstance(schema, pa.Schema) and not schema_name.startswith("_"):
                lines += [f"### {schema_name}\n", f"{words.get(schema_name, '')}\n", *_columns(schema)]
    return _page(lines)


def _assigned(module: ModuleType) -> list[str]:
    """Return the names assigned at the top level of a module, in their order; what it imports is not among them."""
    statements = ast.parse(inspect.getsource(module)).body
    targets = [target for s in statements if isinstance(s, ast.Assign) for target in s.targets]
    return [target.id for target in targets if isinstance(target, ast.Name)]


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


def recipe_reference() -> str:
    """Return the page of recipe keys, in Markdown: default, value in other profiles, limits and meaning of each."""
    lines = [_GENERATED, "# Recipe keys\n", _ABOUT_RECIPES, "## Profiles\n"]
    lines += ["| profile | rules | order of decisions |\n|---|---|---|"]
    lines += [f"| `{name}` | {_cell(each.doc)} | {' → '.join(each.order)} |" for name, each in PROFILES.items()]
    for table, settings in TABLES.items():
        title = f"`{table if table.startswith('[') else f'[{table}]'}`" if table else "Top of the file"
        lines += ["", f"## {title}\n", f"{inspect.getdoc(settings)}\n"]
        lines += ["| key | default | other profiles | can be | meaning |\n|---|---|---|---|---|"]
        lines += [_recipe_key(table, key) for key in dataclasses.fields(settings)]
    return _page(lines)


def training_reference() -> str:
    """Return the page of training recipe keys, in Markdown."""
    lines = [_GENERATED, "# Training recipe keys\n", _ABOUT_TRAINING]
    for table, settings in training.TABLES.items():
        title = f"`{table if table.startswith('[') else f'[{table}]'}`" if table else "Top of the file"
        lines += ["", f"## {title}\n", f"{inspect.getdoc(settings)}\n"]
        lines += ["| key | default | can be | meaning |\n|---|---|---|---|"]
        lines += [_training_key(key) for key in dataclasses.fields(settings)]
    return _page(lines)


def _training_key(key: dataclasses.Field[Any]) -> str:
    note = " Changes no weight." if key.metadata["resource"] else ""
    cells = [f"`{key.name}`", f"`{toml_value(default_of(key))}`", limits(key)]
    return f"| {' | '.join(cells)} | {_cell(key.metadata['doc'])}{note} |"


def _recipe_key(table: str, key: dataclasses.Field[Any]) -> str:
    others = [f"`{name}`: `{toml_value(value)}`" for name, value in profile_values(table, key.name).items()]
    note = " Changes no byte of the result." if key.metadata["resource"] else ""
    cells = [f"`{key.name}`", f"`{toml_value(default_of(key))}`", ", ".join(others), limits(key)]
    return f"| {' | '.join(cells)} | {_cell(key.metadata['doc'])}{note} |"


def benchmarks_reference() -> str:
    """Return the page of benchmarks, in Markdown."""
    lines = [_GENERATED, "# Benchmarks\n", _ABOUT_BENCHMARKS]
    for name in PLACES:
        lines += _benchmark(benchmark(name))
    lines += ["\n## Why a completion failed\n", "| reason | what it means |\n|---|---|"]
    lines += [f"| `{status}` | {_cell(says)} |" for status, says in STATUSES.items()]
    return _page(lines)


def _benchmark(made: Benchmark[Any]) -> list[str]:
    sampling = made.sampling
    drawn = "greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}"
    facts = {
        "recipe": made.recipe,
        "version": made.version,
        "languages": ", ".join(made.languages),
        "metrics": ", ".join(metric.name for metric in made.metrics),
        "sampling": f"{drawn}, samples a problem: {sampling.samples}",
        "Python packages": ", ".join(made.python_packages),
    }
    lines = [f"\n## {made.title}: `{made.name}`\n", f"{_cell(inspect.getdoc(type(made)) or '')}\n", "| | |\n|---|---|"]
    lines += [f"| {fact} | {_cell(value)} |" for fact, value in facts.items() if value]
    lines += [
        f"| option `{o.name}` | {', '.join(f'`{v}`' for v in o.values)}. {_cell(o.says)} |" for o in made.known_options
    ]
    lines += ["\n| file | licence | where |\n|---|---|---|"]
    return lines + [f"| `{each.names[0]}` | {each.licence} | {_cell(each.where)} |" for each in made.sources()]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _page(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def pages() -> dict[str, str]:
    """Return every generated page by file name."""
    return {
        "benchmarks.md": benchmarks_reference(),
        "cli.md": cli_reference(cli.parser()),
        "reasons.md": reasons_reference(),
        "recipe.md": recipe_reference(),
        "schemas.md": schemas_reference(),
        "training.md": training_reference(),
    }


def main(folder: Path) -> None:
    """Write every generated page into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
