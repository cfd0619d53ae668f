import ipaddress

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate.findings import resolve
from starsmith.curate.personal_data import (
    _ANY_ADDRESS,
    DNS_SERVERS,
    _Lines,
    find_addresses,
    is_public_ipv4,
    is_public_ipv6,
    top_level_domains,
)
from starsmith.settings import RedactionSettings

ALL = RedactionSettings(keep_example_emails=False, keep_placeholder_emails=False, keep_licence_authors=False)
PUBLIC = "93.184.216.34"
PUBLIC_V6 = "2a01:4f8:c17:2b1e::42"


def found(text: str, settings: RedactionSettings = ALL) -> list[tuple[str, str]]:
    content = text.encode()
    spans = resolve(find_addresses(pa.array([content], pa.large_binary()), settings)).spans()
    return [(span.kind, content[span.start : span.end].decode()) for span in spans]


@pytest.mark.parametrize(
    "address",
    ["ana.b@corp.io", "A_B-c+d%e@mail.uni-x.ac.uk", "x@y.de", "1@2mail.com", "jürgen@müller.de", "o'k@firm.com"[2:]],
)
@pytest.mark.parametrize(
    "around", ["{}", "<{}>", "mailto:{}", "mail {}.", '"{}",', "a;{};b", "({})", "x\n{}\ny", "{},{}"]
)
def test_emails(address, around):
    assert found(around.replace("{}", address)) == [("email", address)] * around.count("{}")


@pytest.mark.parametrize(
    "text",
    [
        "git@github.com:owner/project.git",
        "ssh://git@host.org/x",
        "svn+ssh://svn@svn.host.org/trunk",
        "left-pad@1.3.0 tool@2.x",
        "icon@2x.png",
        "@app.route('/x')",
        "a@b",
        "w@x.T",
        "y@x.mean(axis=0)",
        "app@sha256:abcdef",
        "golang.org/x/net@v0.17.0",
        "%s@%s.com",
        "${user}@host.com"[1:],
        "a..b@corp.io",
        "x@-corp.io",
        "x@corp-.io",
        "x@corp.notadomain",
        "https://user:word@host.com/",
        "x" * 70 + "@corp.io",
    ],
)
def test_syntax_with_an_at_sign_is_no_email(text):
    assert found(text) == []


def test_examples_and_nobody_are_an_option():
    texts = ["you@example.com", "x@sub.example.org", "noreply@corp.io", "1+b@users.noreply.github.com"]
    assert all(found(text) == [("email", text)] for text in texts)
    assert all(found(text, RedactionSettings()) == [] for text in texts)
    assert found("user@domain.com", RedactionSettings()) == []
    assert found("anna@domains.com", RedactionSettings()) == [("email", "anna@domains.com")]


HEADER = "# Copyright (c) 2010 Ana B <ana@corp.io>\n#               2011 Bo C <bo@corp.io>\n\n"


def test_licence_authors_are_an_option():
    code = HEADER + 'MAIL = "ana@corp.io"\n'
    assert [value for _, value in found(code)] == ["ana@corp.io", "bo@corp.io", "ana@corp.io"]
    kept = find_addresses(pa.array([code.encode()], pa.large_binary()), RedactionSettings())
    assert [code[span.start : span.end] for span in kept] == ["ana@corp.io"]
    assert kept[0].start > len(HEADER)
    block = "/*\n * Author: Ana B (ana@corp.io)\n */\nint x;\n"
    assert found(block, RedactionSettings()) == []
    assert found("x = 1\n" * 70 + HEADER, RedactionSettings()) != []


@pytest.mark.parametrize(
    "around", ["host = '{}'", "http://{}:80/x", "ping {}", "{}/24", "root@{}", "a,{},b", "{}-93.184.216.40"]
)
def test_ipv4(around):
    assert found(around.format(PUBLIC))[0] == ("ipv4", PUBLIC)


