"""The scan of survivors in whole builds: what falls, what takes its place, what is not scanned twice."""

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from starsmith import scan
from starsmith.curate.malware import Database
from starsmith.detectors import Detectors
from starsmith.document import BENCHMARK_MATCHES, FINDINGS, ID_BYTES, SCANS
from starsmith.errors import StarsmithError
from starsmith.ledger import LEDGER
from starsmith.scan_rows import rows_of, together
from starsmith.settings import DecontaminationSettings, MalwareSettings, RedactionSettings
from starsmith.storage import Store
from starsmith.table import Part, Table
from starsmith.workspace import read_build

Row = dict[str, Any]
Build = Callable[..., Any]

PROBLEM = '''def weighted_median(samples, weights):
    """ Return the value at which half of the weight of the samples lies below and half above it.
    """
'''
MAIL = b"# ask jane.roe@widgets-and-more.com at 52.14.201.7\n"


def benchmark(folder: Path) -> str:
    """Write a benchmark of one problem; return the lines of a recipe that name it."""
    row = {"task_id": "Own/1", "prompt": PROBLEM, "canonical_solution": "    return sorted(samples)[len(samples) // 2]"}
    (folder / "own.jsonl").write_text(json.dumps(row) + "\n")
    return f'[[benchmark]]\nname = "own"\npath = "{folder / "own.jsonl"}"\nprompt = "prompt"\n'


def table_rows(workspace: Path, name: str, schema: pa.Schema) -> list[Row]:
    store = Store(str(workspace))
    rows: list[Row] = read_build(store).table(name, schema).read(store).to_pylist()
    return rows


def verdicts(workspace: Path) -> dict[str, str]:
    """Return the verdict on every path; a test's paths are told apart by their names."""
    return {row["path"]: row["verdict"] for row in table_rows(workspace, "ledger", LEDGER)}


def released(workspace: Path) -> dict[str, Row]:
    release = json.loads((workspace / "build.json").read_bytes())["release"]
    rows = ds.dataset(workspace / release / "data").to_table().to_pylist()
    return {row["path"]: row for row in rows}


def similar(source_code: Callable[..., bytes], topic: object, number: int) -> bytes:
    """Return one of many texts about a topic, each nearly the same as the others."""
    return source_code(topic, lines=60) + b"# variant %d\n" % number


# What a release says


def test_what_must_not_be_published_is_replaced_and_counted(own_corpus, source_code, mit, build_into, tmp_path):
    text = MAIL + b"password = 'tR4" + b"!vKq81zM'\n" + source_code("a")
    own_corpus.add("acme/tools", {"LICENSE": mit, "secret.py": text, "plain.py": source_code("b")})
    build_into(own_corpus.recipe(), tmp_path / "w", workers=0)
    rows = released(tmp_path / "w")
    secret, plain = rows["/secret.py"], rows["/plain.py"]
    counts = {name: value for name, value in secret.items() if name.startswith("redacted_")}
    assert counts == {
        "redacted_emails": 1,
        "redacted_ip_addresses": 1,
        "redacted_keys": 0,
        "redacted_passwords": 1,
        "redacted_names": 0,
    }
    assert secret["content"].startswith("# ask <EMAIL> at 1")
    assert "password = '<PASSWORD>'\n" in secret["content"]
    assert secret["content"].count("\n") == text.count(b"\n")
    assert secret["text_sha256"] != secret["content_sha256"]
    assert plain["text_sha256"] == plain["content_sha256"]
    findings = table_rows(tmp_path / "w", "findings", FINDINGS)
    assert [(row["kind"], row["line"]) for row in findings] == [("email", 1), ("ipv4", 1), ("password", 2)]
    assert all(text[row["start"] : row["end"]] in text for row in findings)


def test_with_all_of_it_switched_off_texts_are_as_they_were(own_corpus, source_code, mit, build_into, tmp_path):
    own_corpus.add("acme/tools", {"LICENSE": mit, "secret.py": MAIL + source_code("a")})
    off = "[redaction]\nemails = false\nip_addresses = false\nkeys = false\npasswords = false"
    build_into(own_corpus.recipe(off), tmp_path / "w", workers=0)
    row = released(tmp_path / "w")["/secret.py"]
    assert row["content"].encode() == MAIL + source_code("a")
    assert row["text_sha256"] == row["content_sha256"]


