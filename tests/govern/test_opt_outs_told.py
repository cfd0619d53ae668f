"""What left on request is told as a count; who asked is told to nobody who does not know the name already."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from starsmith import summary
from starsmith.build import BuildResult, status
from starsmith.document import content_id, origin_id, swhid
from starsmith.errors import StarsmithError
from starsmith.govern import opt_out
from starsmith.govern.look_up import LookUp
from starsmith.govern.opt_out import OptOuts, Request, checked
from starsmith.govern.opt_out_targets import covering
from starsmith.govern.report import write_report
from starsmith.govern.scan_words import opt_out_words
from starsmith.govern.terminal import build_table, status_table
from starsmith.ledger import COUNTS
from starsmith.storage import Store
from starsmith.workspace import open_store, read_build

LEAVER = "zanthoxyle"
"""A name that stands nowhere by chance."""


@pytest.fixture(scope="module")
def workspace(
    tmp_path_factory: pytest.TempPathFactory,
    new_corpus: Callable[..., Any],
    source_code: Callable[..., bytes],
    mit: bytes,
    build_into: Callable[..., Any],
) -> Path:
    """A build from which an owner has left with all copies; `stays/app` has two of them."""
    folder = tmp_path_factory.mktemp("left")
    corpus = new_corpus(folder=folder / "repositories")
    corpus.folder.mkdir()
    shared = {f"shared{number}.py": source_code(f"shared {number}") for number in range(2)}
    corpus.add(f"{LEAVER}/tools", {"LICENSE": mit + b"of theirs\n", "own.py": source_code("own"), **shared})
    corpus.add("stays/app", {"LICENSE": mit, "app.py": source_code("app"), **shared})
    made = folder / "left.workspace"
    opt_out.add(open_store(made, create=True), Request(kind="owner", value=LEAVER, added="2026-11-01T10:00:00Z"))
    build_into(corpus.recipe('[opt_out]\ncopies = "every"'), made, workers=0)
    return made


@pytest.fixture
def store(workspace: Path) -> Store:
    return Store(str(workspace))


def test_no_example_is_of_what_was_asked_to_be_left_out(store: Store) -> None:
    record = read_build(store)
    rows = record.table("counts", COUNTS).read(store).to_pylist()
    counts = {row["verdict"]: row["documents"] for row in rows}
    assert counts["optout.content"] == 2
    examples = record.table("examples", summary.EXAMPLES.schema).read(store).to_pylist()
    assert {row["verdict"] for row in examples} == set(counts) - {"optout.content"}


def test_report_and_card_tell_counts_and_no_name(store: Store, workspace: Path, tmp_path: Path) -> None:
    write_report(store, tmp_path / "report.html")
    page = BeautifulSoup((tmp_path / "report.html").read_text("utf-8"), "html.parser")
    said = page.find(id="opt-outs").p.get_text()
    assert said.startswith("1 request to be left out is in force. ")
    assert "2 documents were left out for the content alone." in said
    reason = page.find(id="optout.content")
    assert "No example is given" in reason.get_text()
    assert not reason.select("li")
    release = workspace / str(read_build(store).release)
    card = (release / "README.md").read_text("utf-8")
    assert "Copies of its contents in other origins leave with it. 2 documents were left out" in card
    texts = [
        page.get_text(),
        card,
        (release / "manifest.json").read_text("utf-8"),
        (workspace / "build.json").read_text(),
    ]
    assert [text for text in texts if LEAVER in text or "shared0" in text] == []


def test_terminal_tells_counts_and_no_name(workspace: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    status_table(status(workspace))
    build_table(
        BuildResult(
            workspace=str(workspace), address=str(workspace), record=read_build(store), seconds=1.0, report=None
        )
    )
    printed = capsys.readouterr().out
    assert "Opt-outs  1 on the list, 0 of them waiting for the next build; 0 releases withdrawn" in printed
    assert LEAVER not in printed


@pytest.mark.parametrize(
    "target",
    [
        f"{LEAVER}/tools",
        f"{LEAVER.upper()}/Tools",
        f"{LEAVER}/tools:own.py",
        f"https://example.org/{LEAVER}/tools",
    ],
)
def test_why_says_of_who_left_that_they_left(store: Store, target: str) -> None:
    with pytest.raises(StarsmithError, match=r"has left \(an opt-out of 2026-11-01 covers it\)"):
        LookUp(store).target(target)


@pytest.mark.parametrize("target", ["other/tools", f"{LEAVER}x/tools", "tools", "https://example.org/other"])
def test_why_says_of_others_that_they_are_not_here(store: Store, target: str) -> None:
    with pytest.raises(StarsmithError, match="is not in this workspace"):
        LookUp(store).target(target)


def test_why_tells_a_document_whose_content_left(store: Store) -> None:
    words = LookUp(store).target("stays/app:shared0.py").words()
    assert "its content was asked to be left out (optout.content)" in words
    assert "Not scanned" in words
    assert LEAVER not in words


def test_requests_cover_names_places_and_objects() -> None:
    content, origin = swhid("cnt", content_id(b"x")), swhid("ori", origin_id("https://example.org/a/b"))
    wanted = [
        ("repository", "acme/tools", ["acme/tools", "https://github.com/Acme/tools.git"], ["acme/tool", "b/tools"]),
        (
            "origin",
            "https://gitlab.com/acme",
            ["acme/any", "https://gitlab.com/acme/any"],
            ["https://github.com/acme/any"],
        ),
        ("swhid", content, [content, f"{content};path=/x"], [swhid("cnt", content_id(b"y"))]),
        ("swhid", origin, ["https://example.org/a/b", origin], ["https://example.org/a/c"]),
    ]
    for kind, value, covered, others in wanted:
        request = checked(Request(kind=kind, value=value))
        found = [covering(OptOuts(requests=(request,)), target) for target in [*covered, *others]]
        assert found == [request] * len(covered) + [None] * len(others)
    assert covering(OptOuts(), "acme/tools") is None


def test_opt_outs_in_words() -> None:
    assert opt_out_words("own", documents=0, requests=0) == "No request to be left out is in force."
    told = opt_out_words("own", documents=1, requests=1_000)
    assert told.startswith("1,000 requests to be left out are in force. ")
    assert told.endswith("stay unless a request names their content. 1 document was left out for the content alone.")
    assert opt_out_words("every", documents=0).endswith("No document was left out for the content alone.")
