"""Keys, tokens, private keys and passwords in source code and configuration.

Follows section 5 of the paper's data description, which redacted keys and passwords; here by the formats of issuers,
by names and values (`secret_context`) and by syntax that holds a secret: URLs, command lines, HTTP headers, PEM blocks.
One pass of `secret_gate` names the places, the rules here find the exact spans. UUIDs, hashes, digests of lock files
and placeholders are left alone, and in lines longer than MAX_LINE (minified code, data) only formats of issuers and
certain syntax count. What is found is never written anywhere; see `findings`.
"""

import base64
import binascii
import re
from functools import cache
from typing import Final

import pyarrow as pa

from starsmith.curate.findings import KEY, PASSWORD, PRIVATE_KEY, TOKEN, Span
from starsmith.curate.kernel import text_buffers
from starsmith.curate.secret_context import Assignment, is_placeholder, looks_like_key, looks_like_password, role
from starsmith.curate.secret_formats import TokenFormat, has_checksum, named_formats, token_formats
from starsmith.curate.secret_gate import (
    END,
    NAME,
    OPERATOR,
    PATTERN,
    PLACE,
    PREFIX,
    QUOTE,
    ROW,
    START,
    URL,
    VALUE_END,
    VALUE_START,
)
from starsmith.curate.secret_patterns import Gate, build_gate, hits

_Secret = tuple[str, int, int] | None
"""Kind, start and end of what a hit led to."""

MAX_LINE: Final = 2000
MAX_PRIVATE_KEY: Final = 16 * 1024
MAX_TOKEN: Final = 8 * 1024
_AROUND: Final = 240
"""Bytes of the line that are read before a name and after a value."""

_NAMES: Final = ("pass", "pwd", "pswd", "secret", "token", "key", "auth", "cred", "senha", "contrasena", "kennwort")
_BEGIN: Final = b"-----BEGIN"
_LAST_OF_BEGIN: Final = b"-BEGIN"
"""What the gate is asked for: many comments have lines of dashes."""
_PUTTY: Final = b"Private-Lines:"

_PEM_BEGIN = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(rb"-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PEM_LINE = re.compile(rb"(?:[ \t]*[A-Za-z0-9+/=]{16,128}[ \t]*(?:\r?\n|\r|\Z)){1,400}")
_PEM_BODY = re.compile(rb"[A-Za-z0-9+/]{40}")
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xff]")
_PUTTY_LINES = re.compile(rb"Private-Lines: ?[0-9]{1,3}[ \t]*\r?\n((?:[A-Za-z0-9+/=]{1,64}[ \t]*(?:\r?\n|\Z)){1,200})")

_URL = re.compile(rb"://[^\s:/@\"'`<>\\]{0,80}:([^\s/\"'`<>\\]{1,128})@(?=[A-Za-z0-9\[{$_.-])")
_PLACES: Final = (
    (b"basic ", re.compile(rb"basic ([A-Za-z0-9+/]{8,200}={0,2})(?![A-Za-z0-9+/=])", re.IGNORECASE)),
    (b"bearer ", re.compile(rb"bearer ([A-Za-z0-9_.=+/~-]{16,600})(?![A-Za-z0-9_])", re.IGNORECASE)),
    (b"curl ", re.compile(rb"curl [^\r\n]{0,200}?(?:-u|--user)[ =]?[\"']?[^\s:\"']{1,64}:([^\s\"']{4,72})")),
    (b"sshpass", re.compile(rb"sshpass -p ?[\"']?([^\s\"']{4,72})")),
    (b"mysql", re.compile(rb"mysql(?:dump|admin)? [^\r\n]{0,200}?-p([^\s\"'$-][^\s\"']{3,71})")),
    (b"identified by", re.compile(rb"identified by (?:password )?[\"']([^\s\"']{4,72})[\"']", re.IGNORECASE)),
    (b"auth=(", re.compile(rb"auth=\( ?[\"'][^\"'\r\n]{1,80}[\"'], ?[\"']([^\s\"']{4,72})[\"']\)")),
)
_CONFIG_START = re.compile(
    r"(?:\s*(?:export|set|setx|ENV|ARG|env|-e|-|\$env:|#|//)?\s*[\"']?|.*(?:[;&?]|\s--?[A-Za-z-]{0,30}|-D)|--?[A-Za-z-]*)"
)
_CONNECTION = re.compile(r"\b(?:user|uid|user id|host|server|dbname|database|login|machine|data source)\s*[=: ]", re.I)
_SIMPLE_END = re.compile(r"\s*(?:[#;&\"'`\\].*)?")