# What takes the place of what falls


def test_the_best_clean_one_of_a_cluster_takes_the_place(own_corpus, source_code, mit, build_into, tmp_path):
    bad = similar(source_code, "n", 0) + PROBLEM.encode()
    own_corpus.add("a/first", {"LICENSE": mit, "first.py": bad})
    own_corpus.add("b/second", {"LICENSE": mit, "second.py": similar(source_code, "n", 2)})
    own_corpus.add("c/third", {"LICENSE": mit, "third.py": similar(source_code, "n", 3)})
    build_into(own_corpus.recipe(benchmark(tmp_path)), tmp_path / "w", workers=0)
    found = verdicts(tmp_path / "w")
    assert found["first.py"] == "benchmark.text"
    kept = [path for path in ("second.py", "third.py") if found[path] == "keep"]
    assert len(kept) == 1
    (row,) = (row for row in table_rows(tmp_path / "w", "ledger", LEDGER) if row["path"] == "first.py")
    assert (row["stage"], row["detail"]) == ("scan", "own Own/1 (prompt)")
    matches = table_rows(tmp_path / "w", "benchmark_matches", BENCHMARK_MATCHES)
    assert [(row["benchmark"], row["problem"], row["kind"]) for row in matches] == [("own", "Own/1", "text")]
    (near,) = (row for row in table_rows(tmp_path / "w", "ledger", LEDGER) if row["verdict"] == "duplicate.near")
    (winner,) = (row for row in table_rows(tmp_path / "w", "ledger", LEDGER) if row["document_id"] == near["winner_id"])
    assert winner["path"] == kept[0]


def test_in_the_papers_order_nothing_takes_the_place(own_corpus, source_code, mit, build_into, tmp_path):
    own_corpus.add("a/first", {"LICENSE": mit, "first.py": similar(source_code, "n", 0) + PROBLEM.encode()})
    own_corpus.add("b/second", {"LICENSE": mit, "second.py": similar(source_code, "n", 2)})
    recipe = 'profile = "stack-v2"\n' + own_corpus.recipe(benchmark(tmp_path))
    build_into(recipe, tmp_path / "w", workers=0)
    found = verdicts(tmp_path / "w")
    assert (found["first.py"], found["second.py"]) == ("benchmark.text", "duplicate.near")
    assert "keep" not in found.values()


@pytest.mark.parametrize("seed", range(4))
def test_the_same_is_kept_as_if_what_is_bad_had_never_been_there(
    seed, own_corpus, source_code, mit, build_into, tmp_path
):
    """Scanning winners only, in rounds, must not be seen in what is kept."""
    chance = random.Random(seed)
    with_bad: dict[str, dict[str, bytes]] = {}
    for topic in range(6):
        for number in range(chance.randint(1, 5)):
            # Half of the words of one topic and half of another: chains, so that who is kept hangs on many others.
            other = source_code(f"{seed} {topic + number % 2}", lines=9)
            text = similar(source_code, f"{seed} {topic}", number) + other
            bad = chance.random() < 0.45
            files = with_bad.setdefault(f"o{chance.randint(0, 4)}/r{chance.randint(0, 3)}", {"LICENSE": mit})
            files[f"{'bad' if bad else 'good'}_{topic}_{number}.py"] = text + (PROBLEM.encode() if bad else b"")
    for name, files in with_bad.items():
        own_corpus.add(name, files)
    recipe = own_corpus.recipe(benchmark(tmp_path))
    build_into(recipe, tmp_path / "with", workers=0)
    for name, files in with_bad.items():
        own_corpus.add(name, {path: text for path, text in files.items() if not path.startswith("bad")})
    build_into(recipe, tmp_path / "without", workers=0)
    assert released(tmp_path / "with").keys() == released(tmp_path / "without").keys()
    assert not any(path.startswith("/bad") for path in released(tmp_path / "with"))
    fallen = [verdict for path, verdict in verdicts(tmp_path / "with").items() if path.startswith("bad")]
    assert set(fallen) <= {"benchmark.text", "duplicate.near"}
    scanned = table_rows(tmp_path / "with", "scans", SCANS)
    assert len({row["content_id"] for row in scanned}) == len(scanned), "nothing is scanned twice"


