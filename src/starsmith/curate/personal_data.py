"""E-mail and IP addresses, and the door through which names and user names will come.

Follows section 5 of the paper's data description: its exemptions (private addresses, listed DNS servers, version
numbers) and the rules of its pattern-based predecessor. Addresses are found by `address_gate`; here it is decided
whether they are some person's or some machine's. Names take a trained model: a `NameFinder` that returns spans of kind
`findings.NAME` can be given to `redact.scan`; none is here. User names are found and counted but not replaced, as in
the paper's production run.
"""

import ipaddress
import re
from bisect import bisect_left
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from starsmith.curate.address_gate import EMAIL as EMAIL_CANDIDATE
from starsmith.curate.address_gate import END, KIND, MIDDLE, ROW, START, candidates
from starsmith.curate.address_gate import IPV4 as IPV4_CANDIDATE
from starsmith.curate.findings import EMAIL, IPV4, IPV6, Span
from starsmith.curate.kernel import Indices, text_buffers
from starsmith.settings import RedactionSettings


class NameFinder(Protocol):
    """A model that finds names of people, and their user names, in texts.

    It returns spans of kind `findings.NAME` or `findings.USER_NAME`, byte offsets at boundaries of UTF-8 characters. A
    name must have two words or more to be one (section 5).
    """

    def __call__(self, texts: pa.LargeBinaryArray) -> list[Span]: ...


DNS_SERVERS: Final = frozenset(
    "8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 76.76.19.19 76.223.122.150 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220 "
    "8.26.56.26 8.20.247.20 94.140.14.14 94.140.15.15".split()
)
"""Section 5: public name servers, which stand in many configurations and are nobody's."""
DNS_SERVERS_IPV6: Final = frozenset(
    "2001:4860:4860::8888 2001:4860:4860::8844 2606:4700:4700::1111 2606:4700:4700::1001 2620:fe::fe 2620:fe::9 "
    "2620:119:35::35 2620:119:53::53".split()
)
"""The same services by IPv6; the paper's list has none."""

# The special-purpose registries of IANA (RFC 6890 and its updates), by hand so that no Python version decides.
_NOT_PUBLIC_IPV4: Final = tuple(
    (int(network.network_address), int(network.netmask))
    for network in map(
        ipaddress.IPv4Network,
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
        "192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 "
        "203.0.113.0/24 224.0.0.0/4 240.0.0.0/4".split(),
    )
)
_NOT_PUBLIC_IPV6: Final = tuple(
    map(ipaddress.IPv6Network, "2001::/23 2001:db8::/32 2620:4f:8000::/48 3fff::/20".split())
)

_AROUND: Final = 100
"""Section 5: bytes on either side in which words about an address count; only those of its own line are read."""
_SHORT_IPV4: Final = len("1.2.3.4")
_ABOUT_SERVICES: Final = ("dns", "server")
_ABOUT_ADDRESSES: Final = (*_ABOUT_SERVICES, "host", "ip_addr", "ipaddr", "ip addr", "ip-addr")
_IP: Final = re.compile(r"\bip\b")
_ABOUT_VERSIONS: Final = (
    *(
        "version",
        "release",
        "revision",
        "objectidentifier",
        "assembly",
        "changelog",
        "update to",
        "upgrade",
        "culture=",
    ),
    *("section", "§", "mozilla", "webkit", "chrome/", "firefox/", "safari/", "package", "figure", "chapter", "build "),
)
_SHORT_VERSION_WORDS: Final = re.compile(r"\b(?:rev|ver|oid|since|rfc)\b")
_VERSION_FOLLOWS: Final = re.compile(r"(?:\bv\.? ?|[=~<>^]= ?[\"']?|[~^] ?)$")
"""What tells an address from a version in small letters, the last just before it."""
_LINE_BREAK: Final = re.compile(rb"[\r\n]")
_ANY_ADDRESS: Final = re.compile(rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9])|[0-9A-Fa-f]{1,4}:[0-9A-Fa-f:]{4,}")
_RANGE_AFTER: Final = re.compile(r"-(?:#|\d{1,3}(?!\w))")
_DECIMALS: Final = re.compile(r"[-. ,][0-9]*\.[0-9]+")
"""What stands around four numbers in the path of a drawing: more numbers."""
_NUMBERED: Final = re.compile(r"\b[A-Z][A-Za-z]+ \(?$")
_MOST_OF_VERSION: Final = 30
"""After the name of something, numbers of which the first two are below this are its version, not its address; with
two digits that stand alone (``8.2.4.45``) nothing need stand before."""
_PRODUCT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*/$")