@cache
def _gate() -> Gate:
    """Return the automaton; built once per process (about 0.02 s)."""
    least: dict[bytes, int] = {}
    for token_format in token_formats():
        least[token_format.prefix] = min(token_format.least, least.get(token_format.prefix, token_format.least))
    patterns = [(prefix, PREFIX, length) for prefix, length in least.items()]
    patterns += [(name.encode(), NAME, 0) for name in _NAMES]
    patterns += [(place, PLACE, 0) for place, _ in _PLACES] + [(_LAST_OF_BEGIN, PLACE, 0), (_PUTTY, PLACE, 0)]
    return build_gate([*patterns, (b"://", URL, 0)])


@cache
def _formats_of_patterns() -> tuple[tuple[TokenFormat, ...], ...]:
    """Return, for each pattern of the gate that is a prefix, the formats that begin with it."""
    by_prefix: dict[bytes, list[TokenFormat]] = {}
    for token_format in token_formats():
        by_prefix.setdefault(token_format.prefix, []).append(token_format)
    return tuple(map(tuple, by_prefix.values()))


@cache
def _first_name() -> int:
    return len(_formats_of_patterns())


def find_secrets(texts: pa.LargeBinaryArray, *, keys: bool, passwords: bool) -> list[Span]:
    """Return the secrets in valid UTF-8 texts, overlaps included; `findings.resolve` settles those."""
    data, offsets = text_buffers(texts)
    view = data.data
    spans: list[Span] = []
    end_of_key = _EndOfKey(view)
    for hit in hits(_gate(), data, offsets).tolist():
        first, end = int(offsets[hit[ROW]]), int(offsets[hit[ROW] + 1])
        found = _found(view, first, end, hit, end_of_key)
        if found is not None:
            kind, start, stop = found
            if passwords if kind == PASSWORD else keys:
                spans.append(Span(hit[ROW], kind, start - first, stop - first))
    return spans


def _found(view: memoryview, first: int, end: int, hit: list[int], end_of_key: "_EndOfKey") -> _Secret:
    number = hit[PATTERN] - _first_name()
    if number < 0:
        return _token(view, first, end, hit)
    if number < len(_NAMES):
        return _assigned(view, first, end, hit)
    number -= len(_NAMES)
    if number < len(_PLACES):
        return _placed(view, first, end, hit, number)
    if number == len(_PLACES):
        start = hit[END] - len(_BEGIN)
        return _private_key(view, end, start, end_of_key) if start >= first else None
    if number == len(_PLACES) + 1:
        return _putty_key(view, end, hit[START])
    return _url(view, end, hit[START])


def _token(view: memoryview, first: int, end: int, hit: list[int]) -> _Secret:
    start, body_start = hit[START], hit[END]
    limit = min(end, body_start + MAX_TOKEN)
    for token_format in _formats_of_patterns()[hit[PATTERN]]:
        match = token_format.pattern.match(view, body_start, limit)
        if match is None:
            continue
        body = bytes(match[0])
        sure = has_checksum(token_format.prefix, body)
        if not sure and (is_made_up(body.decode("latin-1")) or _inside_encoded_data(view, first, start)):
            continue
        # A prefix that ends with "=" or "/" names the place, not the token.
        visible = body_start if token_format.prefix[-1:] in b"=/" and len(token_format.prefix) > 4 else start
        return TOKEN + token_format.provider, visible, match.end()
    return None


def is_made_up(body: str) -> bool:
    """Whether the body of a token is an example: a placeholder, a word, or no digit and no capital in it."""
    if len(body) >= 12 and (len(set(body)) < 6 or not any(c.isdigit() or c.isupper() for c in body)):
        return True
    lowered = body.lower()
    return is_placeholder(body) if len(body) <= 64 else "example" in lowered or "xxxxxx" in lowered