# What is not done again


def test_a_finished_build_scans_nothing_and_plans_nothing(own_corpus, source_code, mit, build_into, tmp_path):
    from starsmith.build import status

    own_corpus.add("acme/tools", {"LICENSE": mit, "a.py": MAIL + source_code("a")})
    recipe = own_corpus.recipe(benchmark(tmp_path))
    build_into(recipe, tmp_path / "w", workers=0)
    assert build_into(recipe, tmp_path / "w", workers=0).worked == 0
    assert status(tmp_path / "w").pending is None


def test_rows_of_an_earlier_build_are_taken_over_and_change_no_byte(
    own_corpus, source_code, mit, build_into, tree_digest, tmp_path
):
    def scan_counts(result: Any) -> dict[str, int]:
        return next(stage.counts for stage in result.record.stages if stage.name == "scan")

    files = {f"f{number}.py": MAIL + source_code(number) for number in range(5)}
    own_corpus.add("acme/tools", {"LICENSE": mit, **files})
    recipe = own_corpus.recipe(benchmark(tmp_path), documents=1_000)
    assert scan_counts(build_into(recipe, tmp_path / "w", workers=0))["taken_over"] == 0
    own_corpus.add("acme/tools", {"LICENSE": mit, **files, "new.py": PROBLEM.encode() + source_code("new")})
    again = scan_counts(build_into(recipe, tmp_path / "w", workers=0))
    assert (again["taken_over"], again["contents"]) == (5, 6)
    build_into(recipe, tmp_path / "fresh", workers=0)
    assert tree_digest(tmp_path / "w") == tree_digest(tmp_path / "fresh")


def test_another_rule_scans_again_and_a_threshold_of_another_stage_does_not(
    own_corpus, source_code, mit, build_into, tmp_path
):
    def taken_over(*settings: str) -> int:
        result = build_into(own_corpus.recipe(benchmark(tmp_path), *settings), tmp_path / "w", workers=0)
        return next(stage.counts["taken_over"] for stage in result.record.stages if stage.name == "scan")

    own_corpus.add("acme/tools", {"LICENSE": mit, "a.py": source_code("a"), "b.py": source_code("b", lines=80)})
    assert taken_over() == 0
    assert taken_over("[filters]\nmax_lines = 50") == 1
    assert taken_over("[redaction]\nemails = false") == 0
    assert taken_over('[decontamination]\nrule = "both"') == 0


def test_equal_contents_of_a_benchmark_are_one_index_wherever_they_lie(
    own_corpus, source_code, mit, build_into, tmp_path
):
    own_corpus.add("acme/tools", {"LICENSE": mit, "a.py": source_code("a")})
    build_into(own_corpus.recipe(benchmark(tmp_path)), tmp_path / "w", workers=0)
    (tmp_path / "moved").mkdir()
    moved = benchmark(tmp_path / "moved")
    assert build_into(own_corpus.recipe(moved), tmp_path / "w", workers=0).worked == 0
    text = (tmp_path / "moved" / "own.jsonl").read_text()
    (tmp_path / "moved" / "own.jsonl").write_text(text.replace("half above", "all above"))
    assert build_into(own_corpus.recipe(moved), tmp_path / "w", workers=0).worked > 0


# What goes wrong


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('name = "own"\npath = "absent.jsonl"\nprompt = "p"', "absent.jsonl"),
        ('name = "unheard-of"\npath = "own.jsonl"', "is not known"),
        ('name = "own"\npath = "own.jsonl"\nprompt = "no_such_field"', "no_such_field"),
    ],
)
def test_a_benchmark_that_cannot_be_read_ends_the_build(
    line, expected, own_corpus, source_code, mit, build_into, tmp_path
):
    benchmark(tmp_path)
    own_corpus.add("acme/tools", {"LICENSE": mit, "a.py": source_code("a")})
    with pytest.raises(StarsmithError, match=expected):
        build_into(own_corpus.recipe(f"[[benchmark]]\n{line}"), tmp_path / "w", workers=0)


