"""Settings read from TOML: every key checked against its dataclass, every mistake told by file, line and key.

An unknown key, a wrong type or an impossible value ends the reading with the nearest valid key or the values that are
possible; a credential ends it before a message could quote it. No section of the paper. This module knows neither
which tables a recipe has nor how they fit together: `starsmith.recipe` does.
"""

import dataclasses
import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from starsmith.credentials import credential_in
from starsmith.errors import StarsmithError
from starsmith.toml_text import KeyPath, Scalar, key_lines, toml_value

Settings = TypeVar("Settings")

_KINDS: Final[dict[Any, str]] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
}
_INTEGERS: Final = range(-(2**63), 2**63)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SHOWN_CHARACTERS: Final = 60

MOST_CHARACTERS: Final = 1 << 20
"""A recipe with every key and its comments has 20,000; this leaves room for thousands of sources."""
MOST_IN_A_LINE: Final = 1 << 14
"""The longest path has 4,096."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingsReader:
    """One TOML text, the name it goes by in messages, and the tables it may hold (name → settings dataclass).

    The table named ``""`` is the top of the file; a table named `[[x]]` is an array of tables.
    """

    text: str
    name: str
    tables: Mapping[str, type]

    def parse(self) -> dict[str, Any]:
        self._check_size()
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise self._syntax_error(str(error)) from None
        except (RecursionError, ValueError):
            # Python's limits on nested calls and on the digits of an integer.
            excess = "is nested too deeply or holds a number with too many digits"
            raise StarsmithError(f"{self.name} {excess}; no recipe needs that.") from None

    def _check_size(self) -> None:
        """Refuse what would take long to parse: a key of many parts takes the square of them."""
        if len(self.text) > MOST_CHARACTERS:
            raise StarsmithError(
                f"{self.name} has {len(self.text):,} characters, a recipe has {MOST_CHARACTERS:,} at most. "
                "Name files or folders instead of what is in them."
            )
        for number, line in enumerate(self.text.split("\n"), start=1):
            if len(line) > MOST_IN_A_LINE:
                raise StarsmithError(
                    f"{self.name}, line {number}, has {len(line):,} characters; expected {MOST_IN_A_LINE:,} at most."
                )

    def problem(self, where: KeyPath, message: str) -> StarsmithError:
        """Return an error about the key at `where`; `message` follows the key's name."""
        try:
            lines = key_lines(self.text)
        except RecursionError:
            # Valid but absurdly nested: the key is named all the same.
            lines = {}
        line = next((lines[where[:size]] for size in range(len(where), 0, -1) if where[:size] in lines), None)
        place = f"{self.name}, line {line}" if line else self.name
        return StarsmithError(f"{place}: {_label(where)} {message}")

    def refuse_credentials(self, tree: Mapping[str, Any]) -> None:
        """Raise for the first credential in any text, key or value."""
        for where, text in _texts(tree):
            if kind := credential_in(text):
                advice = "A recipe is shared: leave it out here and keep it in the environment of the build."
                raise self.problem(where, f"holds {kind}, which is not shown. {advice}")

    def refuse_unknown_tables(self, tree: Mapping[str, Any]) -> None:
        known = {name.strip("[]"): name for name in self.tables if name}
        known |= {key: key for key in keys_of(self.tables[""])}
        for name in tree:
            if name not in known:
                raise self.problem((name,), f"is not part of a recipe; {self._suggestion((), name, known)}")

    def settings(
        self, kind: type[Settings], where: KeyPath, table: object, overrides: Mapping[str, Scalar]
    ) -> Settings:
        """Return the settings of one table; a key it does not hold has the profile's value, or else the default."""
        if not isinstance(table, dict):
            example = f"[[{where[0]}]]" if len(where) > 1 else f"[{where[0]}]"
            raise self.problem(where, f"is {_found(table)}; expected a table, written `{example}`.")
        keys = {key.name: key for key in dataclasses.fields(kind)}  # type: ignore[arg-type]
        values: dict[str, Scalar] = dict(overrides)
        for name, value in table.items():
            if name not in keys:
                raise self.problem((*where, name), f"is not a key; {self._suggestion(where, name, keys)}")
            accepted = _accepted(keys[name], value)
            if accepted is None:
                raise self.problem((*where, name), f"is {_found(value)}; expected {limits(keys[name])}.")
            values[name] = accepted
        return kind(**values)

    def _suggestion(self, where: KeyPath, name: str, valid: Iterable[str]) -> str:
        """Return the valid key nearest to `name`: one of that very name in another table, else the most similar one."""
        for table, settings in self.tables.items():
            if name in keys_of(settings):
                return f"did you mean {name} {_place(table)}?"
        nearest = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
        return f"did you mean {_label((*where, nearest[0]))}?" if nearest else f"expected one of {', '.join(valid)}."

    def _syntax_error(self, message: str) -> StarsmithError:
        match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
        what, line, column = match.groups() if match else (message, None, None)
        place = f"line {line}, column {column}" if line else f"line {self.text.count(chr(10)) + 1}"
        # The message can quote a key.
        what = "a mistake beside a credential" if credential_in(what) else _short(what)
        return StarsmithError(f"{self.name}, {place}: this is not valid TOML: {what}.")