def _inside_encoded_data(view: memoryview, first: int, start: int) -> bool:
    """Whether the bytes before a token are a long run of base64, in which any prefix may turn up."""
    before = bytes(view[max(first, start - 48) : start])
    run = re.search(rb"[A-Za-z0-9+/]*\Z", before)
    return run is not None and len(run[0]) >= 40


def _assigned(view: memoryview, first: int, end: int, hit: list[int]) -> _Secret:
    name = bytes(view[hit[START] : hit[END]]).decode("latin-1")
    what = role(name)
    if not what:
        return None
    line_start, line_end = _line(view, first, end, hit[START], hit[VALUE_END])
    if line_end - line_start > MAX_LINE:
        return None
    value_end = _end_of_bare_value(view, hit)
    assignment = Assignment(
        name=name,
        value=bytes(view[hit[VALUE_START] : value_end]).decode("latin-1"),
        operator=chr(hit[OPERATOR]),
        quote=chr(hit[QUOTE]) if hit[QUOTE] else "",
        before=bytes(view[max(line_start, hit[START] - _AROUND) : hit[START]]).decode("latin-1"),
        after=bytes(view[value_end : min(line_end, value_end + _AROUND)]).decode("latin-1"),
    )
    kind = _kind_of(assignment, what)
    return (kind, hit[VALUE_START], value_end) if kind else None


def _line(view: memoryview, first: int, end: int, start: int, stop: int) -> tuple[int, int]:
    """Return where the line around [start, stop) begins and ends; no more than MAX_LINE bytes are read either way."""
    before = bytes(view[max(first, start - MAX_LINE) : start])
    after = bytes(view[stop : min(end, stop + MAX_LINE)])
    ends = [position for position in (after.find(b"\n"), after.find(b"\r")) if position >= 0]
    begin = max(before.rfind(b"\n"), before.rfind(b"\r"))
    return start - len(before) + begin + 1, stop + (min(ends) if ends else len(after))


def _end_of_bare_value(view: memoryview, hit: list[int]) -> int:
    if hit[QUOTE]:
        return hit[VALUE_END]
    value = bytes(view[hit[VALUE_START] : hit[VALUE_END]])
    return hit[VALUE_START] + len(re.split(rb"[;,)}\]&|]", value, maxsplit=1)[0])


def _kind_of(assignment: Assignment, what: str) -> str:
    """Return the kind of secret an assignment holds, or nothing."""
    if len(assignment.value) < 4 or (assignment.operator == "," and not assignment.before.endswith(_OPENED)):
        return ""
    if assignment.before.endswith("::"):
        # The name of a type, as in "AWS::IAM::AccessKey": "62d91b17309e76c8".
        return ""
    if what == "password":
        return PASSWORD if _is_password(assignment) else ""
    provider = _provider_of(assignment)
    if provider:
        return TOKEN + provider
    line = assignment.before + assignment.name + assignment.after
    return KEY if _may_be_bare(assignment) and looks_like_key(assignment.value, line) else ""


_OPENED: Final = ('("', "('", '{"', "{'", '( "', '{ "', '(@"')


def _may_be_bare(assignment: Assignment) -> bool:
    return bool(assignment.quote) or assignment.operator != " " or assignment.name.startswith("-")


def _provider_of(assignment: Assignment) -> str:
    """Return the issuer whose format the value has and whom the name mentions."""
    name = assignment.name.lower().replace("_", "").replace("-", "")
    for named in named_formats():
        fits = named.word in name and named.pattern.fullmatch(assignment.value.encode("latin-1"))
        if fits and not is_made_up(assignment.value):
            return named.provider
    return ""


def _is_password(assignment: Assignment) -> bool:
    value, operator = assignment.value, assignment.operator
    if assignment.quote:
        return looks_like_password(value) and not assignment.name.startswith("#")
    if operator in ">-":
        return looks_like_password(value) and (operator == "-" or assignment.after.startswith("</"))
    if operator == " ":
        is_named = assignment.name.startswith("--") or assignment.name in {"requirepass", "masterauth"}
        return (is_named or _CONNECTION.search(assignment.before) is not None) and looks_like_password(value)
    if assignment.name.startswith("-"):
        return looks_like_password(value) and not assignment.after[:1].strip(" \t;&\"'`")
    connection = operator == "=" and _CONNECTION.search(assignment.before[-120:] + assignment.after) is not None
    if not (connection or _CONFIG_START.fullmatch(assignment.before)):
        return False
    if not connection and not _SIMPLE_END.fullmatch(assignment.after):
        return False
    return looks_like_password(value) and not re.fullmatch(r"[A-Za-z_]+[0-9]?", value)