def test_a_content_on_which_a_scan_crashes_is_a_row_of_the_ledger(
    own_corpus, source_code, mit, build_into, tmp_path, monkeypatch
):
    class Broken(scan.Isolated):  # type: ignore[misc]
        """Fails on the one content that says so, as a rule that raises would."""

        def trusting(self, batch: pa.RecordBatch) -> Iterator[scan.Scanned]:
            for row in range(batch.num_rows):
                one = batch.slice(row, 1)
                poisonous = b"poison" in one["content"][0].as_py()
                yield self._poisoned(one, "crashed", "ValueError: it broke") if poisonous else self._function(one)

    own_corpus.add("acme/tools", {"LICENSE": mit, "a.py": source_code("a"), "b.py": b"# poison\n" + source_code("b")})
    monkeypatch.setattr(scan, "Isolated", Broken)
    build_into(own_corpus.recipe(), tmp_path / "w", workers=0)
    rows = {row["path"]: row for row in table_rows(tmp_path / "w", "ledger", LEDGER)}
    assert (rows["b.py"]["stage"], rows["b.py"]["verdict"]) == ("scan", "error.crashed")
    assert rows["b.py"]["detail"] == "ValueError: it broke"
    assert rows["a.py"]["verdict"] == "keep"


IDS = pa.array([bytes([number]) * ID_BYTES for number in range(3)], pa.binary(ID_BYTES))
ON = Detectors(
    redaction=RedactionSettings(),
    decontamination=DecontaminationSettings(),
    index=Part(shard="", name="", rows=1, bytes=1, digest="1"),
    malware=MalwareSettings(clamd="anywhere"),
    database="yesterday's",
)
CHANGED = {
    "redaction": replace(ON, redaction=RedactionSettings(keys=False)),
    "decontamination": replace(ON, index=Part(shard="", name="", rows=1, bytes=1, digest="2")),
    "malware": replace(ON, database="today's"),
}


def taken_over(found: scan.Scanned, detectors: Detectors) -> tuple[scan.Scanned, dict[str, list[bytes]]]:
    """Write what ON found in IDS as rows; return what other detectors take over from them, and about what."""
    found = together([found])
    tables = {"findings": found.findings, "benchmark_matches": found.benchmark_matches}
    tables["scans"] = rows_of("s", IDS, found, ON)
    known, ids = scan.taken_over(tables, IDS, detectors)
    return known, {name: each.to_pylist() for name, each in ids.items()}


def found_everything() -> scan.Scanned:
    first, second, third = IDS.to_pylist()
    finding = {"content_id": first, "kind": "email", "start": 0, "end": 3, "line": 1}
    match = {"content_id": second, "benchmark": "own", "problem": "1", "field": "prompt", "kind": "text"}
    match |= {"position": 0, "share": 1.0}
    return scan.Scanned(
        findings=pa.Table.from_pylist([finding], schema=FINDINGS),
        benchmark_matches=pa.Table.from_pylist([match], schema=BENCHMARK_MATCHES),
        signatures={third: ("Own.Worm", "Own.Worm (yesterday's)")},
    )


def test_equal_detectors_take_over_everything_and_make_the_same_rows():
    known, ids = taken_over(found_everything(), ON)
    assert known == found_everything()
    assert all(each == IDS.to_pylist() for each in ids.values())
    assert [row["reason"] for row in rows_of("s", IDS, known, ON).to_pylist()] == [
        None,
        "benchmark.text",
        "malware.signature",
    ]


@pytest.mark.parametrize("name", CHANGED)
def test_a_detector_that_changed_looks_again_and_the_others_do_not(name):
    known, ids = taken_over(found_everything(), CHANGED[name])
    assert {other for other, each in ids.items() if each} == set(ids) - {name}
    emptied = {"redaction": "findings", "decontamination": "benchmark_matches", "malware": "signatures"}[name]
    assert len(getattr(known, emptied)) == 0
    assert all(
        len(getattr(known, other)) == 1 for other in ("findings", "benchmark_matches", "signatures") if other != emptied
    )


