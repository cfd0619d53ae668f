"""What a person may write in a request to be left out, and what is refused with words that say what is expected.

A request that is spelled wrongly would match nothing, and whoever asked would stay in unnoticed. So what could be meant
otherwise is refused: patterns, pages of a repository, hosts where a name is expected, characters nobody can see.
No section of the paper. What the names then match stands in `opt_out_names`.
"""

import unicodedata
from typing import Final

from starsmith.credentials import credential_in
from starsmith.document import ID_BYTES, content_id, parse_swhid, swhid
from starsmith.errors import StarsmithError
from starsmith.govern.opt_out_names import TWO_LEVEL_HOSTS, ignores_case, place_of, shown_place

KINDS: Final = ("owner", "repository", "origin", "swhid")
MOST_CHARS: Final = 2048
"""Longest name, alias or note: as long as the longest URL a source takes."""

_EMPTY_CONTENT: Final = content_id(b"")
_NO_NAME: Final = frozenset('\\:*?"<>|;,=')
"""What no host lets a name hold; whoever writes it means a pattern, a URL, a list or a formula."""
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_EXPECTED: Final = {
    "owner": "the name of an account, organisation or group, such as `acme` or `group/subgroup`",
    "repository": "OWNER/NAME, such as `acme/tool` or `group/subgroup/tool`",
    "origin": "the beginning of a URL, such as https://github.com/acme, pkg:pypi/tool or local:acme/tool",
    "swhid": "a SWHID, such as swh:1:cnt: and 40 hex digits",
}


def checked_name(kind: str, text: str) -> str:
    """Return a name, URL or SWHID as it is kept: trimmed, in Unicode's composed form.

    Raises StarsmithError that says what was found and expected; it does not repeat what holds a credential.
    """
    name = unicodedata.normalize("NFC", text.strip())
    expected = f"expected {_EXPECTED[kind]}."
    if not name:
        raise StarsmithError(f"The {kind} is empty; {expected}")
    if len(name) > MOST_CHARS:
        raise StarsmithError(f"The {kind} has {len(name)} characters, which no name has; {expected}")
    if credential := credential_in(name):
        raise StarsmithError(f"The {kind} holds {credential}; write it without, as anybody may see it.")
    if unseen := next((char for char in name if unicodedata.category(char) in _UNSEEN), None):
        raise StarsmithError(f"{name!a} holds the invisible character U+{ord(unseen):04X}; {expected}")
    check = {"owner": _owner, "repository": _repository, "origin": _origin, "swhid": _swhid}[kind]
    return check(name, expected)


def checked_note(note: str) -> str:
    """Return a note on one line; raises StarsmithError for one that is too long or no text."""
    text = " ".join(note.split())
    if len(text) > MOST_CHARS:
        raise StarsmithError(f"The note has {len(text)} characters; expected at most {MOST_CHARS}.")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise StarsmithError("The note holds a control character; expected text.")
    return text


def _owner(name: str, expected: str) -> str:
    return "/".join(_groups(name, expected))


def _repository(name: str, expected: str) -> str:
    parts = _groups(name, expected)
    if len(parts) < 2:
        raise StarsmithError(f"{name!r} names no owner; {expected}")
    return "/".join(parts)


def _groups(name: str, expected: str) -> list[str]:
    """Return the parts of a path of names; raises StarsmithError for what would match nothing or is meant otherwise."""
    parts = name.rstrip("/").split("/")
    if "://" in name or _is_host(parts[0]):
        raise StarsmithError(f"{name!r} is a place on one host; use `origin` with the whole URL, or {expected}")
    if "*" in name:
        raise StarsmithError(f"{name!r} holds a `*`, which is no wildcard here: an owner stands for all it has.")
    if found := next((char for char in name if char in _NO_NAME), None):
        raise StarsmithError(f"{name!r} holds {found!r}, which no name on a host can; {expected}")
    if any(part.strip() in ("", ".", "..", "@", "~") for part in parts):
        raise StarsmithError(f"{name!r} has a part that is no name; {expected}")
    return [part.strip() for part in parts]


def _is_host(name: str) -> bool:
    host = name.lower().removeprefix("www.")
    return "." in host and ignores_case(f"//{host}")


def _origin(name: str, expected: str) -> str:
    parts = place_of(name)
    if parts is None or not _is_place(name, parts):
        raise StarsmithError(f"{name!r} is no URL of a place; {expected}")
    if "*" in name:
        raise StarsmithError(f"{name!r} holds a `*`, which is no wildcard here: a URL stands for all below it.")
    if (parts[0].removeprefix("//") in TWO_LEVEL_HOSTS and len(parts) > 3) or "-" in parts[2:]:
        raise StarsmithError(f"{name!r} is a page of a repository; expected its own URL, owner and name at the end.")
    if any(unicodedata.category(char) in _UNSEEN for part in parts for char in part):
        raise StarsmithError(f"{name!r} holds an invisible character, spelled with a `%`; {expected}")
    return shown_place(parts)


def _is_place(name: str, parts: tuple[str, ...]) -> bool:
    """Whether a URL says where: a whole host may leave, a whole registry or all folders may not."""
    if not parts[0].startswith("//"):
        return len(parts) > 1
    # `word:word` could be anything; a host in the short form of an address has a dot or an account before it.
    return "://" in name or "@" in name or "." in parts[0]


def _swhid(name: str, expected: str) -> str:
    kind, identifier = _parsed_swhid(name, expected)
    if kind == "snp":
        raise StarsmithError(
            f"{name!r} is a snapshot, and origins carry no snapshot id; expected the SWHID of a content (cnt), "
            "a root directory (dir), a head revision (rev) or an origin (ori)."
        )
    if identifier == _EMPTY_CONTENT:
        raise StarsmithError(f"{name!r} is the empty file, which is nobody's; expected the SWHID of something.")
    return swhid(kind, identifier)


def _parsed_swhid(name: str, expected: str) -> tuple[str, bytes]:
    kind, identifier = parse_swhid(name)
    if len(identifier) != ID_BYTES:
        raise StarsmithError(f"{name!r} is no SWHID; {expected}")
    return kind, identifier
