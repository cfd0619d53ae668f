"""The report says what the tables say, shows hostile names without obeying them, and loads nothing from anywhere."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, Tag

from starsmith.errors import StarsmithError
from starsmith.govern.composition import Composition
from starsmith.govern.foreign_text import visible
from starsmith.govern.report import write_report
from starsmith.verdict import REASONS
from starsmith.workspace import open_store, read_build

HOSTILE = ("<img src=x onerror=alert(1)>.py", "<script>alert(2)<.py", "right\u202eyp.exe.py", "\x1b[31m'\"&amp;.py")
ELEMENTS = set(
    "html head meta title link style body header p bdi h1 svg rect ul li strong main div section h2 table caption "
    "thead tbody tr th td a nav span h3 code wbr details summary dl dt dd pre footer".split()
)


@pytest.fixture(scope="module")
def written(small_workspace, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report") / "report.html"
    write_report(open_store(small_workspace, create=False), out)
    return out


@pytest.fixture(scope="module")
def page(written) -> BeautifulSoup:
    return BeautifulSoup(written.read_text("utf-8"), "html.parser")


@pytest.fixture(scope="module")
def composition(small_workspace) -> Composition:
    store = open_store(small_workspace, create=False)
    return Composition.of_build(store, read_build(store))


def cells(table: Tag) -> list[list[str]]:
    return [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in table.select("tbody tr")]


def section(page: BeautifulSoup, identifier: str) -> Tag:
    found = page.find(id=identifier)
    assert isinstance(found, Tag)
    return found


def whole(text: str) -> int:
    return int(text.replace(",", "").replace("−", ""))


def test_headline_counts_what_the_ledger_counts(page, composition):
    numbers = re.findall(r"[\d,]+", page.h1.get_text())
    assert [whole(number) for number in numbers] == [composition.kept_documents, composition.documents]
    assert composition.documents == sum(row["documents"] for row in composition.counts) > composition.kept_documents > 0


def test_first_screen_names_every_reason_or_counts_it(page, composition):
    rows = cells(section(page, "outside").table)
    assert sum(whole(row[1]) for row in rows) == composition.documents - composition.kept_documents
    assert {row[0] for row in rows[:-1]} <= set(REASONS.values())


def test_funnel_adds_up(page, composition):
    rows = cells(section(page, "funnel").table)
    after = [whole(row[2]) for row in rows]
    left_out = [whole(row[1] or "0") for row in rows]
    assert after[0] == composition.documents
    assert after[-1] == composition.kept_documents
    for before, left, now in zip(after, left_out[1:], after[1:], strict=False):
        assert before - left == now


@pytest.mark.parametrize(("identifier", "rows_of"), [("languages", "languages"), ("licences", "licences")])
def test_composition_adds_up(page, composition, identifier, rows_of):
    rows = cells(section(page, identifier).table)
    assert len(rows) == len(getattr(composition, rows_of))
    assert sum(whole(row[1]) for row in rows) == composition.kept_documents
    assert sum(whole(row[1]) + whole(row[3]) for row in rows) == composition.documents


def test_every_reason_has_examples_with_evidence(page, composition):
    for row in composition.left_out():
        listed = section(page, row["verdict"]).select(".examples li")
        assert len(listed) == min(row["documents"], 5)
    assert "3,214, allowed at most 100" in section(page, "filter.long_lines").get_text()
    near = section(page, "duplicate.near").get_text()
    assert "near/second.py" in near
    assert "95 % the same as acme/tools near/first.py" in near


def test_conflict_shows_both_sides(page):
    row = cells(section(page, "conflicts").table)[0]
    assert "acme/tools vendored.py: MIT" in row[0]
    assert "acme/app vendored.py: GPL-3.0-only" in row[1]


def test_hostile_names_are_shown_and_not_obeyed(written, page):
    assert {tag.name for tag in page.find_all(True)} <= ELEMENTS
    text = page.get_text()
    assert [name for name in HOSTILE if visible(name) not in text] == []
    assert {char for char in written.read_text("utf-8") if not char.isprintable()} == {"\n"}


def test_nothing_points_out_of_the_page(page):
    pointers = [
        str(tag[name]) for tag in page.find_all(True) for name in ("href", "src", "srcset") if tag.has_attr(name)
    ]
    assert {pointer for pointer in pointers if not pointer.startswith("#")} == {"data:,"}
    assert not re.search(r"url\(|@import", page.style.string)
    assert not [
        tag for tag in page.find_all(True) if tag.has_attr("style") or any(n.startswith("on") for n in tag.attrs)
    ]


def test_policy_admits_this_style_sheet_alone(page):
    policy = page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    digest = base64.b64encode(hashlib.sha256(page.style.string.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_links_within_the_page_lead_somewhere(page):
    ids = [str(tag["id"]) for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    assert {str(link["href"])[1:] for link in page.find_all("a")} <= set(ids)


def test_readable_without_eyes(page):
    assert all(header.get("scope") in ("col", "row") for header in page.find_all("th"))
    assert all(drawing.get("aria-hidden") == "true" or drawing.title for drawing in page.find_all("svg"))
    levels = [int(heading.name[1]) for heading in page.find_all(["h1", "h2", "h3"])]
    assert levels[0] == 1
    assert all(deeper <= level + 1 for level, deeper in pairwise(levels))


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast(page, theme):
    root = re.findall(r":root \{(.*?)\}", page.style.string, re.DOTALL)[theme]
    colours = dict(re.findall(r"--(\w+): (#\w{6})", root))

    def contrast(name: str, ground: str) -> float:
        light, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    text = {name: contrast(name, ground) for name in ("ink", "soft", "link") for ground in ("ground", "raised")}
    shapes = {name: contrast(name, "ground") for name in colours if name not in ("ground", "raised", "line")}
    assert min(text.values()) >= 4.5
    assert {name: value for name, value in shapes.items() if value < 3} == {}


def test_report_holds_nothing_of_the_machine(written, small_workspace):
    assert str(small_workspace.parent) not in written.read_text("utf-8")


def test_writing_replaces_whole_and_repeats_exactly(small_workspace, tmp_path):
    store = open_store(small_workspace, create=False)
    out = tmp_path / "report.html"
    out.write_text("old")
    write_report(store, out)
    first = out.read_bytes()
    write_report(store, out)
    assert out.read_bytes() == first != b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("place", ["missing/report.html", "folder", "file/report.html"])
def test_place_that_cannot_be_written(small_workspace, tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(StarsmithError, match="cannot be written"):
        write_report(open_store(small_workspace, create=False), tmp_path / place)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_build_that_stopped_before_its_decisions(own_corpus, build_into, tmp_path):
    own_corpus.add("a/b", {"main.py": b"print('words')\n"})
    build_into(own_corpus.recipe(), tmp_path / "w", workers=0, until="collect")
    with pytest.raises(StarsmithError, match="stopped after 'collect'"):
        write_report(open_store(tmp_path / "w", create=False), tmp_path / "report.html")


def test_build_that_is_not_released(own_corpus, build_into, tmp_path):
    own_corpus.add("a/b", {"main.py": b"print('words')\n"})
    build_into(own_corpus.recipe(), tmp_path / "w", workers=0, until="decide")
    write_report(open_store(tmp_path / "w", create=False), tmp_path / "report.html")
    assert (
        "not released" in BeautifulSoup((tmp_path / "report.html").read_text("utf-8"), "html.parser").header.get_text()
    )


@pytest.fixture(scope="module")
def chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        reason = f"none of {', '.join(names)} is installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def browse(chromium: str, url: str, profile: Path, *options: str) -> tuple[BeautifulSoup, list[str]]:
    """Return the page as the browser has it, and what it wrote to its console."""
    switches = (
        "no-sandbox headless disable-gpu disable-quic no-first-run disable-background-networking disable-sync "
        "disable-component-update enable-logging=stderr"
    )
    command = [
        chromium,
        *(f"--{each}" for each in switches.split()),
        f"--user-data-dir={profile}",
        *options,
        "--dump-dom",
    ]
    done = subprocess.run([*command, url], capture_output=True, text=True, timeout=120, check=True)
    return BeautifulSoup(done.stdout, "html.parser"), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_browser_shows_the_numbers_and_has_no_complaint(chromium, written, page, tmp_path):
    shown, console = browse(chromium, written.as_uri(), tmp_path)
    assert console == []
    assert shown.h1.get_text() == page.h1.get_text()
    assert shown.find(id="funnel").get_text() == page.find(id="funnel").get_text()
    assert {tag.name for tag in shown.find_all(True)} <= ELEMENTS


@pytest.mark.parametrize("width", [1200, 400, 320])
def test_no_sideways_scrolling(chromium, written, tmp_path, width):
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"<iframe width={width} height=900 src='{written.as_uri()}' onload='document.title = "
        'this.contentDocument.documentElement.scrollWidth + " " + this.clientWidth\'></iframe>'
    )
    shown, _ = browse(chromium, frame.as_uri(), tmp_path / "profile", "--allow-file-access-from-files")
    needed, given = shown.title.get_text().split()
    assert int(needed) <= int(given) == width


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_policy_holds_even_where_escaping_would_fail(chromium, written, tmp_path, listener):
    url, asked = listener
    smuggled = f"<img src='{url}/image'><script src='{url}/script'></script><script>document.title = 'obeyed'</script>"
    with_policy, without = tmp_path / "with.html", tmp_path / "without.html"
    text = written.read_text("utf-8").replace("<main>", f"<main>{smuggled}")
    with_policy.write_text(text, "utf-8")
    without.write_text(text.replace("Content-Security-Policy", "Nothing"), "utf-8")
    shown, console = browse(chromium, with_policy.as_uri(), tmp_path / "a")
    assert (asked, len(console)) == ([], 3)
    assert shown.title.get_text() != "obeyed"
    shown, _ = browse(chromium, without.as_uri(), tmp_path / "b")
    assert set(asked) >= {"/image", "/script"}
    assert shown.title.get_text() == "obeyed"
