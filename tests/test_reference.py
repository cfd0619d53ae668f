"""The committed reference pages say what the code says now, and leave nothing unsaid."""

import argparse
import re

import pytest

from starsmith import cli, document, reference
from starsmith.verdict import REASONS


@pytest.mark.parametrize("name", reference.pages())
def test_committed_page_is_current(name, repository):
    committed = (repository / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert committed == reference.pages()[name], "run `make reference` and commit the pages"


def test_every_argument_of_every_command_is_documented():
    parser = cli.parser()
    commands = reference._commands(parser)
    assert set(commands) >= {"init", "build", "status", "why", "report", "gc"}
    silent = [
        f"{command.prog} {action.dest}"
        for command in [parser, *commands.values()]
        for action in reference._shown(command)
        if not action.help
    ]
    assert silent == []
    assert [name for name, command in commands.items() if not command.description] == []


def test_every_reason_is_listed():
    page = reference.reasons_reference()
    assert [reason for reason in REASONS if f"| `{reason}` |" not in page] == []


def test_every_column_is_listed_with_its_schema():
    page = reference.schemas_reference()
    section = page.partition("### BANDS\n")[2].partition("## ")[0]
    assert "MinHash bands" in section
    assert page.count("### BANDS\n") == page.count("### DATA\n") == 1
    assert [f"| `{field.name}` |" in section for field in document.BANDS] == [True] * len(document.BANDS)


def test_every_schema_has_words():
    titles = re.findall(r"### (\w+)\n\n(.?)", reference.schemas_reference())
    assert [title for title, first in titles if first in ("|", "")] == []


def test_arguments_are_shown_as_they_are_typed():
    parser = argparse.ArgumentParser(prog="x", description="Does x.")
    command = parser.add_subparsers().add_parser("y", description="Does y.")
    command.add_argument("recipe", help="A | b.")
    command.add_argument("--workers", "-w", type=int, default=2, help="How many (default %(default)s).")
    command.add_argument("--json", action="store_true", help="Print JSON.")
    command.add_argument("--until", choices=("a", "b"), help="Stop early.")
    command.add_argument("--out", required=True, help="Where to.")
    kinds = command.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--this", help="This.")
    kinds.add_argument("--that", help="That.")
    page = reference.cli_reference(parser)
    usage = "x y RECIPE [--workers WORKERS] [--json] [--until {a,b}] --out OUT (--this THIS | --that THAT)"
    assert usage in page
    assert "| `--workers WORKERS` | How many (default 2). |" in page
    assert r"A \| b." in page
