"""The list of opt-outs: it comes back as it was put down, or is an error; it is never silently empty."""

import os
import random
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.document import Origin, content_id, swhid
from starsmith.errors import StarsmithError
from starsmith.govern.opt_out import (
    CONTENTS_FILE,
    REQUESTS_FILE,
    OptOuts,
    Request,
    add,
    add_all,
    read,
    record_contents,
)
from starsmith.sources.git_remote import repository_name
from starsmith.storage import Store, sealed

ONE, TWO = bytes(range(20)), bytes(20)


def cloned(remote: str, **more: bytes) -> Origin:
    """The origin of a clone, named as the git source names it."""
    found = repository_name(f'[remote "origin"]\n url = {remote}', Path("/somewhere/folder/clone"))
    return origin(found.url, found.owner, found.name, **more)


def origin(url: str, owner: str, name: str, **more: bytes) -> Origin:
    return Origin(source="git", url=url, owner=owner, name=name, location="", state="", **more)  # type: ignore[arg-type]


OWNERS = st.text("aAbB\u00e9e\u0301~@", min_size=1, max_size=4).filter(lambda name: name.strip("@~\u0301"))
REQUESTS = st.one_of(
    st.builds(Request, kind=st.just("owner"), value=OWNERS, aliases=st.lists(OWNERS, max_size=2).map(tuple)),
    st.builds(Request, kind=st.just("repository"), value=st.builds("{}/{}".format, OWNERS, OWNERS)),
    st.builds(
        Request,
        kind=st.just("origin"),
        value=st.sampled_from(["https://github.com/a", "git@github.com:A", "https://git.example.org/A"]),
        note=st.sampled_from(["", "one", "two"]),
    ),
    st.builds(Request, kind=st.just("swhid"), value=st.sampled_from([swhid("cnt", ONE), swhid("rev", ONE)])),
)
ORIGINS = [
    cloned(f"https://{host}/{owner}/{name}", revision_id=revision)
    for host in ("github.com", "git.example.org")
    for owner in ("a", "A", "b", "aB")
    for name in ("a", "B")
    for revision in (ONE, TWO)
] + [origin("local:\u00e9/a", "\u00e9", "a")]


