"""What every command of the command line has in common: how it is declared, how it refuses, how it prints JSON."""

import argparse
import json
import sys
from typing import Any, NoReturn

from starsmith.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Reports a usage error the way every other error is reported."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}. Try `{self.prog} --help`.")


def add_command(commands: Any, name: str, summary: str, run: Any) -> argparse.ArgumentParser:
    """Add a command to a group of them; `run` is called with the parsed arguments."""
    added: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    added.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    added.set_defaults(run=run)
    return added


def positive(text: str) -> int:
    """Return the number of at least 1 that an option is given."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def print_json(value: object) -> None:
    """Write one JSON object to standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=1)
    print()
