"""What the scans found is told everywhere a user looks, as kinds, counts and places; a value nowhere.

Values are put together at run time, so that no file of this repository looks as if it held a secret.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from bs4 import BeautifulSoup

from starsmith import summary
from starsmith.build import BuildResult
from starsmith.curate.malware import Database
from starsmith.document import FINDINGS
from starsmith.govern.answers import DocumentStory
from starsmith.govern.composition import Composition, recipe_of
from starsmith.govern.dataset_card import card
from starsmith.govern.look_up import LookUp
from starsmith.govern.report import write_report
from starsmith.govern.terminal import build_table
from starsmith.ledger import LEDGER
from starsmith.release import DATA
from starsmith.settings import MalwareSettings, RedactionSettings
from starsmith.storage import Store
from starsmith.verdict import explain
from starsmith.workspace import BuildRecord, read_build

PROBLEM = '''def weighted_median(samples, weights):
    """ Return the value at which half of the weight of the samples lies below and half above it, the lower one
    of two if there are two of them, and nothing at all where no sample has any weight that is above zero.
    """
'''
HALF = PROBLEM.replace("samples", "readings", 1).replace("Return the value", "Give the number", 1)
"""Not the text of the problem, but most of its runs of words."""
DATABASE = Database(engine="1.4.6", number=27500, built=datetime(2026, 11, 20, tzinfo=UTC))
SIGNATURE = "Own.Test|<b>.UNOFFICIAL"
INFECTED = b"# infected for the sake of a test\n"

VALUES = {
    "email": "jane.roe" + "@widgets-and-more.com",
    "second email": "ops.team" + "@widgets-and-more.com",
    "ipv4": "52.14." + "201.7",
    "token:slack": "xoxb-" + "2345678901-" + "3456789012345-" + "Zk3vQ9tLw0XhY6nB4mJcE9uK",
    "password": "tR4" + "!vKq81zM",
}
"""What must be found nowhere but in the stored contents, by its kind."""


class Clamd:
    """In the place of the client of clamd: it knows one signature."""

    database = DATABASE

    def __init__(self, *_: object, **__: object) -> None:
        return

    def __enter__(self) -> "Clamd":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def scan(self, contents: Sequence[bytes]) -> list[str | None]:
        return [SIGNATURE if INFECTED in content else None for content in contents]


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """A workspace, and what was planted in it."""

    workspace: Path
    values: dict[str, str]
    files: dict[str, bytes]


def planted(code: Callable[..., bytes]) -> dict[str, bytes]:
    """Return the files of `acme/tools`, secrets on known lines."""
    lines = [
        "# owner: " + VALUES["email"],
        f"HOST = '{VALUES['ipv4']}'",
        f"SLACK_TOKEN = '{VALUES['token:slack']}'",
        f"password = '{VALUES['password']}'",
        f"# {VALUES['email']} or {VALUES['second email']}",
    ]
    body = code("near", lines=60)
    return {
        "config.py": "\n".join(lines).encode() + b"\n" + code("config"),
        "again.py": f"# ask {VALUES['second email']}\n".encode() + code("again"),
        "clean.py": code("clean"),
        "bench.py": PROBLEM.encode() + code("bench"),
        "half.py": HALF.encode() + code("half"),
        "bad.py": INFECTED + code("bad"),
        "near_a.py": body + b"# variant 1\n",
        "near_b.py": body + b"# variant 2\n",
        "empty.py": b"",
    }


def benchmark(folder: Path) -> str:
    """Write two benchmarks; return the lines of a recipe that name them. Nothing holds the second."""
    row = {"task_id": "Own/1", "prompt": PROBLEM}
    other = {"task_id": "Other/1", "prompt": "def nobody_has_this_one(in_any_of, the_files_of, this_test):\n"}
    lines = []
    for name, each in (("own", row), ("un|told", other)):
        path = folder / f"{name[:2]}.jsonl"
        path.write_text(json.dumps(each) + "\n")
        lines.append(f'[[benchmark]]\nname = "{name}"\npath = "{path}"\nprompt = "prompt"\n')
    return "\n".join(lines)


@pytest.fixture(scope="module")
def scanned(
    tmp_path_factory: pytest.TempPathFactory,
    new_corpus: Callable[..., Any],
    source_code: Callable[..., bytes],
    mit: bytes,
    build_into: Callable[..., Any],
) -> Scanned:
    """A build of one repository in which every scan found something. Not to be changed."""
    folder = tmp_path_factory.mktemp("scanned")
    corpus = new_corpus(folder=folder / "repositories")
    corpus.folder.mkdir()
    files = planted(source_code)
    corpus.add("acme/tools", {"LICENSE": mit, **files})
    corpus.add("acme/more", {"LICENSE": mit, "more.py": source_code("more")})
    settings = ('[malware]\nclamd = "/run/clamd"', '[decontamination]\nrule = "both"', '[release]\nname = "told"')
    with mock.patch("starsmith.scan.Scanner", Clamd), mock.patch("starsmith.detectors.Scanner", Clamd):
        build_into(corpus.recipe(benchmark(folder), *settings), folder / "told.workspace", workers=0)
    return Scanned(workspace=folder / "told.workspace", values=VALUES, files=files)


def every_text(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of every file below a folder, as it lies there and, where it is a table, as it reads."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(folder))
            yield name, path.read_bytes()
            if path.suffix == ".parquet":
                yield name, repr(pq.ParquetFile(path).read().to_pylist()).encode()
            elif path.suffix == ".arrow" and "benchmark_index" not in name:
                yield name, repr(pa.ipc.open_file(path.read_bytes()).read_all().to_pylist()).encode()


@pytest.fixture(scope="module")
def store(scanned: Scanned) -> Store:
    return Store(str(scanned.workspace))


@pytest.fixture(scope="module")
def record(store: Store) -> BuildRecord:
    return read_build(store)


@pytest.fixture(scope="module")
def composition(store: Store, record: BuildRecord) -> Composition:
    return Composition.of_build(store, record)


@pytest.fixture(scope="module")
def readme(scanned: Scanned, record: BuildRecord) -> str:
    return (scanned.workspace / str(record.release) / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def page(store: Store, tmp_path_factory: pytest.TempPathFactory) -> BeautifulSoup:
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report(store, out)
    return BeautifulSoup(out.read_text("utf-8"), "html.parser")


def story(store: Store, path: str) -> DocumentStory:
    (found,) = LookUp(store).target(f"acme/tools:{path}").documents
    return found


def scan_lines(store: Store, path: str) -> list[str]:
    """Return what `why` says of the scans."""
    marks = ("  Secrets", "  Benchmarks", "  Malware", "  Not scanned")
    return [line.strip() for line in story(store, path).words() if line.startswith(marks)]


def rows(text: str, title: str) -> list[list[str]]:
    """Return the rows of all tables below a heading of the card, without their heads."""
    lines = text.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines()
    table = [line for line, after in pairwise([*lines, ""]) if line.startswith("| ") and not after.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def cells(found: Any) -> list[list[str]]:
    return [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in found.select("tbody tr")]


# No value


def test_values_stand_nowhere_but_in_the_stored_contents(scanned: Scanned) -> None:
    found: dict[str, set[str]] = {}
    for name, content in every_text(scanned.workspace):
        for kind, value in scanned.values.items():
            if value.encode() in content:
                found.setdefault(kind, set()).add("/".join(name.split("/")[:2]))
    assert found == {kind: {"tables/contents"} for kind in scanned.values}


def test_no_answer_and_no_table_of_the_terminal_holds_a_value(
    scanned: Scanned, store: Store, record: BuildRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [LookUp(store).target(f"acme/tools:{path}") for path in scanned.files]
    build_table(
        BuildResult(
            workspace=str(scanned.workspace), address=str(scanned.workspace), record=record, seconds=1.0, report=None
        )
    )
    texts = [capsys.readouterr().out]
    texts += [answer.words() for answer in answers] + [json.dumps(answer.plain()) for answer in answers]
    assert [value for value in scanned.values.values() if any(value in text for text in texts)] == []


# Summaries


def test_what_is_replaced_is_counted_over_what_is_released(store: Store, record: BuildRecord) -> None:
    ledger = record.table("ledger", LEDGER).read(store).to_pylist()
    kept = {row["content_id"] for row in ledger if row["verdict"] == "keep"}
    findings = [row for row in record.table("findings", FINDINGS).read(store).to_pylist() if row["content_id"] in kept]
    expected = {
        kind: (len(own), len({row["content_id"] for row in own}))
        for kind in {row["kind"] for row in findings}
        for own in [[row for row in findings if row["kind"] == kind]]
    }
    expected[summary.ANY_KIND] = len(findings), len({row["content_id"] for row in findings})
    table = record.table("replaced", summary.REPLACED.schema).read(store).to_pylist()
    assert {row["kind"]: (row["findings"], row["documents"]) for row in table} == expected
    assert expected[summary.ANY_KIND] == (7, 2)


def test_composition_counts_problems_and_signatures(composition: Composition) -> None:
    assert composition.benchmark_texts == 2
    assert [(row["benchmark"], row["kind"], row["problems"], row["documents"]) for row in composition.benchmarks] == [
        ("own", "text", 1, 1),
        ("own", "words", 1, 2),
    ]
    assert [(row["signature"], row["documents"]) for row in composition.signatures] == [(SIGNATURE, 1)]
    assert composition.replaced_in_all == (7, 2)


# Why


def test_why_tells_kinds_and_lines(store: Store) -> None:
    replaced = (
        "replaced 3 e-mail addresses (lines 1, 5), 1 IPv4 address (line 2), 1 key of a known issuer: slack (line 3), "
        "1 password (line 4)"
    )
    assert scan_lines(store, "config.py") == [
        f"Secrets and personal data: {replaced}.",
        "Benchmarks: no problem of own or un|told.",
        f"Malware: none known to {DATABASE}.",
    ]
    assert scan_lines(store, "clean.py")[0] == (
        "Secrets and personal data: none found (e-mail addresses, public IP addresses, keys and passwords were "
        "looked for)."
    )


def test_why_tells_where_the_values_are_for_who_has_the_file(store: Store, scanned: Scanned) -> None:
    plain = story(store, "config.py").plain()["scan"]
    text = scanned.files["config.py"].decode()
    places = {(each["kind"], text[each["start"] : each["end"]], each["line"]) for each in plain["findings"]}
    expected = {(kind.removeprefix("second "), value) for kind, value in scanned.values.items()}
    assert {place[:2] for place in places} == expected
    assert all(text.splitlines()[line - 1].count(value) for _, value, line in places)
    assert all(set(each) == {"kind", "line", "start", "end"} for each in plain["findings"])


def test_why_tells_what_a_document_was_left_out_for(store: Store) -> None:
    words = {path: "\n".join(story(store, path).words()) for path in ("bench.py", "half.py", "bad.py")}
    assert "(benchmark.text); own Own/1 (prompt) stands in it." in words["bench.py"]
    assert (
        "(benchmark.words); own Own/1 (prompt): 82 % of its runs of words, left out from 50 % on." in words["half.py"]
    )
    assert f"(malware.signature); {SIGNATURE} ({DATABASE})." in words["bad.py"]
    assert scan_lines(store, "bench.py")[1] == "Benchmarks: own Own/1 (prompt) stands in it, from byte 0 on."
    assert scan_lines(store, "half.py")[1].startswith("Benchmarks: 82 % of the runs of words of own Own/1 (prompt), ")
    assert scan_lines(store, "bad.py")[2] == f"Malware: {SIGNATURE}, says {DATABASE}."
    plain = story(store, "bad.py").plain()["scan"]
    assert (plain["signature"], plain["database"], plain["findings"]) == (SIGNATURE, str(DATABASE), [])


def test_why_says_what_was_not_scanned(store: Store) -> None:
    pair = [story(store, f"near_{letter}.py") for letter in "ab"]
    (behind,) = (each for each in pair if each.verdict["verdict"] == "duplicate.near")
    said = scan_lines(store, behind.document["path"])
    assert said == [
        "Not scanned for secrets, benchmark problems and malware: a document nearly the same was chosen before it."
    ]
    assert behind.plain()["scan"] is None
    assert scan_lines(store, "empty.py")[0].endswith("malware: it was left out before.")


def test_a_scan_without_a_result_is_told_as_that(store: Store) -> None:
    found = story(store, "clean.py").scan
    assert found.scan is not None
    broken = replace(found, scan=found.scan | {"reason": "error.crashed"}, verdict="error.crashed")
    first, *_ = broken.words()
    assert first == f"  The scan for secrets, benchmark problems and malware did not end: {explain('error.crashed')}."


# Card


def test_card_counts_what_was_replaced(readme: str) -> None:
    assert "**7 values in 2 of 5 documents were replaced.**" in readme
    assert rows(readme, "Secrets and personal data") == [
        ["e-mail address", "`<EMAIL>`", "4", "2"],
        ["IPv4 address", "one of five private addresses", "1", "1"],
        ["password", "`<PASSWORD>`", "1", "1"],
        ["key of a known issuer: slack", "`<KEY>`", "1", "1"],
    ]
    columns = [name for name in DATA.names if name.startswith("redacted_")]
    assert [name for name in [*columns, "text_sha256"] if f"`{name}`" not in readme] == []


def test_card_names_benchmarks_and_signatures(readme: str) -> None:
    assert rows(readme, "Benchmarks and malware") == [
        ["`own`", "a whole text", "1", "1"],
        ["`own`", "a share of its runs of words", "1", "2"],
        [r"`un\x7ctold`", "none", "0", "0"],
        [r"`Own.Test\x7c<b>.UNOFFICIAL`", "1", "1,501"],
    ]
    assert "2 texts of `own` and" in readme
    assert f"handed to {DATABASE}," in readme


def test_card_says_what_was_not_done(composition: Composition, record: BuildRecord, readme: str) -> None:
    assert "**Not done:** names of people and user names have not been looked for." in readme
    recipe = recipe_of(record)
    off = RedactionSettings(emails=False, ip_addresses=False, keys=False, passwords=False)
    bare = replace(recipe, redaction=off, benchmarks=(), malware=MalwareSettings())
    text = card(replace(composition, replaced=[], benchmarks=[], signatures=[]), bare, {})
    assert (
        "names of people, user names, e-mail addresses, public IP addresses, keys, passwords, malware and problems "
        "of benchmarks have not been looked for."
    ) in text
    assert "Problems of benchmarks: not looked for." in text
    assert "Malware: not looked for." in text
    for done in ("are found by rules", "are found as their texts", "has a signature"):
        assert (done in readme, done in text) == (True, False)
    some = replace(recipe, redaction=RedactionSettings(passwords=False))
    assert "names of people, user names and passwords have not" in card(composition, some, {})


# Report


def test_report_shows_the_same_numbers(page: BeautifulSoup) -> None:
    assert "7 values that are secret or personal are replaced." in page.header.get_text()
    assert "7 values in 2 files (40 % of the corpus) are replaced" in page.find(id="redaction").get_text()
    assert [row[:4] for row in cells(page.find(id="redaction"))] == [
        ["E-mail addresses", "<EMAIL>", "4", "2"],
        ["IPv4 addresses", "one of five private addresses", "1", "1"],
        ["Passwords", "<PASSWORD>", "1", "1"],
        ["Keys of a known issuer: slack", "<KEY>", "1", "1"],
    ]
    assert cells(page.find(id="scans")) == [
        ["own", "a whole text", "1", "1"],
        ["own", "a share of its runs of words", "1", "2"],
        ["un|told", "nothing", "0", "0"],
        [SIGNATURE, "1", "1.5 kB"],
    ]
    assert "No request to be left out is in force." in page.find(id="opt-outs").get_text()


def test_report_gives_examples_with_what_they_rest_on(page: BeautifulSoup) -> None:
    told = {reason: page.find(id=reason).get_text() for reason in ("benchmark.text", "benchmark.words")}
    assert "bench.py own Own/1 (prompt) stands in it" in told["benchmark.text"]
    assert "half.py own Own/1 (prompt): 82 % of its runs of words, left out from 50 % on" in told["benchmark.words"]
    assert f"bad.py {SIGNATURE} ({DATABASE})" in page.find(id="malware.signature").get_text()


def test_the_scan_has_its_colour_everywhere(page: BeautifulSoup) -> None:
    assert page.select("svg.stacked rect.scan")
    assert page.select("#redaction rect.scan")
    assert page.style.string.count("--scan: #") == 2


# Terminal


def test_terminal_tells_what_was_found(
    scanned: Scanned, record: BuildRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    build_table(
        BuildResult(
            workspace=str(scanned.workspace), address=str(scanned.workspace), record=record, seconds=1.0, report=None
        )
    )
    lines = capsys.readouterr().out.splitlines()
    told = "7 values in 2 documents: 4 e-mail addresses, 1 IPv4 address, 1 password, 1 key of a known issuer: slack"
    assert f"Replaced  {told}" in lines
    assert "Problems  of benchmarks, found in documents: own in 1 (text), own in 2 (words)" in lines
    assert f"Malware   found in documents: {SIGNATURE} in 1" in lines
