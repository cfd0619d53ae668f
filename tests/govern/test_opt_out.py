"""Opt-outs: which origins a request means, and a list that is whole or an error."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.document import Origin, content_id, origin_id, swhid
from starsmith.errors import StarsmithError
from starsmith.govern.opt_out import (
    CONTENTS_FILE,
    OptOuts,
    Request,
    add,
    checked,
    read,
    record_contents,
)
from starsmith.govern.opt_out_names import CASE_INSENSITIVE_HOSTS, folded, place_of, shown_place
from starsmith.sources.archive_metadata import identity, unnamed
from starsmith.sources.git_remote import repository_name
from starsmith.storage import Store

CYRILLIC_A, KELVIN = "\u0430", "\u212a"


def cloned(remote: str, **more: bytes) -> Origin:
    """The origin of a clone, named as the git source names it."""
    found = repository_name(f'[remote "origin"]\n url = {remote}', Path("/somewhere/folder/clone"))
    return origin(found.url, found.owner, found.name, **more)


def origin(url: str, owner: str, name: str, **more: bytes) -> Origin:
    return Origin(source="git", url=url, owner=owner, name=name, location="", state="", **more)  # type: ignore[arg-type]


def packed(file_name: str, metadata: str) -> Origin:
    """The origin of an archive, named as the archive source names it."""
    found = identity(file_name, "0" * 64, metadata.encode())
    return origin(found.url, found.owner, found.name)


def means(kind: str, value: str, of: Origin, *aliases: str) -> bool:
    """Whether a request takes an origin out, as it was written and as it is kept."""
    request = Request(kind=kind, value=value, aliases=aliases)
    answers = {OptOuts(requests=(each,)).is_left(of) for each in (request, checked(request))}
    assert len(answers) == 1
    return answers.pop()


GITHUB = cloned("https://github.com/Acme/Tool.git")
UNKNOWN = cloned("https://git.example.org/Acme/Tool.git")
LOCAL = cloned("/srv/elsewhere")
NESTED = cloned("https://gitlab.com/group/sub/tool")
KERNEL = cloned("git://git.kernel.org/pub/scm/linux/kernel/git/penguin/linux.git")
SOURCEHUT = cloned("https://git.sr.ht/~sir/tool")
SCOPED = packed("acme-tool-1.0.0.tgz", '{"name": "@acme/tool", "version": "1.0.0"}')
UNSCOPED = packed("tool-1.0.0.tgz", '{"name": "tool", "version": "1.0.0"}')
WHEEL = packed("Foo_Bar-1.0-py3-none-any.whl", "Name: Foo.Bar\nVersion: 1.0\n")
CRATE = packed("foo_bar-1.0.0.crate", '[package]\nname = "foo_bar"\nversion = "1.0.0"\n')
LIBRARY = origin("pkg:generic/python@3.11.2", "python", "cpython-stdlib")


# ---- owners and repositories


@pytest.mark.parametrize(
    ("kind", "value", "of", "expected"),
    [
        ("owner", "acme", GITHUB, True),
        ("owner", "ACME", GITHUB, True),
        ("owner", "Acme", UNKNOWN, True),
        ("owner", "acme", UNKNOWN, False),
        ("owner", "acme", cloned("https://gitlab.example.org/ACME/x"), True),
        ("owner", "acme", cloned("https://www.github.com/Acme/x"), True),
        ("owner", "acm", GITHUB, False),
        ("owner", "acmecorp", GITHUB, False),
        ("owner", "Tool", GITHUB, False),
        ("owner", f"{CYRILLIC_A}cme", GITHUB, False),
        ("owner", "acme", origin(f"https://github.com/{CYRILLIC_A}cme/x", f"{CYRILLIC_A}cme", "x"), False),
        ("owner", "FOLDER", LOCAL, True),
        ("owner", "@acme", GITHUB, True),
        ("owner", "acme/", GITHUB, True),
        ("owner", "group", NESTED, True),
        ("owner", "Group/Sub", NESTED, True),
        ("owner", "sub", NESTED, True),
        ("owner", "group/other", NESTED, False),
        ("owner", "group/sub/tool", NESTED, False),
        ("owner", "penguin", KERNEL, True),
        ("owner", "sir", SOURCEHUT, True),
        ("owner", "~Sir", SOURCEHUT, True),
        ("owner", "acme", SCOPED, True),
        ("owner", "npm", UNSCOPED, False),
        ("owner", "pypi", WHEEL, False),
        ("owner", "cargo", CRATE, False),
        ("owner", "archive", origin(unnamed("a.zip", "12").url, "archive", "a.zip"), False),
        ("owner", "npm", cloned("https://github.com/npm/cli"), True),
        ("owner", "python", LIBRARY, True),
        ("repository", "acme/tool", GITHUB, True),
        ("repository", "ACME/TOOL.git", GITHUB, True),
        ("repository", "acme/tool", UNKNOWN, False),
        ("repository", "Acme/Tool", UNKNOWN, True),
        ("repository", "acme/tool2", GITHUB, False),
        ("repository", "acme/too", GITHUB, False),
        ("repository", "group/sub/tool", NESTED, True),
        ("repository", "sub/tool", NESTED, True),
        ("repository", "group/tool", NESTED, False),
        ("repository", "group/sub", NESTED, False),
        ("repository", "folder/CLONE", LOCAL, True),
        ("repository", "@acme/tool", SCOPED, True),
        ("repository", "npm/tool", UNSCOPED, True),
        ("repository", "npm/tool", SCOPED, False),
        ("repository", "pypi/FOO-bar", WHEEL, True),
        ("repository", "PyPI/foo__bar", WHEEL, True),
        ("repository", "pypi/foo", WHEEL, False),
        ("repository", "cargo/Foo-Bar", CRATE, True),
    ],
)
def test_who_is_meant(kind: str, value: str, of: Origin, *, expected: bool) -> None:
    assert means(kind, value, of) is expected


@pytest.mark.parametrize("host", sorted(CASE_INSENSITIVE_HOSTS))
def test_hosts_without_case(host: str) -> None:
    of = cloned(f"https://{host}/Acme/Tool")
    assert means("owner", "aCME", of)
    assert means("repository", "aCME/tOOL", of)
    assert means("origin", f"https://{host}/aCME", of)


def test_former_names_follow_the_same_rules() -> None:
    assert means("owner", "new", GITHUB, "older", "ACME")
    assert not means("owner", "new", UNKNOWN, "acme")
    assert means("repository", "new/tool", GITHUB, "acme/TOOL")
    assert means("origin", "https://example.org/new", GITHUB, "https://github.com/acme")
    assert not means("origin", "https://example.org/new", GITHUB, "https://github.com/ac")


NAMES = st.text("abcABC-_", min_size=1, max_size=6)


@given(NAMES, NAMES, st.sampled_from(["github.com", "gitlab.com", "git.example.org"]))
def test_case_matters_where_the_host_says_so(asked: str, owner: str, host: str) -> None:
    of = cloned(f"https://{host}/{owner}/x")
    equal = asked == owner if host == "git.example.org" else asked.lower() == owner.lower()
    assert means("owner", asked, of) is equal
    assert means("repository", f"{asked}/x", of) is equal
    assert means("origin", f"https://{host}/{asked}", of) is equal


@given(st.text(), st.text())
def test_folding_never_mixes_scripts_up(one: str, other: str) -> None:
    assert folded(folded(one)) == folded(one)
    assert folded(one) == folded(one.lower()) or not one.isascii()
    if one.isascii() and other.isascii():
        assert (folded(one) == folded(other)) == (one.lower() == other.lower())


# ---- places


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.com/Acme/Tool",
        "http://github.com/acme/tool/",
        "https://www.GitHub.com/acme/tool.git",
        "git://github.com/acme/tool.git",
        "ssh://git@github.com:22/acme/tool",
        "git@github.com:acme/tool.git",
        "github.com:acme/tool.git",
        "https://github.com/acme",
        "https://github.com/acme/",
        "git@github.com:acme",
        "https://github.com/%61cme",
        "https://github.com/acme?tab=repositories",
        "https://github.com",
        "https://github.com./acme",
    ],
)
def test_forms_of_the_same_place(remote: str) -> None:
    assert means("origin", remote, GITHUB)
    assert not means("origin", remote, cloned("https://github.example.org/acme/tool"))
    if "acme" in remote.lower():
        assert not means("origin", remote, cloned("https://github.com/acmecorp/tool"))
    if "tool" in remote.lower():
        assert not means("origin", remote, cloned("https://github.com/acme/toolbox"))


@pytest.mark.parametrize(
    ("value", "of", "expected"),
    [
        ("local:folder", LOCAL, True),
        ("local:Folder/clone", LOCAL, True),
        ("local:fold", LOCAL, False),
        ("pkg:pypi/Foo.Bar", WHEEL, True),
        ("pkg:pypi/foo-bar@1.0", WHEEL, True),
        ("pkg:pypi/foo-bar@1.0.1", WHEEL, False),
        ("pkg:pypi/foo", WHEEL, False),
        (WHEEL.url, WHEEL, True),
        ("pkg:npm/@acme", SCOPED, True),
        ("pkg:npm/%40Acme/tool@1.0.0", SCOPED, True),
        ("pkg:npm/acme", SCOPED, False),
        ("pkg:npm/tool", SCOPED, False),
        ("pkg:npm/tool", UNSCOPED, True),
        ("pkg:generic/python", LIBRARY, True),
        ("https://git.example.org:8443", cloned("https://git.example.org:8443/a/b"), True),
        ("https://git.example.org", cloned("https://git.example.org:8443/a/b"), False),
        ("https://git.sr.ht/~sir", SOURCEHUT, True),
    ],
)
def test_places_of_other_kinds(value: str, of: Origin, *, expected: bool) -> None:
    assert means("origin", value, of) is expected


PARTS = st.lists(st.text("ab.-_", min_size=1, max_size=3).filter(lambda part: part.strip(".")), min_size=1, max_size=4)


@given(PARTS, PARTS)
def test_a_place_is_a_beginning_at_a_boundary(asked: list[str], path: list[str]) -> None:
    url = "/".join(("https://git.example.org", *path))
    of, start = place_of(url), place_of("/".join(("https://git.example.org", *asked)))
    if of is None or start is None:
        return
    request = Request(kind="origin", value=shown_place(start))
    is_beginning = of[: len(start)] == start
    assert OptOuts(requests=(request,)).is_left(origin(url, "owner", "name")) is is_beginning


@given(st.text("ab~@%-._:/?2f", max_size=30), st.sampled_from(["https://h.org/", "pkg:npm/", "local:", "git@h.org:"]))
def test_a_place_is_shown_as_what_it_is(rest: str, start: str) -> None:
    parts = place_of(start + rest)
    if parts is not None and not any(char in part for part in parts[1:] for char in "%/?@:\ufffd"):
        assert place_of(shown_place(parts)) == parts


# ---- objects

ONE, TWO = bytes(range(20)), bytes(20)


def test_objects() -> None:
    of = cloned("https://github.com/a/b", revision_id=ONE, directory_id=TWO)
    assert means("swhid", swhid("rev", ONE), of)
    assert means("swhid", swhid("dir", TWO), of)
    assert means("swhid", swhid("ori", origin_id("https://github.com/a/b")), of)
    assert means("swhid", f"{swhid('rev', ONE).upper().replace('SWH:1:REV', 'swh:1:rev')};path=/x", of)
    for kind, identifier in (("rev", TWO), ("dir", ONE), ("ori", ONE), ("cnt", ONE), ("cnt", TWO)):
        assert not means("swhid", swhid(kind, identifier), of)
    assert not means("swhid", swhid("rev", ONE), cloned("https://github.com/a/b"))


def test_contents(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    add(store, Request(kind="swhid", value=swhid("cnt", ONE)))
    assert read(store).contents == {ONE}
    assert record_contents(store, [TWO, content_id(b"")])
    assert not record_contents(store, [TWO])
    assert record_contents(store, {ONE})
    assert read(store).contents == {ONE, TWO}
    assert read(store).recorded == {ONE, TWO}
    before = store.read(CONTENTS_FILE)
    record_contents(store, [TWO, ONE])
    assert store.read(CONTENTS_FILE) == before


# ---- what is refused


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("owner", "", "is empty; expected the name"),
        ("owner", " \t ", "is empty"),
        ("owner", "a" * 3000, "3000 characters"),
        ("owner", "acme/*", "no wildcard"),
        ("owner", "https://github.com/acme", "is a place on one host"),
        ("owner", "github.com/acme", "is a place on one host"),
        ("owner", "a//b", "a part that is no name"),
        ("owner", "../x", "a part that is no name"),
        ("owner", "@", "a part that is no name"),
        ("owner", "=HYPERLINK(1)", "no name on a host can"),
        ("owner", "a\0b", r"invisible character U\+0000"),
        ("owner", "ac\u200bme", r"invisible character U\+200B"),
        ("owner", "\u202eemca", r"invisible character U\+202E"),
        ("owner", "\ud800", r"invisible character U\+D800"),
        ("repository", "acme", "names no owner"),
        ("repository", "acme/", "names no owner"),
        ("repository", "/tool", "a part that is no name"),
        ("repository", "www.github.com/acme/tool", "is a place on one host"),
        ("origin", "github.com/acme", "no URL of a place"),
        ("origin", "ftp://example.org/a", "no URL of a place"),
        ("origin", "/srv/git", "no URL of a place"),
        ("origin", "https://", "no URL of a place"),
        ("origin", "https:///acme", "no URL of a place"),
        ("origin", "https://[::1/acme", "no URL of a place"),
        ("origin", "pkg:pypi", "no URL of a place"),
        ("origin", "local:", "no URL of a place"),
        ("origin", "word:word", "no URL of a place"),
        ("origin", "https://github.com/acme/*", "no wildcard"),
        ("origin", "https://github.com/acme/tool/tree/main", "is a page of a repository"),
        ("origin", "https://gitlab.com/acme/tool/-/issues", "is a page of a repository"),
        ("origin", "https://github.com/a%00", "invisible character"),
        ("swhid", "swh:1:cnt:12", "not a SWHID"),
        ("swhid", "swh:1:cnt:" + "ab " * 13 + "a", "SWHID"),
        ("swhid", swhid("snp", ONE), "origins carry no snapshot id"),
        ("swhid", swhid("cnt", content_id(b"")), "the empty file"),
        ("person", "me", "no kind of request"),
    ],
)
def test_what_is_refused(kind: str, value: str, words: str) -> None:
    with pytest.raises(StarsmithError, match=words):
        checked(Request(kind=kind, value=value))


@pytest.mark.parametrize("kind", ["owner", "repository", "origin"])
@pytest.mark.parametrize("value", ["https://me:hunter2@example.org/a", "https://hunter2@example.org/a"])
def test_a_credential_is_refused_and_not_repeated(kind: str, value: str) -> None:
    for request in (Request(kind=kind, value=value), Request(kind=kind, value="a/b", aliases=(value,))):
        with pytest.raises(StarsmithError) as error:
            checked(request)
        assert "hunter2" not in str(error.value)


def test_a_swhid_has_no_former_names() -> None:
    with pytest.raises(StarsmithError, match="no former names"):
        checked(Request(kind="swhid", value=swhid("cnt", ONE), aliases=("x",)))


def test_notes() -> None:
    assert checked(Request(kind="owner", value="a", note=" two\n lines ")).note == "two lines"
    for note in ("a\0", "x" * 3000):
        with pytest.raises(StarsmithError, match="note"):
            checked(Request(kind="owner", value="a", note=note))