def keys_of(settings: type) -> tuple[str, ...]:
    """Return the names of a settings dataclass's keys, in order."""
    return tuple(key.name for key in dataclasses.fields(settings))


def default_of(key: dataclasses.Field[Any]) -> Scalar:
    """Return the value a key has where neither recipe nor profile set it."""
    value = key.default
    assert isinstance(value, (bool, int, float, str)), f"{key.name} was not declared with `setting`"
    return value


def limits(key: dataclasses.Field[Any]) -> str:
    """Return in words what a key can be set to.

    >>> from starsmith.settings import ShardSettings
    >>> limits(dataclasses.fields(ShardSettings)[0])
    'an integer from 1 to 1_000_000'
    """
    choices, least, most = (key.metadata[name] for name in ("choices", "least", "most"))
    if choices:
        quoted = [toml_value(choice) for choice in choices]
        return " or ".join((", ".join(quoted[:-1]), quoted[-1])) if len(quoted) > 1 else quoted[0]
    words = _KINDS[key.type]
    if least is None:
        return words
    return (
        f"{words} of at least {toml_value(least)}"
        if most is None
        else f"{words} from {toml_value(least)} to {toml_value(most)}"
    )


def _accepted(key: dataclasses.Field[Any], value: object) -> Scalar | None:
    """Return `value` as the key's type, or None where the key cannot be set to it."""
    if type(value) is int and value not in _INTEGERS:
        return None
    if type(value) is int and key.type is float:
        value = float(value)
    if type(value) is not key.type or not isinstance(value, (bool, int, float, str)):
        return None
    if isinstance(value, str):
        choices = key.metadata["choices"]
        return value if not _CONTROL.search(value) and (not choices or value in choices) else None
    least, most = key.metadata["least"], key.metadata["most"]
    is_fit = math.isfinite(value) and (least is None or value >= least) and (most is None or value <= most)
    return value if is_fit else None


def _label(where: KeyPath) -> str:
    """Return the name of a key as a user would say it."""
    if not where:
        return "the name of a key"
    if len(where) > 1 and isinstance(where[1], int):
        table = f"[[{where[0]}]] number {where[1] + 1}"
        return f"{_label(where[2:])} of {table}" if where[2:] else table
    return _short(".".join(map(str, where)))


def _found(value: object) -> str:
    """Return a value and its type as a message shows them."""
    if isinstance(value, str):
        return f"{_short(toml_value(value))} (text{' with a control character' if _CONTROL.search(value) else ''})"
    if isinstance(value, bool):
        return f"{toml_value(value)} (a boolean)"
    if isinstance(value, int):
        return f"{value} (an integer)" if value in _INTEGERS else "an integer of more than 64 bits"
    if isinstance(value, float):
        return f"{value} (a number)"
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    return "a date or time"


def _short(text: str) -> str:
    visible = _CONTROL.sub("�", text)
    return visible if len(visible) <= _SHOWN_CHARACTERS else visible[:_SHOWN_CHARACTERS] + "…"


def _place(table: str) -> str:
    if not table:
        return "at the top, before the first table"
    return f"of {table if table.startswith('[') else f'[{table}]'}"


def _texts(tree: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield every text of a parsed TOML document, keys too, and where it stands, in the order of the file."""
    # A stack of our own: dotted keys can be nested deeper than Python's calls.
    waiting: list[tuple[KeyPath, object]] = [((), tree)]
    while waiting:
        where, value = waiting.pop()
        if isinstance(value, str):
            yield where, value
        elif isinstance(value, dict):
            for key, inner in reversed(value.items()):
                waiting += [((*where, key), inner), (where, key)]
        elif isinstance(value, list):
            waiting += [((*where, number), inner) for number, inner in reversed(list(enumerate(value)))]