@given(st.lists(REQUESTS, max_size=8), st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(requests: list[Request], chance: random.Random) -> None:
    asked = OptOuts(requests=tuple(requests))
    shuffled = [*requests, *requests[:3]]
    chance.shuffle(shuffled)
    again = OptOuts(requests=tuple(shuffled))
    assert [asked.is_left(each) for each in ORIGINS] == [again.is_left(each) for each in ORIGINS]
    assert asked.contents == again.contents


@given(st.lists(REQUESTS, max_size=8))
def test_what_is_added_twice_is_there_once(tmp_path_factory: pytest.TempPathFactory, requests: list[Request]) -> None:
    store = Store(str(tmp_path_factory.mktemp("w")))
    add_all(store, requests)
    listed = read(store)
    assert not any(add_all(store, requests))
    assert read(store) == listed
    asked = OptOuts(requests=tuple(requests))
    assert [asked.is_left(each) for each in ORIGINS] == [listed.is_left(each) for each in ORIGINS]
    assert asked.contents == listed.contents
    one_by_one = Store(str(tmp_path_factory.mktemp("w")))
    for request in requests:
        add(one_by_one, request)
    undated = [[replace(each, added="") for each in read(kept).requests] for kept in (store, one_by_one)]
    assert undated[0] == undated[1]


def test_a_second_request_adds_what_it_knows(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert add(store, Request(kind="owner", value="Acme", note="by mail", added="2024-01-01T00:00:00Z"))
    assert add(store, Request(kind="owner", value="acme", aliases=("old",), note="and again"))
    assert not add(store, Request(kind="owner", value="acme", aliases=("Acme", "old"), note="by mail"))
    (request,) = read(store).requests
    assert request.value == "Acme"
    assert request.aliases == ("acme", "old")
    assert request.note == "by mail; and again"
    assert request.added == "2024-01-01T00:00:00Z"


def test_requests_come_back_in_order_and_dated(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    names = ["c", "a", "b"]
    add_all(store, [Request(kind="owner", value=name) for name in names])
    add(store, Request(kind="repository", value="a/b"))
    listed = read(store).requests
    assert [request.value for request in listed] == [*names, "a/b"]
    assert all(len(request.added) == 20 and request.added.endswith("Z") for request in listed)
    of = cloned("https://github.com/a/b")
    assert [request.value for request in read(store).matching(of)] == ["a", "a/b"]
    assert read(store).matching(cloned("https://github.com/x/y")) == ()


def test_a_malformed_request_adds_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with pytest.raises(StarsmithError):
        add_all(store, [Request(kind="owner", value="a"), Request(kind="owner", value="")])
    assert read(store) == OptOuts()


def test_the_list_is_for_its_owners_eyes(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    add(store, Request(kind="owner", value="a"))
    record_contents(store, [ONE])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, *tmp_path.rglob("opt_outs*/**"))}
    files = {name: stat.S_IMODE(os.stat(store.path(name)).st_mode) for name in (REQUESTS_FILE, CONTENTS_FILE)}
    assert modes["opt_outs"] == 0o700
    assert set(files.values()) == {0o600}


def test_no_file_is_an_empty_list(tmp_path: Path) -> None:
    assert read(Store(str(tmp_path))) == OptOuts()


def plain(**changes: object) -> dict[str, object]:
    return {"kind": "owner", "value": "a", "aliases": [], "note": "", "added": "2024-01-01T00:00:00Z"} | changes


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"format": 1}',
        sealed({"format": 1}),
        sealed({"format": 2, "requests": []}),
        sealed({"format": 1, "requests": None}),
        sealed({"format": 1, "requests": [{}]}),
        sealed({"format": 1, "requests": [plain(kind="x")]}),
        sealed({"format": 1, "requests": [plain(value=3)]}),
        sealed({"format": 1, "requests": [plain(value="")]}),
        sealed({"format": 1, "requests": [plain(aliases=None)]}),
        sealed({"format": 1, "requests": [plain(aliases=[3])]}),
        sealed({"format": 1, "requests": [plain(more=1)]}),
        sealed({"format": 1, "requests": [plain(added="")]}),
    ],
)
def test_a_damaged_list_is_never_an_empty_one(tmp_path: Path, data: bytes) -> None:
    store = Store(str(tmp_path))
    store.write(REQUESTS_FILE, data)
    for use in (lambda: read(store), lambda: add(store, Request(kind="owner", value="b"))):
        with pytest.raises(StarsmithError, match=r"requests\.json is damaged"):
            use()
    assert store.read(REQUESTS_FILE) == data


def test_a_name_that_changed_on_disk_is_noticed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    add(store, Request(kind="owner", value="acme"))
    Path(store.path(REQUESTS_FILE)).write_bytes(store.read(REQUESTS_FILE).replace(b"acme", b"acne"))
    with pytest.raises(StarsmithError, match=r"requests\.json is damaged"):
        read(store)


def test_damaged_contents_are_never_none(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    ids = [content_id(b"%d" % number) for number in range(100)]
    record_contents(store, ids)
    whole = store.read(CONTENTS_FILE)
    at = whole.index(sorted(ids)[50])
    for data in (b"", whole[:-10], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
        Path(store.path(CONTENTS_FILE)).write_bytes(data)
        with pytest.raises(StarsmithError, match=r"contents\.parquet is damaged"):
            read(store)


def test_ten_thousand_requests_are_looked_up_and_not_gone_through() -> None:
    """Each origin costs a few look-ups: the list may grow without the work growing."""
    requests = [Request(kind="owner", value=f"owner{number}") for number in range(5_000)]
    requests += [Request(kind="origin", value=f"https://github.com/place{number}") for number in range(5_000)]
    listed = OptOuts(requests=tuple(requests))
    assert [request.value for request in listed.matching(cloned("https://github.com/owner77/x"))] == ["owner77"]
    assert [request.value for request in listed.matching(cloned("https://github.com/place4999/x"))] == [
        "https://github.com/place4999"
    ]
    assert not listed.is_left(cloned("https://github.com/owner/x"))