def test_a_detector_that_is_off_takes_nothing_over():
    known, _ = taken_over(found_everything(), replace(ON, index=None, malware=None))
    assert (known.benchmark_matches.num_rows, known.signatures, known.findings.num_rows) == (0, {}, 1)


def test_malware_behind_another_reason_is_looked_for_again_since_its_evidence_is_not_in_the_row():
    both = IDS.to_pylist()[1]
    found = replace(found_everything(), signatures={both: ("Own.Worm", "Own.Worm (yesterday's)")})
    known, ids = taken_over(found, CHANGED["decontamination"])
    assert (known.signatures, both in ids["malware"]) == ({}, False)


@pytest.mark.parametrize(
    ("reason", "detectors", "is_known"),
    [
        ("error.crashed", ON, True),
        ("error.crashed", CHANGED["malware"], True),
        ("error.crashed", CHANGED["redaction"], False),
        ("error.crashed", CHANGED["decontamination"], False),
        ("error.stalled", ON, False),
    ],
)
def test_what_failed_is_scanned_again_if_it_stalled_or_either_scan_of_the_text_has_changed(reason, detectors, is_known):
    first = IDS.to_pylist()[0]
    found = scan.Scanned(failed={first: (reason, "why")})
    assert found.is_final == (reason != "error.stalled")
    known, ids = taken_over(found, detectors)
    assert known.failed == (found.failed if is_known else {})
    assert (first in ids["redaction"] or first in ids["decontamination"]) == is_known


def test_nothing_is_left_of_what_one_scan_found_where_the_other_failed():
    first = IDS.to_pylist()[0]
    found = together([found_everything(), scan.Scanned(failed={first: ("error.crashed", "why")})])
    row = rows_of("s", IDS, found, ON).to_pylist()[0]
    assert (row["reason"], row["num_emails"], found.findings.num_rows) == ("error.crashed", 0, 0)


def test_rows_of_an_earlier_version_are_not_taken_over():
    rows = rows_of("s", IDS, found_everything(), ON)
    old = rows.set_column(rows.schema.names.index("detectors"), SCANS.field("detectors"), [["0" * 64] * 3])
    tables = {"scans": old, "findings": FINDINGS.empty_table(), "benchmark_matches": BENCHMARK_MATCHES.empty_table()}
    _, ids = scan.taken_over(tables, IDS, ON)
    assert not any(len(each) for each in ids.values())


def test_the_order_of_batches_and_what_was_known_leave_no_trace(own_corpus, source_code, mit, build_into, tmp_path):
    files = {f"f{number}.py": MAIL * (number + 1) + source_code(number) for number in range(9)}
    own_corpus.add("acme/tools", {"LICENSE": mit, **files})
    build_into(own_corpus.recipe(benchmark(tmp_path)), tmp_path / "w", workers=0)
    store = Store(str(tmp_path / "w"))
    record = read_build(store)
    (scans,) = record.tables["scans"]
    wanted = record.table("scans", SCANS).read(store).select(["shard", "content_id"])
    part = scan.write_part(store, "wanted", scan.WANTED, [wanted], shard=scans.shard)
    detectors = Detectors(
        redaction=RedactionSettings(),
        decontamination=DecontaminationSettings(),
        index=record.tables["benchmark_index"][0],
    )
    results = []
    for size, known in [(1, {}), (4 << 20, {}), (4 << 20, {name: record.tables[name] for name in scan.TABLES})]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scan, "_BATCH_BYTES", size)
            work = scan.ScanShard(wanted=part, contents=record.tables["contents"][0], detectors=detectors, known=known)
            results.append(work(store, attempt=0, progress=lambda count: None).parts)
    assert results[0] == results[1] == results[2] == {name: record.tables[name] for name in scan.TABLES}


# Malware


@pytest.fixture
def infected(own_corpus, source_code, mit) -> bytes:
    """A corpus in which one text is known to clamd; a near copy of it is not."""
    text = similar(source_code, "n", 1) + b"# worse\n"
    own_corpus.add("a/first", {"LICENSE": mit, "first.py": text})
    own_corpus.add("b/second", {"LICENSE": mit, "second.py": similar(source_code, "n", 2)})
    return text