def _placed(view: memoryview, first: int, end: int, hit: list[int], number: int) -> _Secret:
    place, pattern = _PLACES[number]
    start = hit[START]
    if start > first and chr(view[start - 1]).isalnum():
        return None
    match = pattern.match(view, start, min(end, start + 800))
    if match is None:
        return None
    value = bytes(match[1]).decode("latin-1")
    kind = PASSWORD
    if place == b"basic ":
        is_secret = _holds_user_and_password(value)
    elif place == b"bearer ":
        kind, is_secret = KEY, looks_like_key(value, "") or (len(value) > 300 and not is_placeholder(value))
    else:
        is_secret = looks_like_password(value, certain=place not in {b"mysql", b"identified by"})
    return (kind, *match.span(1)) if is_secret else None


def _holds_user_and_password(encoded: str) -> bool:
    try:
        decoded = base64.b64decode(encoded, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return False
    user, colon, password = decoded.partition(":")
    return bool(colon and user) and decoded.isprintable() and len(password) >= 4 and not is_placeholder(password)


def _url(view: memoryview, end: int, start: int) -> _Secret:
    match = _URL.match(view, start, min(end, start + 320))
    if match is None:
        return None
    value = bytes(match[1]).decode("latin-1")
    user = bytes(match[0])[3:].partition(b":")[0].decode("latin-1")
    is_secret = value not in {user, "x-oauth-basic"} and looks_like_password(value, certain=True)
    return (PASSWORD, *match.span(1)) if is_secret else None


class _EndOfKey:
    """Finds the line that ends a private key; remembers it, so that many beginnings do not search for it each."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._searched = (0, 0, -1)

    def after(self, position: int, end: int) -> tuple[int, int] | None:
        """Return where the next end line begins and ends if it is near enough, else None."""
        limit = min(end, position + MAX_PRIVATE_KEY)
        searched_from, searched_to, found = self._searched
        if searched_from <= position <= searched_to and (found < 0 or found >= position) and searched_to >= limit:
            match = _PEM_END.match(self._view, found, limit) if found >= 0 else None
        else:
            far = min(end, position + 2 * MAX_PRIVATE_KEY)
            match = _PEM_END.search(self._view, position, far)
            self._searched = (position, far, match.start() if match else -1)
        return match.span() if match and match.end() <= limit else None


def _private_key(view: memoryview, end: int, start: int, end_of_key: _EndOfKey) -> _Secret:
    begin = _PEM_BEGIN.match(view, start, min(end, start + 80))
    if begin is None:
        return None
    closing = end_of_key.after(begin.end(), end)
    if closing is None:
        return _cut_off_key(view, begin.end(), start, end)
    body = bytes(view[begin.end() : closing[0]])
    if _BEGIN in body:
        return _cut_off_key(view, begin.end(), start, end)
    return (PRIVATE_KEY, start, closing[1]) if _is_key_body(body) and not _NO_TEXT.search(body) else None


def _cut_off_key(view: memoryview, body_start: int, start: int, end: int) -> _Secret:
    line_end = re.compile(rb"[ \t]*\r?\n").match(view, body_start, end)
    lines = _PEM_LINE.match(view, line_end.end(), min(end, body_start + MAX_PRIVATE_KEY)) if line_end else None
    if lines is None or not _is_key_body(bytes(lines[0])):
        return None
    return PRIVATE_KEY, start, lines.start() + len(bytes(lines[0]).rstrip())


def _is_key_body(body: bytes) -> bool:
    found = _PEM_BODY.search(body)
    return found is not None and len(set(found[0])) >= 10


def _putty_key(view: memoryview, end: int, start: int) -> _Secret:
    match = _PUTTY_LINES.match(view, start, min(end, start + MAX_PRIVATE_KEY))
    if match is None or not _is_key_body(bytes(match[1]).replace(b"\n", b"").replace(b"\r", b"")):
        return None
    return PRIVATE_KEY, match.start(1), match.start(1) + len(bytes(match[1]).rstrip())
