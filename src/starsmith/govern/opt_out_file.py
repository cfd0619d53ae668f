"""Requests to be left out in a file: CSV or JSON lines, read so that a bad line costs no good one.

CSV has a header of some of the columns below; JSON lines have the same keys, or the lists `optout_owners` and
`optout_repos` that a form with an automatic reader gives. Such files come from forms and spreadsheets, so bytes that
are no text, quotes that never end, and cells that are formulas are all met with: they make a bad line, which is named.
No section of the paper. This module puts nothing on the list.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from starsmith.errors import StarsmithError
from starsmith.govern.opt_out import Request, checked
from starsmith.plain_file import read_plain

COLUMNS: Final = {"owner": "owner", "repo": "repository", "origin": "origin", "swhid": "swhid"}
"""What a line may ask for, exactly one of them, and the kind of request that makes."""

LISTS: Final = {"optout_owners": "owner", "optout_repos": "repository"}
_MORE: Final = ("alias", "note")
_KEYS: Final = (*COLUMNS, *_MORE)
_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_MOST_LINE_BYTES: Final = 1 << 20
_MOST_LINES_OF_A_ROW: Final = 32
"""A quote that stays open longer is one that somebody forgot to close."""


_Source = TypeVar("_Source")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a file that says something: what it asks for and what is wrong with it, of which it may have both.

    `number` counts from 1; a row that takes several lines has that of its first.
    """

    number: int
    requests: tuple[Request, ...] = ()
    problems: tuple[str, ...] = ()


def read_file(path: Path) -> Iterator[Line]:
    """Yield the lines of a file that say something, each request as `checked` gives it.

    Raises StarsmithError for a file that cannot be read, or a CSV file whose first line is no header.
    """
    data = read_plain(path, expected="CSV or JSON lines with one request a line").removeprefix(_BOM)
    lines = _LINE_END.split(data)
    is_json = _is_json(path, data)
    yield from _json_lines(lines) if is_json else _csv_rows(lines, name=str(path))


def _is_json(path: Path, data: bytes) -> bool:
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        return True
    return path.suffix.lower() != ".csv" and data.lstrip()[:1] in (b"{", b"[")


def _line(number: int, read: Callable[[_Source], list[Request]], source: _Source) -> Line:
    """Return a line with those of the requests `read` finds that are well formed."""
    requests: list[Request] = []
    problems: list[str] = []
    try:
        found = read(source)
    except StarsmithError as error:
        return Line(number=number, problems=(str(error),))
    for request in found:
        try:
            requests.append(checked(request))
        except StarsmithError as error:
            problems.append(str(error))
    return Line(number=number, requests=tuple(requests), problems=tuple(problems))


# ---- JSON lines


def _json_lines(lines: Sequence[bytes]) -> Iterator[Line]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _line(number, _of_json, line)


def _of_json(line: bytes) -> list[Request]:
    found = _object(line)
    if LISTS.keys() & found.keys():
        # Whatever else a form has asked is not for this list.
        note = _text(found, "note") or (f"issue {found['issue']}" if type(found.get("issue")) is int else "")
        return [
            Request(kind=kind, value=value, note=note) for key, kind in LISTS.items() for value in _texts(found, key)
        ]
    if unknown := [key for key in found if key not in _KEYS]:
        raise StarsmithError(f"{unknown[0][:100]!a} is no key; expected {', '.join((*_KEYS, *LISTS))}.")
    aliases = _texts(found, "alias") if isinstance(found.get("alias"), list) else _cut(_text(found, "alias"))
    return [_request({key: _text(found, key) for key in (*COLUMNS, "note")}, aliases)]


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > _MOST_LINE_BYTES:
        raise StarsmithError(f"The line has {len(line)} bytes; expected at most {_MOST_LINE_BYTES}.")
    try:
        found = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise StarsmithError(f"Byte 0x{line[error.start]:02x} is not UTF-8; expected UTF-8 text.") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise StarsmithError(f"This is not JSON: {reason}; expected one object a line.") from None
    if not isinstance(found, dict):
        raise StarsmithError(f"This is {_kind(found)}; expected one JSON object a line.")
    return {key: value for key, value in found.items() if value is not None}


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key, "")
    if not isinstance(value, str):
        raise StarsmithError(f"{key!r} is {_kind(value)}; expected text.")
    return value


def _texts(found: dict[str, Any], key: str) -> list[str]:
    value = found.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise StarsmithError(f"{key!r} is not a list of texts.")
    return value


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "true or false"
    kinds = {dict: "an object", list: "a list", type(None): "null"}
    return kinds.get(type(value), "a number")


# ---- CSV


def _csv_rows(lines: Sequence[bytes], *, name: str) -> Iterator[Line]:
    texts = [line.decode("utf-8", errors="surrogateescape") for line in lines]
    header: list[str] | None = None
    for number, cells in _rows(texts):
        if isinstance(cells, list) and not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = _header(cells, f"{name}, line {number}")
        else:
            yield _line(number, partial(_of_row, header), cells)


def _rows(texts: Sequence[str]) -> Iterator[tuple[int, list[str] | str]]:
    """Yield (number of the first line, cells), or words on what is wrong with the line in their place."""
    at = 0
    while at < len(texts):
        reader = csv.reader((f"{text}\n" for text in texts[at : at + _MOST_LINES_OF_A_ROW]), strict=True)
        try:
            yield at + 1, next(reader)
            at += reader.line_num
        except csv.Error as error:
            # Only the first line is given up: the next may be a good one.
            yield at + 1, f"This is not CSV: {error}. A cell with a quote or a comma in it stands in quotes."
            at += 1


def _header(cells: list[str] | str, where: str) -> list[str]:
    names = [cell.strip().lower() for cell in cells] if isinstance(cells, list) else []
    unknown = [name for name in names if name not in _KEYS]
    if unknown or len(set(names)) != len(names) or not COLUMNS.keys() & set(names):
        found = f"{unknown[0][:100]!a} is no column" if unknown else "this is no header"
        raise StarsmithError(
            f"{where}: {found}; expected the names of columns with commas between: at least one of "
            f"{', '.join(COLUMNS)}, and {' and '.join(_MORE)} if you like."
        )
    return names


def _of_row(header: Sequence[str], cells: list[str] | str) -> list[Request]:
    if isinstance(cells, str):
        raise StarsmithError(cells)
    if len(cells) > len(header):
        raise StarsmithError(f"The row has {len(cells)} cells, the header {len(header)}.")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        raise StarsmithError("The row is not UTF-8; save the file as UTF-8 text.") from None
    named = dict.fromkeys(_KEYS, "") | dict(zip(header, cells, strict=False))
    return [_request(named, _cut(named["alias"]))]


def _cut(aliases: str) -> list[str]:
    return [alias for alias in aliases.split(";") if alias.strip()]


def _request(cells: dict[str, str], aliases: Sequence[str]) -> Request:
    given = [column for column in COLUMNS if cells[column].strip()]
    if len(given) != 1:
        found = f"{' and '.join(given)} are" if given else "nothing is"
        raise StarsmithError(f"{found[0].upper()}{found[1:]} given; expected exactly one of {', '.join(COLUMNS)}.")
    column = given[0]
    return Request(kind=COLUMNS[column], value=cells[column], aliases=tuple(aliases), note=cells["note"])
