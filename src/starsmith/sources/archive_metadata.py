"""What an archive is called: owner, name, package URL and stated licence, by the metadata in it and its file name.

Follows the package URL specification for PyPI, npm and Cargo, of which a source distribution, a wheel, an npm package
and a crate hold metadata. Metadata are believed only if the file's name agrees with them and if the registry could have
such a name at all, which is ASCII: so neither a name typed with look-alike letters nor an archive that claims to be
another takes the place of the real one. Whatever else there is goes by its digest and file name.
"""

import json
import os
import posixpath
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from typing import Any, Final
from urllib.parse import quote

from starsmith.sources.distribution import declared_licence, is_distribution

MOST_BYTES: Final = 1024 * 1024
"""Largest metadata file that is read."""

_PYPI_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_NPM_NAME = re.compile(r"(?:(@[A-Za-z0-9~-][A-Za-z0-9._~-]*)/)?([A-Za-z0-9~-][A-Za-z0-9._~-]*)")
_CRATE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_LONGEST_NAME, _LONGEST_VERSION, _LONGEST_LICENCE = 214, 100, 100
_DIGEST_DIGITS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What the origin of an archive is called, and the licence stated for all of it."""

    url: str
    owner: str
    name: str
    declared_license: str | None = None


def metadata_path(file_name: str, paths: Iterable[bytes]) -> bytes | None:
    """Return the path of the metadata that an archive with such a file name should have, if it is there.

    >>> metadata_path("a-1.0.tar.gz", [b"PKG-INFO", b"a.py"]), metadata_path("a-1.0.tgz", [b"PKG-INFO"])
    (b'PKG-INFO', None)
    """
    if file_name.lower().endswith(".whl"):
        info = distribution_folder(paths)
        return None if info is None else info + b"/METADATA"
    suffix = posixpath.splitext(file_name.lower())[1]
    wanted = {".tgz": b"package.json", ".crate": b"Cargo.toml"}.get(suffix, b"PKG-INFO")
    return wanted if wanted in paths else None


def distribution_folder(paths: Iterable[bytes]) -> bytes | None:
    """Return the first `*.dist-info` folder that has a METADATA file."""
    for path in paths:
        folder, _, name = path.rpartition(b"/")
        if name == b"METADATA" and b"/" not in folder and is_distribution(os.fsdecode(folder)):
            return folder
    return None


def identity(file_name: str, digest: str, metadata: bytes | None) -> Identity:
    """Return what an archive is called. `digest` is the SHA-256 of its file in hex, `metadata` its metadata file."""
    lower = file_name.lower()
    reader = {".whl": _wheel, ".tgz": _npm_package, ".crate": _crate}.get(posixpath.splitext(lower)[1], _pypi)
    found = None
    if metadata is not None:
        try:
            found = reader(file_name, metadata)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            # Damaged metadata name nothing; the archive still has a name of its own.
            found = None
    return found or unnamed(file_name, digest[:_DIGEST_DIGITS])


def unnamed(file_name: str, place: str) -> Identity:
    """Return the identity of an archive without believable metadata; `place` tells it from others of its name.

    >>> unnamed("a b.zip", "12ab").url
    'archive:12ab/a%20b.zip'
    """
    raw = os.fsencode(file_name)
    shown = raw.decode("utf-8", errors="backslashreplace")
    return Identity(url=f"archive:{place}/{quote(raw, safe='')}", owner="archive", name=shown)


def _pypi(file_name: str, metadata: bytes) -> Identity | None:
    message = _headers(metadata)
    name, version = (str(message.get(field, "")).strip() for field in ("Name", "Version"))
    if not _believable(_PYPI_NAME, name, version, file_name):
        return None
    name = _normalised(name)
    return Identity(
        url=f"pkg:pypi/{quote(name, safe='')}@{quote(version, safe='')}",
        owner="pypi",
        name=name,
        declared_license=declared_licence(message),
    )


def _headers(metadata: bytes) -> Message:
    text = metadata.decode("utf-8", errors="replace")
    return HeaderParser().parsestr(re.split(r"\r?\n\r?\n", text, maxsplit=1)[0])


def _wheel(file_name: str, metadata: bytes) -> Identity | None:
    """Return a wheel's identity. There may be several of one version, so its file name is part of the URL."""
    found = _pypi(file_name, metadata)
    if found is None:
        return None
    url = f"{found.url}?file_name={quote(os.fsencode(file_name), safe='')}"
    return Identity(url=url, owner=found.owner, name=found.name, declared_license=found.declared_license)


def _npm_package(file_name: str, metadata: bytes) -> Identity | None:
    package = json.loads(metadata)
    name, version = str(package["name"]), str(package["version"])
    if not _believable(_NPM_NAME, name, version, file_name):
        return None
    parts = _NPM_NAME.fullmatch(name)
    scope = parts[1] if parts else None
    return Identity(
        url=f"pkg:npm/{quote(name, safe='/')}@{quote(version, safe='')}",
        owner=scope or "npm",
        name=name.rpartition("/")[2],
        declared_license=_stated(_npm_licence(package)),
    )


def _npm_licence(package: dict[str, Any]) -> object:
    """Return the licence in the form of today, or in one of the two that packages had until 2014."""
    stated = package.get("license", package.get("licenses"))
    choices = [each.get("type") if isinstance(each, dict) else each for each in _listed(stated)]
    return " OR ".join(choice for choice in choices if isinstance(choice, str))


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _crate(file_name: str, metadata: bytes) -> Identity | None:
    package = tomllib.loads(metadata.decode("utf-8"))["package"]
    name, version = str(package["name"]), str(package["version"])
    if not _believable(_CRATE_NAME, name, version, file_name):
        return None
    return Identity(
        url=f"pkg:cargo/{name}@{quote(version, safe='')}",
        owner="cargo",
        name=name,
        declared_license=_stated(package.get("license")),
    )


def _believable(names: re.Pattern[str], name: str, version: str, file_name: str) -> bool:
    """Whether a registry could have such a name and version, and the file is named after it."""
    return (
        len(name) <= _LONGEST_NAME
        and len(version) <= _LONGEST_VERSION
        and names.fullmatch(name) is not None
        and _VERSION.fullmatch(version) is not None
        and _normalised(file_name).startswith(_normalised(name.lstrip("@").replace("/", "-")) + "-")
    )


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _stated(value: object) -> str | None:
    """Return a licence as it is stated, where it is one line that could name one."""
    if isinstance(value, str) and 0 < len(value.strip()) <= _LONGEST_LICENCE and "\n" not in value.strip():
        return value.strip()
    return None
