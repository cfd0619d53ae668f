"""JSON that somebody else wrote: bounded in size, and every value of the kind that is expected.

Receipts, deltas and the manifests of releases travel, so whoever reads one may not have got it from where it says. What
is read here is checked before it is used; that a name in it leads nowhere is the business of those who use it.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from starsmith.errors import StarsmithError
from starsmith.govern.foreign_text import shortened
from starsmith.plain_file import read_plain
from starsmith.storage import Located, StoredFile

SHA256: Final = re.compile(r"[0-9a-f]{64}")
LONGEST_TEXT: Final = 1 << 16
MOST: Final = 1 << 53
"""The greatest count that every reader of JSON holds exactly."""


def read_file(path: Located, *, most: int, what: str) -> bytes:
    """Return the bytes of a plain file that has at most `most`.

    Raises StarsmithError for anything else: a missing file, a folder, a pipe, a device.
    """
    if isinstance(path, StoredFile):
        return _read_object(path, most=most, what=what)
    return read_plain(path, name=f"The {what} {path}", most=most)


def _read_object(path: StoredFile, *, most: int, what: str) -> bytes:
    size = path.store.size(path.name)
    if size is None:
        raise StarsmithError(f"The {what} {path} cannot be read: there is no such object.")
    if size > most:
        raise StarsmithError(f"The {what} {path} has {size:,} bytes; expected at most {most:,}.")
    return path.store.read(path.name)


def parse(data: bytes, where: str) -> "Fields":
    """Return the members of the one JSON object in `data`.

    Raises StarsmithError if it is anything else.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StarsmithError(f"{where} is no JSON: {error}.") from error
    return Fields.of(value, where)


@dataclass(frozen=True, slots=True)
class Fields:
    """The members of a JSON object; each is asked for with what it has to be.

    Every method raises StarsmithError that names the member, what was found and what was expected.
    """

    where: str
    members: dict[str, Any]

    @classmethod
    def of(cls, value: object, where: str) -> "Fields":
        if not isinstance(value, dict):
            raise StarsmithError(f"{where} is {_shown(value)}; expected an object.")
        return cls(where, value)

    def only(self, names: Collection[str]) -> "Fields":
        """Refuse members that nobody will ask for."""
        if unknown := sorted(self.members.keys() - set(names)):
            raise StarsmithError(f"{self.where} has a member {_shown(unknown[0])}, which nobody knows.")
        return self

    def text(self, name: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self._get(name)
        if not isinstance(value, str) or len(value) > LONGEST_TEXT:
            raise self._wrong(name, "text")
        if pattern is not None and not pattern.fullmatch(value):
            raise self._wrong(name, f"text of the form {pattern.pattern}")
        return value

    def choice(self, name: str, choices: Collection[str]) -> str:
        value = self.text(name)
        if value not in choices:
            raise self._wrong(name, f"one of {', '.join(choices)}")
        return value

    def text_or_none(self, name: str, pattern: re.Pattern[str] | None = None) -> str | None:
        return None if self._get(name) is None else self.text(name, pattern)

    def number(self, name: str, *, least: int = 0, most: int = MOST) -> int:
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._wrong(name, f"a whole number from {least:,} to {most:,}")
        return value

    def flag(self, name: str) -> bool:
        value = self._get(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def texts(self, name: str, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        return tuple(
            Fields(f"{self.where}, {name}[{number}]", {"value": value}).text("value", pattern)
            for number, value in enumerate(self._list(name))
        )

    def objects(self, name: str) -> list["Fields"]:
        return [Fields.of(value, f"{self.where}, {name}[{number}]") for number, value in enumerate(self._list(name))]

    def fields(self, name: str) -> "Fields":
        return Fields.of(self._get(name), f"{self.where}, {name}")

    def fields_or_none(self, name: str) -> "Fields | None":
        return None if self._get(name) is None else self.fields(name)

    def _list(self, name: str) -> list[Any]:
        value = self._get(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return value

    def _get(self, name: str) -> Any:
        if name not in self.members:
            raise StarsmithError(f"{self.where} has no member {name!r}.")
        return self.members[name]

    def _wrong(self, name: str, expected: str) -> StarsmithError:
        return StarsmithError(f"{self.where}: {name} is {_shown(self.members[name])}; expected {expected}.")


def _shown(value: object) -> str:
    return shortened(repr(value), 60) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