_EXAMPLE_DOMAIN: Final = re.compile(
    r"(?:.*\.)?(?:example\.(?:com|org|net|edu|co\.uk|de|fr|io|co)|example|invalid|test|localhost|localdomain|local)",
    re.IGNORECASE,
)
"""RFC 2606 and RFC 6761, and what people write in their place."""
_NOBODY: Final = re.compile(
    r"(?:no-?reply|do-?not-?reply|donotreply|noreply[+._-].*|null|nobody|devnull|mailer-daemon|postmaster)@.*|"
    r".*@(?:users\.noreply\.github\.com|noreply\..*|.*\.noreply\..*)|"
    r"(?:user(?:name)?|you|your[._-]?(?:e?mail|name|address)?|me|name|e?mail|foo|bar|someone|somebody|john\.?doe|"
    r"jane\.?doe|first\.?last|firstname\.lastname|test|a|b|x|foo\.bar|recipient|sender|to|from|address|login)"
    r"\d?@(?:your-?|my-?|some-?)?(?:domain|company|site|website|email|mail|host|server|provider|organization|foo|bar|"
    r"test|acme|a|b|c|x|y|z|baz|abc|xyz)\.[a-z.]{2,8}",
    re.IGNORECASE,
)
_COPYRIGHT: Final = re.compile(
    r"copyright|\(c\)|©|spdx-filecopyrighttext|\bauthors?\b|written by|maintain|contribut", re.IGNORECASE
)
_HEADER_LINES: Final = 60
_HEADER_BYTES: Final = 6000
_COMMENT: Final = re.compile(r"\s*(?:#|//|/?\*|--|;|%|!|\"\"\"|'''|<!--|\{-|\(\*|rem\b|dnl\b|\.\.|=)", re.IGNORECASE)


@cache
def top_level_domains() -> frozenset[str]:
    """Return the top-level domains there are, in small letters, those in other scripts in both spellings."""
    text = (files("starsmith") / "data" / "top_level_domains.txt").read_text(encoding="utf-8")
    return frozenset(line.lower() for line in text.splitlines() if line and not line.startswith("#"))


def find_addresses(texts: pa.LargeBinaryArray, settings: RedactionSettings) -> list[Span]:
    """Return the e-mail and IP addresses in valid UTF-8 texts that are not exempt, in order."""
    data, offsets = text_buffers(texts)
    view = data.data
    spans: list[Span] = []
    lines, row = _Lines(b""), -1
    all_found = candidates(data, offsets)
    of_interest = (all_found[:, KIND] != IPV4_CANDIDATE) | _public_ipv4(all_found[:, MIDDLE])
    for found in all_found[of_interest].tolist():
        first, end = int(offsets[found[ROW]]), int(offsets[found[ROW] + 1])
        if found[KIND] == IPV4_CANDIDATE and found[ROW] != row:
            lines, row = _Lines(bytes(view[first:end])), found[ROW]
        spans += _judged(view, first, end, found, lines, settings)
    return spans