@pytest.mark.parametrize(
    "text",
    [
        "version 93.14.2.30",
        'Version="4.12.0.19"',
        "tool-2.18.4.30.tar.gz",
        "v2.18.4.30",
        "1.3.6.1.4.1.311",
        "tool==2.18.14.30",
        "Chrome/120.0.109.99",
        "see section 8.12.14.30",
        "1.2.3.4",
        "93.184.216.34.5",
        "93.184.216.034",
        "93.184.216.256",
        "Guile 3.0.5.130",
        "['7.1.4.34', 1806]",
        "1.08.58 1.23.82.72 1.21 1.87.87 2.33.66.07",
        *sorted(DNS_SERVERS),
        "127.0.0.1 10.1.22.33 192.168.10.20 172.16.31.10 169.254.10.20 0.0.0.0 255.255.255.0 203.0.113.77 239.1.22.33",
    ],
)
def test_no_ipv4(text):
    assert found(text) == []


def test_short_address_counts_beside_its_service_only():
    assert found("dns 5.6.7.9") == [("ipv4", "5.6.7.9")]
    assert found("part 5.6.7.9") == []


def test_ipv6():
    for around in ("{}", "http://[{}]:443/", "AAAA {}", '"{}",', "{}/64"):
        assert found(around.format(PUBLIC_V6)) == [("ipv6", PUBLIC_V6)]
    full = "2a01:04f8:0c17:2b1e:0000:0000:0000:0042"
    assert found(full) == [("ipv6", full)]


@pytest.mark.parametrize(
    "text",
    [
        "::1",
        "fe80::1",
        "2001:db8::1",
        "fd00::1",
        "std::vector",
        "2020:10:20",
        "52:54:00:ab:cd:ef",
        "2001:4860:4860::8888",
        "3a:2b:1c",
        "2a01::4f8::1",
        "12:45:33",
        "x2a01:4f8::1",
        "2a01:4f8:zz::1",
    ],
)
def test_no_ipv6(text):
    assert found(text) == []


@given(st.integers(0, 2**32 - 1))
def test_public_ipv4_are_those_the_standard_library_calls_global(bits):
    address = ipaddress.IPv4Address(bits)
    if is_public_ipv4(bits):
        assert address.is_global
        assert not address.is_multicast
        assert str(address) not in DNS_SERVERS


@given(st.integers(2**125, 2**126 - 1))
def test_public_ipv6_are_global(bits):
    text = str(ipaddress.IPv6Address(bits))
    if is_public_ipv6(text):
        assert ipaddress.IPv6Address(text).is_global


def test_either_sort_can_be_left_out():
    text = f"a@corp.io at {PUBLIC}"
    assert [kind for kind, _ in found(text)] == ["email", "ipv4"]
    assert [kind for kind, _ in found(text, RedactionSettings(emails=False))] == ["ipv4"]
    assert [kind for kind, _ in found(text, RedactionSettings(ip_addresses=False))] == ["email"]


def test_the_list_of_top_level_domains_is_whole():
    assert len(top_level_domains()) > 1400
    assert {"com", "de", "museum", "xn--p1ai"} <= top_level_domains()


PIECES = st.sampled_from(["1.2.3.4", PUBLIC, PUBLIC_V6, "::1:", "x", " ", ", ", "0:0:0:", "version ", "é"])


@given(st.lists(st.lists(PIECES, max_size=12).map(" ".join), min_size=1, max_size=4), st.sampled_from("\n\r"))
def test_the_rest_of_a_line_is_that_of_the_line_alone(lines, line_break):
    text = line_break.join(lines).encode()
    asked, begin = _Lines(text), 0
    for line in (line.encode() for line in lines):
        for match in _ANY_ADDRESS.finditer(line):
            before = _ANY_ADDRESS.sub(b"#", line[: match.start()]).decode("latin-1")[-100:]
            after = _ANY_ADDRESS.sub(b"#", line[match.end() :]).decode("latin-1")[:100]
            assert asked.around(begin + match.start(), begin + match.end()) == (before, after)
        begin += len(line) + 1
