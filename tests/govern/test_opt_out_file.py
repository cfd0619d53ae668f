"""Files of requests: every bad line is named, no good one is lost, whatever the bytes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.document import swhid
from starsmith.errors import StarsmithError
from starsmith.govern.opt_out_file import Line, read_file

CONTENT = swhid("cnt", bytes(20))


def lines_of(tmp_path: Path, data: bytes | str, name: str = "list.csv") -> list[Line]:
    file = tmp_path / name
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(read_file(file))


def taken(lines: list[Line]) -> list[tuple[str, str]]:
    return [(request.kind, request.value) for line in lines for request in line.requests]


def bad(lines: list[Line]) -> dict[int, str]:
    return {line.number: " ".join(line.problems) for line in lines if line.problems}


# ---- CSV


def test_every_column(tmp_path: Path) -> None:
    lines = lines_of(
        tmp_path,
        "owner,repo,origin,swhid,alias,note\n"
        'acme,,,,old; older ;,"a ""quoted"", note"\n'
        ",acme/tool,,,,\n"
        ",,https://github.com/x,,,\n"
        f",,,{CONTENT}\n",
    )
    assert bad(lines) == {}
    requests = [request for line in lines for request in line.requests]
    assert [(each.kind, each.value) for each in requests] == [
        ("owner", "acme"),
        ("repository", "acme/tool"),
        ("origin", "https://github.com/x"),
        ("swhid", CONTENT),
    ]
    assert (requests[0].aliases, requests[0].note) == (("old", "older"), 'a "quoted", note')


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_marks(tmp_path: Path, end: str, start: bytes) -> None:
    text = end.join(["", "Note, Owner ", "", ",a", ",,,", " , b ", "x", "", ",c"])
    lines = lines_of(tmp_path, start + text.encode())
    assert taken(lines) == [("owner", "a"), ("owner", "b"), ("owner", "c")]
    assert list(bad(lines)) == [7]


def test_bad_rows_are_named_and_cost_no_other(tmp_path: Path) -> None:
    rows = [
        b"owner,repo,note",
        b"a,b/c,",
        b",,only a note",
        b"good1,,",
        b'"never closed,,',
        b"good2,,",
        b'"a"b,,',
        b"a\0b,,",
        b"caf\xe9,,",
        b'good3,,"two',
        b'lines"',
        b"a,b,c,d",
        b"=cmd|' /C calc'!A0,,",
        b"+SUM(1),,",
        b"good4,,=1+1",
        b"x" * 200_000 + b",,",
        b",justaname,",
        b"https://me:hunter2@example.org/x,,",
        b"good5,,",
    ]
    lines = lines_of(tmp_path, b"\n".join(rows))
    assert [value for _, value in taken(lines)] == ["good1", "good2", "good3", "+SUM(1)", "good4", "good5"]
    problems = bad(lines)
    words = {
        2: "Owner and repo are given",
        3: "Nothing is given; expected exactly one of owner, repo, origin, swhid",
        5: "not CSV",
        7: "not CSV",
        8: "U+0000",
        9: "not UTF-8",
        12: "4 cells, the header 3",
        13: "no name on a host can",
        16: "field larger than",
        17: "names no owner",
        18: "a password",
    }
    assert problems.keys() == words.keys()
    assert [number for number, text in words.items() if text not in problems[number]] == []
    assert not any("hunter2" in problem for problem in problems.values())


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("owner;repo", "'owner;repo' is no column"),
        ("ownr,note", "'ownr' is no column"),
        ("alias,note", "this is no header"),
        ("owner,owner", "this is no header"),
        ('"owner', "this is no header"),
        ("acme", "'acme' is no column"),
    ],
)
def test_a_header_is_needed(tmp_path: Path, header: str, words: str) -> None:
    with pytest.raises(StarsmithError, match=r"list\.csv, line 1: ") as error:
        lines_of(tmp_path, f"{header}\na,b\n")
    assert words in str(error.value)


def test_a_file_of_two_byte_letters(tmp_path: Path) -> None:
    with pytest.raises(StarsmithError, match="is no column"):
        lines_of(tmp_path, "owner\nacme\n".encode("utf-16"))


# ---- JSON lines


def test_objects(tmp_path: Path) -> None:
    rows = [
        {"owner": "acme", "alias": ["old", "older"], "note": "n"},
        {"repo": "a/b", "alias": "c/d;e/f", "origin": None},
        {"origin": "pkg:pypi/tool"},
        {"issue": 12, "author": "me", "optout_owners": ["me", "mine"], "optout_repos": ["you/x"], "tags": {"a": [1]}},
        {"optout_owners": [], "optout_repos": []},
    ]
    lines = lines_of(tmp_path, "\n\n".join(map(json.dumps, rows)), "list.jsonl")
    assert bad(lines) == {}
    requests = [request for line in lines for request in line.requests]
    assert [(each.kind, each.value, each.aliases, each.note) for each in requests] == [
        ("owner", "acme", ("old", "older"), "n"),
        ("repository", "a/b", ("c/d", "e/f"), ""),
        ("origin", "pkg:pypi/tool", (), ""),
        ("owner", "me", (), "issue 12"),
        ("owner", "mine", (), "issue 12"),
        ("repository", "you/x", (), "issue 12"),
    ]


def test_bad_objects_are_named_and_cost_no_other(tmp_path: Path) -> None:
    rows = {
        b'{"owner": "good1"}': "",
        b'{"owner": 3}': "'owner' is a number; expected text",
        b'{"owner": "a", "alias": [1]}': "'alias' is not a list of texts",
        b'{"owner": "a", "alias": {"x": 1}}': "'alias' is an object",
        b'{"ownr": "a"}': "'ownr' is no key",
        b'{"owner": "a"': "not JSON",
        b"[" * 100_000: "nested too deeply",
        b'{"owner": ' + b"9" * 5000 + b"}": "not JSON",
        b'["a"]': "a list; expected one JSON object",
        b'"a"': "text; expected one JSON object",
        b"NaN": "a number; expected one JSON object",
        b"null": "null; expected one JSON object",
        b'{"owner": "\xff"}': "is not UTF-8",
        b'{"owner": "\\u0000"}': "U+0000",
        b'{"owner": "\\ud800"}': "U+D800",
        b'{"owner": "' + b"x" * (2 << 20) + b'"}': "expected at most",
        b'{"optout_owners": "a"}': "'optout_owners' is not a list of texts",
        b'{"optout_owners": ["good2", "", "good3"], "optout_repos": ["x"]}': "names no owner",
        b'{"owner": "good4", "owner": "good5"}': "",
    }
    lines = lines_of(tmp_path, b"\n".join(rows), "list.jsonl")
    assert [value for _, value in taken(lines)] == ["good1", "good2", "good3", "good5"]
    problems = bad(lines)
    expected = {number: words for number, words in enumerate(rows.values(), start=1) if words}
    assert problems.keys() == expected.keys()
    assert [number for number, words in expected.items() if words not in problems[number]] == []


def test_the_form_is_told_by_name_or_by_its_first_letter(tmp_path: Path) -> None:
    row = '{"owner": "a"}'
    for name in ("a.jsonl", "a.NDJSON", "a.txt", "a"):
        assert taken(lines_of(tmp_path, f"\n {row}", name)) == [("owner", "a")]
    assert bad(lines_of(tmp_path, "owner\na", "a.jsonl")).keys() == {1, 2}
    assert taken(lines_of(tmp_path, "owner\na", "a.txt")) == [("owner", "a")]


# ---- any file


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list"])
@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\r\n"])
def test_nothing_is_no_request(tmp_path: Path, name: str, data: bytes) -> None:
    assert lines_of(tmp_path, data, name) == []


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", Path("/dev/zero")):
        with pytest.raises(StarsmithError, match=r"expected CSV or JSON lines|cannot be read"):
            list(read_file(path))


@given(st.lists(st.binary(max_size=30) | st.sampled_from([b'"', b'a,"', b'"\n"', b"{", b'{"owner": "b"}', b"\0"])))
def test_any_bytes_between_good_lines(tmp_path_factory: pytest.TempPathFactory, junk: list[bytes]) -> None:
    """The last line is taken whatever stands before it, unless a quote that is closed has made it part of a cell."""
    folder = tmp_path_factory.mktemp("f")
    safe = [line.replace(b'"', b"'") for line in junk]
    for name, head, good in (("a.csv", b"owner,note", b"last,"), ("a.jsonl", b"", b'{"owner": "last"}')):
        lines = lines_of(folder, b"\n".join([head, *safe, good]), name)
        assert taken(lines)[-1] == ("owner", "last")
        assert all(line.requests or line.problems for line in lines)
    for name, head in (("a.csv", b"owner,note\n"), ("a.jsonl", b"")):
        lines_of(folder, head + b"\n".join(junk), name)
