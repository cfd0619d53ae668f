"""An installed distribution by its `*.dist-info` folder: its name, the licence it states, the files its RECORD lists.

Follows the packaging standard for recording installed projects. Whatever the folder holds may be damaged or made up:
each function returns something sensible or raises `UnreadableDistribution` with one sentence for the user. What a
stated licence means is not decided here, and no file but METADATA, RECORD and direct_url.json is opened.
"""

import csv
import io
import json
import os
import posixpath
import re
import stat
from collections.abc import Container, Iterable
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from starsmith.document import readable_path

_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*-[A-Za-z0-9._+!]+\.dist-info")
_LONGEST_LICENCE_FIELD = 100
_MOST_BYTES = 64 * 1024 * 1024
"""Largest METADATA or RECORD to be read: a RECORD of this size lists half a million files."""


class UnreadableDistribution(Exception):
    """A distribution cannot be read; the message is one sentence without a path of this machine."""


def is_distribution(folder: str) -> bool:
    """Whether a folder is named as the standard asks; installers leave others behind when they are interrupted."""
    return _FOLDER_NAME.fullmatch(posixpath.basename(folder)) is not None


def is_editable(info: str) -> bool:
    """Whether the distribution's files lie in somebody's working folder rather than in the environment."""
    try:
        url = json.loads(_read_text(info, "direct_url.json", errors="replace"))
        return bool(url["dir_info"]["editable"])
    except (UnreadableDistribution, ValueError, LookupError, TypeError):
        return False


def named_by_folder(info: str) -> tuple[str, str]:
    """Return the normalised name and the version that a `*.dist-info` folder's name gives.

    >>> named_by_folder("lib/Foo_Bar-1.0.dist-info")
    ('foo-bar', '1.0')
    """
    name, _, version = posixpath.basename(info).removesuffix(".dist-info").rpartition("-")
    return _normalised(name), version


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_metadata(info: str) -> Message:
    """Return the headers of METADATA; raises UnreadableDistribution where it is missing or another distribution's."""
    text = _read_text(info, "METADATA", errors="replace")
    message = HeaderParser().parsestr(re.split(r"\r?\n\r?\n", text, maxsplit=1)[0])
    name = _normalised(str(message.get("Name", "")).strip())
    if name != named_by_folder(info)[0]:
        raise UnreadableDistribution(f"Its METADATA gives its name as {name!r}, its folder does not.")
    return message


def declared_licence(message: Message) -> str | None:
    """Return the licence as the distribution states it, in the most exact of the three places it may."""
    for field in ("License-Expression", "License"):
        stated = str(message.get(field, "")).strip()
        if stated and stated.upper() != "UNKNOWN" and "\n" not in stated and len(stated) <= _LONGEST_LICENCE_FIELD:
            return stated
    classifiers = [str(value).strip() for value in message.get_all("Classifier", [])]
    licences = [value for value in classifiers if value.startswith("License ::") and value != "License :: OSI Approved"]
    return "; ".join(licences) or None


def _read_text(info: str, name: str, *, errors: str) -> str:
    try:
        facts = os.lstat(posixpath.join(info, name))
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MOST_BYTES:
            raise UnreadableDistribution(f"Its {name} is not a file of at most {_MOST_BYTES} bytes.")
        return Path(info, name).read_text(encoding="utf-8", errors=errors)
    except OSError as error:
        raise UnreadableDistribution(f"Its {name} cannot be read: {error.strerror}.") from None


def read_record(info: str) -> list[list[str]]:
    """Return the rows of RECORD: path, digest and size as declared, of which the last two may be missing.

    Raises UnreadableDistribution where there is no RECORD or it is none. Bytes that are not UTF-8 come as surrogates.
    """
    text = _read_text(info, "RECORD", errors="surrogateescape")
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row and row[0] and "\0" not in row[0]]
    except csv.Error as error:
        raise UnreadableDistribution(f"Its RECORD is not a table: {error}.") from None
    if not any(posixpath.basename(row[0]) == "METADATA" for row in rows):
        raise UnreadableDistribution("Its RECORD does not list its METADATA, so it is damaged.")
    return rows


def folders_of(paths: Iterable[bytes]) -> frozenset[bytes]:
    """Return every folder that holds one of the paths, however deep."""
    found: set[bytes] = set()
    for path in paths:
        folder = posixpath.dirname(path)
        while folder and folder not in found:
            found.add(folder)
            folder = posixpath.dirname(folder)
    return frozenset(found)


def licence_scope(path: bytes, info: bytes | None, folders: Container[bytes]) -> str | None:
    """Return the folder for which a licence in this file holds, where it is not the file's own folder.

    Files of the `*.dist-info` folder speak for the whole distribution. Deeper licence files repeat the folder they
    were found in at build time: `licenses/src/pip/_vendor/rich/LICENSE` holds for `pip/_vendor/rich`. Where that
    folder lies in a package of the distribution but was not shipped, neither was what the licence is for, and it holds
    for nothing else. Where the folder has no likeness in the distribution, the licence counts for all of it.
    """
    head, _, rest = path.partition(b"/")
    if info is None or head != info:
        return None
    parts = posixpath.dirname(rest).split(b"/")[1:]
    for start in range(len(parts)):
        if b"/".join(parts[start:]) in folders:
            return readable_path(b"/".join(parts[start:]))
    if parts and parts[0] in folders:
        return readable_path(b"/".join(parts))
    return ""