def _judged(
    view: memoryview, first: int, end: int, found: list[int], lines: "_Lines", settings: RedactionSettings
) -> Iterator[Span]:
    start, stop = found[START], found[END]
    if found[KIND] == EMAIL_CANDIDATE:
        if settings.emails and _is_email(view, first, end, found, settings):
            yield Span(found[ROW], EMAIL, start - first, stop - first)
    elif not settings.ip_addresses:
        return
    elif found[KIND] == IPV4_CANDIDATE:
        if _is_address(bytes(view[start:stop]), *lines.around(start - first, stop - first)):
            yield Span(found[ROW], IPV4, start - first, stop - first)
    elif is_public_ipv6(bytes(view[start:stop]).decode()):
        yield Span(found[ROW], IPV6, start - first, stop - first)


@cache
def _dns_servers() -> Indices:
    return np.array([int(ipaddress.IPv4Address(server)) for server in sorted(DNS_SERVERS)], np.int64)


def is_public_ipv4(address: int) -> bool:
    """Whether 32 bits are some machine's address: neither special (private, documentation …) nor a listed DNS server.

    >>> [is_public_ipv4(int(ipaddress.IPv4Address(text))) for text in ("93.184.216.34", "192.168.0.1", "8.8.8.8")]
    [True, False, False]
    """
    return bool(_public_ipv4(np.array([address], np.int64))[0])


def _public_ipv4(addresses: Indices) -> npt.NDArray[np.bool_]:
    special = np.isin(addresses, _dns_servers())
    for network, mask in _NOT_PUBLIC_IPV4:
        special |= addresses & mask == network
    return ~special


def is_public_ipv6(text: str) -> bool:
    """Whether `text` is an address in 2000::/3, the public ones, and neither special nor a listed DNS server.

    >>> [is_public_ipv6(text) for text in ("2a00:1450:4001::200e", "2001:db8::1", "2020:10:20", "std::a")]
    [True, False, False, False]
    """
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    if int(address) >> 125 != 1 or str(address) in DNS_SERVERS_IPV6:
        return False
    if address.sixtofour is not None and not is_public_ipv4(int(address.sixtofour)):
        return False
    return not any(address in network for network in _NOT_PUBLIC_IPV6)


def _is_address(numbers: bytes, before: str, after: str) -> bool:
    """Whether four numbers are an address rather than a version or the number of a section (section 5).

    `before` and `after` are the rest of the line as `_Lines` has it.
    """
    if before.endswith(("+", "$")) or (before.endswith("-") and not before.endswith("#-")):
        return False
    if after.startswith("-") and not _RANGE_AFTER.match(after):
        return False
    near = before[-40:] + " " + after[:40]
    if near.count(".") > 2 and len(_DECIMALS.findall(near)) > 2:
        return False
    line = (before + " " + after).lower()
    if len(numbers) == _SHORT_IPV4 and not any(word in line for word in _ABOUT_SERVICES):
        return False
    if any(word in line for word in _ABOUT_ADDRESSES) or ("ip" in line and _IP.search(line)):
        return True
    highest = max(map(int, numbers.split(b".")[:2]))
    if highest < _MOST_OF_VERSION and (highest < 10 or before.endswith("@") or _NUMBERED.search(before[-40:])):
        return False
    if _PRODUCT.search(before[-40:]) and "//" not in before[-40:]:
        return False
    return not _follows_version_words(before.lower())