def malware(clamd: Any, **keys: str) -> str:
    probe = Path(clamd.signatures.parent.parent) / "probe"
    probe.write_bytes(clamd.probe)
    lines = {"clamd": clamd.socket, "probe": str(probe), "signatures": "one", **keys}
    texts = "\n".join(f'{name} = "{value}"' for name, value in lines.items())
    return f"[collect]\nmax_bytes = 1_800_000\n[malware]\nmax_age_days = 0\nmax_bytes = 1_900_000\n{texts}"


@pytest.fixture
def clamd(infected: bytes, tmp_path_factory: pytest.TempPathFactory, new_clamd: Any) -> Iterator[Any]:
    running = new_clamd(tmp_path_factory.mktemp("c"), {"Own.Worm": infected})
    yield running
    running.stop()


def test_malware_is_left_out_with_signature_and_database(clamd, own_corpus, build_into, tmp_path):
    result = build_into(own_corpus.recipe(malware(clamd)), tmp_path / "w", workers=0)
    rows = {row["path"]: row for row in table_rows(tmp_path / "w", "ledger", LEDGER)}
    assert (rows["first.py"]["stage"], rows["first.py"]["verdict"]) == ("scan", "malware.signature")
    database = result.record.versions["malware"]
    assert database.startswith("ClamAV ")
    assert database.endswith(", own signatures one")
    assert rows["first.py"]["detail"] == f"Own.Worm.UNOFFICIAL ({database})"
    assert rows["second.py"]["verdict"] == "keep", "what stood behind it takes its place"
    assert build_into(own_corpus.recipe(malware(clamd)), tmp_path / "w", workers=0).worked == 0
    changed = build_into(own_corpus.recipe(malware(clamd, signatures="two")), tmp_path / "w", workers=0)
    (scanned,) = (stage for stage in changed.record.stages if stage.name == "scan")
    assert scanned.counts["taken_over"] == 0, "other signatures, so everything is scanned again"


def test_newer_signatures_are_named_by_what_they_find_and_only_a_removal_accepts_them(monkeypatch):
    class Today(contextlib.nullcontext):  # type: ignore[type-arg]
        database = Database(engine="1.4", number=2, built=datetime(2026, 11, 23, tzinfo=UTC))

        def __init__(self, settings: MalwareSettings, *, probe: bytes) -> None:
            super().__init__(self)

        def scan(self, contents: list[bytes]) -> list[str | None]:
            return ["New.Worm" if content == b"worm" else None for content in contents]

    monkeypatch.setattr(scan, "Scanner", Today)
    batch = pa.RecordBatch.from_pydict({"content_id": IDS[:2], "content": [b"worm", b"fine"]})
    with scan._malware_scanner(replace(ON, newer=True)) as signatures_of:
        detail = "New.Worm (ClamAV 1.4, signatures 2 of 2026-11-23)"
        assert signatures_of(batch) == {IDS[0].as_py(): ("New.Worm", detail)}
    with (
        scan._malware_scanner(ON) as signatures_of,
        pytest.raises(StarsmithError, match="in place of yesterday's"),
    ):
        signatures_of(batch)


def test_signatures_without_date_or_name_end_the_build(clamd, own_corpus, build_into, tmp_path):
    with pytest.raises(StarsmithError, match="Give their state a name"):
        build_into(own_corpus.recipe(malware(clamd, signatures="")), tmp_path / "w", workers=0)


def test_a_clamd_that_is_gone_ends_the_build_and_publishes_nothing(clamd, own_corpus, build_into, tmp_path):
    clamd.stop()
    with pytest.raises(StarsmithError, match="clamd does not answer"):
        build_into(own_corpus.recipe(malware(clamd)), tmp_path / "w", workers=0)
    assert not list((tmp_path / "w").glob("releases/*"))


def test_the_tables_of_a_scan_hold_what_their_schemas_say():
    assert set(scan.nothing()) == {"scans", "findings", "benchmark_matches"}
    assert all(isinstance(table, Table) and table.rows == 0 for table in scan.nothing().values())
