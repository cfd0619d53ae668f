"""What the standard library leaves out of TOML: the line on which a key stands, and writing a value.

No section of the paper. This module does not parse TOML: `tomllib` does, and decides what is valid; the scanner here
is asked afterwards, about text that `tomllib` took, and only for the sake of an error message.
"""

import json
import re
import tomllib
from typing import Final

from starsmith.errors import StarsmithError

Scalar = bool | int | float | str
_GROUPED: Final = 10_000
KeyPath = tuple[str | int, ...]
"""Where a key stands from the top of the file: table names, keys, and positions (from 0) in arrays."""

_TOKENS: Final = re.compile(
    "|".join(
        (
            # A multi-line string may end in up to two quotes of its own before the three that close it.
            r'"""(?:\\.|[^\\])*?""""{0,2}',
            r"'{3}.*?'{3,5}",
            r'"(?:\\.|[^"\\\n])*"',
            r"'[^'\n]*'",
            r"#[^\n]*",
            r"\n|[\[\]{}=,.]",
            r"""[^\s\[\]{}=,.#"']+""",
        )
    ),
    re.DOTALL,
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) on which each table, array entry and key of valid TOML begins.

    >>> key_lines('a = 1\\n[[source]]\\nkind = "git"')
    {('a',): 1, ('source', 0): 2, ('source',): 2, ('source', 0, 'kind'): 3}
    """
    return _Scanner(text).scan()


def toml_value(value: Scalar) -> str:
    """Return a value as TOML source. Raises StarsmithError for text that is not Unicode, such as an odd file name.

    >>> toml_value(True), toml_value(100_000), toml_value('say "hi"')
    ('true', '100_000', '"say \\\\"hi\\\\""')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise StarsmithError(f"{value!r} cannot be written to a TOML file: it is not Unicode text.")
        # JSON's escapes are TOML's, but for the delete character, which TOML wants escaped and JSON does not.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int) and abs(value) >= _GROUPED:
        return f"{value:_}"
    return repr(value)


class _Scanner:
    """Walks the tokens of a TOML text and notes where keys begin."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, int]] = []
        line = 1
        for match in _TOKENS.finditer(text):
            token = match.group()
            if not token.startswith("#"):
                self._tokens.append((token, line))
            line += token.count("\n")
        self._at = 0
        self._lines: dict[KeyPath, int] = {}
        self._entries: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._peek():
            if self._peek() == "\n":
                self._next()
            elif self._peek() == "[":
                table = self._header()
            else:
                self._assignment(table)
        return self._lines

    def _peek(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _next(self) -> tuple[str, int]:
        self._at += 1
        return self._tokens[self._at - 1] if self._at <= len(self._tokens) else ("", 0)

    def _header(self) -> KeyPath:
        line = self._next()[1]
        is_array = self._peek() == "["
        table: KeyPath = ()
        for name in self._key():
            table = (*self._latest(table), name)
        if is_array:
            self._entries[table] = self._entries.get(table, 0) + 1
        self._lines.setdefault(self._latest(table), line)
        self._lines.setdefault(table, line)
        return self._latest(table)

    def _latest(self, table: KeyPath) -> KeyPath:
        """Return the last entry of an array of tables, or the table itself."""
        return (*table, self._entries[table] - 1) if table in self._entries else table

    def _key(self) -> list[str]:
        """Read a dotted key up to and with its ``=``, or to the end of its header's line."""
        parts = []
        while (token := self._next()[0]) not in ("=", "\n", ""):
            if token not in ("[", "]", "."):
                parts.append(_key_text(token))
        return parts

    def _assignment(self, table: KeyPath) -> None:
        line = self._tokens[self._at][1]
        for part in self._key():
            table = (*table, part)
            self._lines.setdefault(table, line)
        self._value(table)

    def _value(self, path: KeyPath) -> None:
        if self._peek() == "{":
            self._inline_table(path)
        elif self._peek() == "[":
            self._array(path)
        else:
            self._next()
            while self._peek() not in ("\n", ",", "]", "}", ""):
                self._next()

    def _inline_table(self, path: KeyPath) -> None:
        self._next()
        while self._peek() not in ("}", ""):
            if self._peek() in (",", "\n"):
                self._next()
            else:
                self._assignment(path)
        self._next()

    def _array(self, path: KeyPath) -> None:
        self._next()
        position = 0
        while self._peek() not in ("]", ""):
            if self._peek() in (",", "\n"):
                self._next()
                continue
            self._lines[(*path, position)] = self._tokens[self._at][1]
            self._value((*path, position))
            position += 1
        self._next()


def _key_text(token: str) -> str:
    """Return the name that a bare or quoted key stands for."""
    if token[0] not in "\"'":
        return token
    try:
        return str(tomllib.loads(f"key = {token}")["key"])
    except tomllib.TOMLDecodeError:
        # Not valid TOML, so nothing will be asked about this key; the scan itself must still end.
        return token