class _Lines:
    """The lines around the addresses of one text, asked for in order. Each is gone through once, however many addresses
    stand in it."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._begin, self._end = 0, -1
        self._line = ""
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._places: list[int] = []

    def around(self, start: int, stop: int) -> tuple[str, str]:
        """Return up to _AROUND characters of the line on either side, every address being one character ``#``.

        So nothing depends on how long the other addresses are, which redaction changes.
        """
        if stop > self._end:
            self._read_line(start, stop)
        before, after = self._place(start), self._place(stop)
        return self._line[max(0, before - _AROUND) : before], self._line[after : after + _AROUND]

    def _read_line(self, start: int, stop: int) -> None:
        # No further back than the end of the last line: all lines together are searched once.
        begin = self._text.rfind(b"\n", max(0, self._end), start) + 1 or max(0, self._end)
        self._begin = self._text.rfind(b"\r", begin, start) + 1 or begin
        line_break = _LINE_BREAK.search(self._text, stop)
        self._end = line_break.start() if line_break else len(self._text)
        found = [match.span() for match in _ANY_ADDRESS.finditer(self._text, self._begin, self._end)]
        self._starts, self._ends = [first for first, _ in found], [last for _, last in found]
        bounds = [self._begin, *(bound for span in found for bound in span), self._end]
        pieces = [self._text[first:last] for first, last in zip(bounds[::2], bounds[1::2], strict=True)]
        self._places = list(accumulate((len(piece) + 1 for piece in pieces[:-1]), initial=-1))[1:]
        self._line = b"#".join(pieces).decode("latin-1")

    def _place(self, position: int) -> int:
        """Return where in the line as it is read a byte of the text stands; within an address, where that ends."""
        last = bisect_left(self._starts, position) - 1
        if last < 0:
            return position - self._begin
        return self._places[last] + 1 + max(0, position - self._ends[last])


def _follows_version_words(before: str) -> bool:
    if any(word in before for word in _ABOUT_VERSIONS):
        return True
    return bool(_SHORT_VERSION_WORDS.search(before) or _VERSION_FOLLOWS.search(before[-4:]))


def _is_email(view: memoryview, first: int, end: int, found: list[int], settings: RedactionSettings) -> bool:
    start, stop = found[START], found[END]
    address = bytes(view[start:stop]).decode("utf-8", errors="replace")
    local, domain = address.split("@", 1)
    if not _is_domain(domain) or ".." in local:
        return False
    before = bytes(view[max(first, start - 64) : start]).decode("latin-1")
    after = bytes(view[stop : min(end, stop + 2)]).decode("latin-1")
    if _is_code(local, before, after):
        return False
    if settings.keep_example_emails and _EXAMPLE_DOMAIN.fullmatch(domain):
        return False
    if settings.keep_placeholder_emails and _NOBODY.fullmatch(address):
        return False
    return not (settings.keep_licence_authors and _is_licence_author(view, first, end, start, stop))


def _is_domain(domain: str) -> bool:
    labels = domain.split(".")
    if labels[-1].lower() not in top_level_domains():
        return False
    return all(0 < len(label) < 64 and label[0] != "-" and label[-1] != "-" for label in labels)


def _is_code(local: str, before: str, after: str) -> bool:
    """Whether an ``@`` between names is syntax: a clone URL, a login, a format string, a call, a version."""
    if local in {"git", "hg", "svn"} and (after[:1] in {":", "/"} or before.endswith("://")):
        return True
    if before.endswith("://") or re.search(r"://[^\s/@\"'<>]*:$", before):
        return True
    if local.startswith("%") or local.endswith("%") or before[-1:] in {"@", "$", "}", "\\"} or "%" in local[:2]:
        return before[-1:] != "\\" or len(local) < 2
    return after[:1] in {"(", "[", "="} or (after[:1] == "/" and before[-1:] == "/")


def _is_licence_author(view: memoryview, first: int, end: int, start: int, stop: int) -> bool:
    """Whether an address stands in a line about authors, or right below one, in the comment a text begins with."""
    if start - first > _HEADER_BYTES:
        return False
    head = bytes(view[first : min(end, stop + _AROUND)]).decode("latin-1")
    lines = head[: start - first].split("\n")
    if len(lines) > _HEADER_LINES:
        return False
    lines[-1] += head[start - first :].partition("\n")[0]
    if not _in_comment(lines):
        return False
    for line in reversed(lines):
        if _COPYRIGHT.search(line):
            return True
        if "@" not in line:
            return False
    return False


def _in_comment(lines: list[str]) -> bool:
    """Whether the last of these lines still belongs to a comment: marked itself, or in an open block."""
    if _COMMENT.match(lines[-1]):
        return True
    head = "\n".join(lines)
    return any(head.rfind(opener) > head.rfind(closer) >= -1 for opener, closer in (("/*", "*/"), ("<!--", "-->"))) or (
        head.count('"""') % 2 == 1
    )
