"""What every command of the command line has in common: how it is declared, how it refuses, how it prints JSON."""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
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


def add_engine(command: argparse.ArgumentParser) -> None:
    """Add the options that say where the work is done."""
    command.add_argument("--workers", metavar="N", type=positive, help="processes to use (default: one per core)")
    command.add_argument(
        "--engine", choices=("local", "spark"), default="local", help="where the work is done (default: local)"
    )
    command.add_argument(
        "--spark-master", metavar="URL", help="local[N], spark://HOST:PORT, yarn or k8s://… (default: all cores here)"
    )
    command.add_argument(
        "--spark-conf",
        metavar="KEY=VALUE",
        type=_key_value,
        action="append",
        default=[],
        help="a setting of Spark; may be given more than once",
    )


def _key_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.startswith("spark."):
        raise argparse.ArgumentTypeError(f"{text!r} is not spark.SOMETHING=VALUE")
    return key, value


def engine_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the options of `add_engine` mean to a build."""
    from starsmith.engines import SparkOptions

    workers = arguments.workers or len(os.sched_getaffinity(0))
    if arguments.engine == "spark":
        return {
            "workers": workers,
            "spark": SparkOptions(master=arguments.spark_master, conf=dict(arguments.spark_conf)),
        }
    for name in ("spark_master", "spark_conf"):
        if getattr(arguments, name):
            raise UsageError(f"--{name.replace('_', '-')} is for --engine spark. Give both, or neither.")
    return {"workers": workers}


def positive(text: str) -> int:
    """Return the number of at least 1 that an option is given."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def number_from(least: float) -> Callable[[str], float]:
    """Return what reads the number of at least `least` that an option is given."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least {least:g}")
        return value

    return read


def print_json(value: object) -> None:
    """Write one JSON object to standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=1)
    print()
