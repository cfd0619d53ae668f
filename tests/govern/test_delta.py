"""A delta turns one release into another, byte for byte, carries nothing that left, and writes nowhere else."""

import hashlib
import io
import json
import random
import shutil
import tempfile
import zipfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from starsmith.errors import StarsmithError
from starsmith.govern.delta import INDEX, ROWS, WHOLE, Copy, Insert, read_index, write_delta
from starsmith.govern.foreign_json import parse
from starsmith.govern.patch import patch
from starsmith.govern.release_folder import MANIFEST
from starsmith.release import DATA
from starsmith.storage import to_json
from starsmith.table import write_rows


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def delta_of(old, new, target):
    with target.open("wb") as file:
        changes = write_delta(old, new, file)
    return target, changes


@pytest.fixture(scope="module")
def delta(successive, tmp_path_factory):
    """The delta from the first release to the second."""
    path, _ = delta_of(successive.first, successive.second, tmp_path_factory.mktemp("delta") / "x.delta.zip")
    return path


def index_of(delta):
    with zipfile.ZipFile(delta) as archive:
        return read_index(parse(archive.read(INDEX), "the delta"))


# ---- what comes out


@pytest.mark.parametrize(
    ("old", "new"), [("first", "second"), ("second", "first"), ("first", "third"), ("second", "third")]
)
def test_patched_is_the_new_release_byte_for_byte(successive, tmp_path, old, new):
    before, after = getattr(successive, old), getattr(successive, new)
    path, changes = delta_of(before, after, tmp_path / "x.delta.zip")
    done = patch(path, before, tmp_path / "out", equal_rows=False)
    assert files_of(tmp_path / "out") == files_of(after)
    assert (done.rewritten, done.files) == ((), len(files_of(after)) - 1)
    assert changes.arrived > 0


def test_a_delta_of_a_release_and_itself_changes_nothing(successive, tmp_path):
    path, changes = delta_of(successive.first, successive.first, tmp_path / "x.delta.zip")
    assert (changes.copied, changes.inserted, changes.arrived, changes.left) == (0, 0, 0, 0)
    patch(path, successive.first, tmp_path / "out", equal_rows=False)
    assert files_of(tmp_path / "out") == files_of(successive.first)


def test_untouched_files_are_not_in_it_and_rows_that_stay_are_copied(successive, delta):
    index = index_of(delta)
    old, new = files_of(successive.first), files_of(successive.second)
    assert set(index.same) == {name for name in new if old.get(name) == new[name]}
    assert len(index.same) > 4
    operations = [each for file in index.rebuilt for each in file.operations]
    assert {type(each) for each in operations} == {Copy, Insert}
    assert set(index.deleted) == old.keys() - new.keys()


def test_equal_releases_give_an_equal_delta(successive, delta, tmp_path):
    old = shutil.copytree(successive.first, tmp_path / "somewhere=else" / "old")
    again, _ = delta_of(old, successive.second, tmp_path / "again.delta.zip")
    assert again.read_bytes() == delta.read_bytes()


def test_it_carries_rows_of_the_new_release_and_nothing_else(successive, delta):
    def contents(folder):
        tables = [pq.ParquetFile(path).read() for path in sorted((folder / "data").iterdir())]
        return {row["path"] + row["origin_url"]: row["content"] for row in pa.concat_tables(tables).to_pylist()}

    assert any(successive.marker in text for text in contents(successive.first).values())
    with zipfile.ZipFile(delta) as archive:
        rows = pq.ParquetFile(io.BytesIO(archive.read(ROWS))).read().to_pylist()
        raw = b"".join(archive.read(name) for name in archive.namelist() if name != ROWS)
    kept = contents(successive.second)
    assert rows
    assert all(kept[row["path"] + row["origin_url"]] == row["content"] for row in rows)
    assert successive.leaving not in json.dumps(rows, default=str)
    assert successive.leaving.encode() not in raw


ROW = {field.name: None for field in DATA} | {"content": "", "avg_line_length": 1.5}


def row(number, value):
    """A row with a key that follows from `number` and, for another `value`, another column that differs."""
    columns = {"stars": {"star_events_count": value}, "text": {"content": "x" * value, "text_sha256": str(value)}}
    key = {"origin_url": f"https://example.org/{number // 4}", "path": f"/{number}", "swhid": f"swh:{number}"}
    licences = {"detected_licenses": ["MIT"] * (value % 3) if value % 4 else None}
    return ROW | key | licences | columns["stars" if value % 2 else "text"]


def write_release(folder, files):
    """Write what passes for a release: data files of rows, and a manifest."""
    listed = []
    for name, rows in files.items():
        path = folder / "data" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_rows(file, DATA, [pa.Table.from_pylist(rows, schema=DATA)], compression_level=3)
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        listed.append({"path": f"data/{name}.parquet", "sha256": digest, "bytes": len(data), "rows": len(rows)})
    recipe = {"release": {"compression_level": 3}}
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_bytes(to_json({"format": 1, "files": listed, "recipe": recipe, "versions": {}}))
    return folder


ROWS_OF_RELEASE = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 4)), max_size=30, unique_by=lambda item: item[0]
)
CUTS = st.lists(st.integers(0, 30), max_size=3)


def cut(rows, cuts):
    """Rows in files, each cut at some number."""
    bounds = [0, *sorted(cuts), len(rows)]
    parts = [rows[start:stop] for start, stop in pairwise(bounds)]
    return {f"{number:02d}": [row(*item) for item in part] for number, part in enumerate(parts) if part}


@given(ROWS_OF_RELEASE, CUTS, ROWS_OF_RELEASE, CUTS, st.randoms(use_true_random=False))
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_any_two_releases(old, old_cuts, new, new_cuts, chance):
    """Rows come, go, change, move to other files and into any order: the patched release is the new one."""
    new = new + [item for item in old if chance.random() < 0.7 and item[0] not in dict(new)]
    chance.shuffle(new)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        before = write_release(folder / "old", cut(old, old_cuts))
        after = write_release(folder / "new", cut(new, new_cuts))
        path, changes = delta_of(before, after, folder / "x.delta.zip")
        patch(path, before, folder / "out", equal_rows=False)
        assert files_of(folder / "out") == files_of(after)
        index = index_of(path)
        rebuilt = {file.path for file in index.rebuilt}
        inserted = sum(each.rows for file in index.rebuilt for each in file.operations if isinstance(each, Insert))
        assert inserted == changes.inserted
        known = {(item["path"], item["content"], item["star_events_count"]) for item in (row(*each) for each in old)}
        made = [item for name, rows in cut(new, new_cuts).items() if f"data/{name}.parquet" in rebuilt for item in rows]
        unknown = [i for i in made if (i["path"], i["content"], i["star_events_count"]) not in known]
        assert inserted >= len(unknown)


# ---- what is refused


def test_another_release_is_refused(successive, delta, tmp_path):
    with pytest.raises(StarsmithError, match="is for the release whose manifest"):
        patch(delta, successive.third, tmp_path / "out", equal_rows=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["same", "copied"])
def test_an_old_release_that_was_changed_is_refused(successive, delta, tmp_path, place):
    old = shutil.copytree(successive.first, tmp_path / "old")
    index = index_of(delta)
    copied = next(each.file for file in index.rebuilt for each in file.operations if isinstance(each, Copy))
    name = copied if place == "copied" else index.same[0]
    data = bytearray((old / name).read_bytes())
    data[len(data) // 2] ^= 1
    (old / name).write_bytes(data)
    with pytest.raises(StarsmithError, match="Fetch it again"):
        patch(delta, old, tmp_path / "out", equal_rows=False)
    (old / name).unlink()
    with pytest.raises(StarsmithError, match="is missing"):
        patch(delta, old, tmp_path / "out", equal_rows=False)
    assert not (tmp_path / "out").exists()


def test_nothing_that_exists_is_written_to(successive, delta, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "file").write_text("mine")
    for out in ("out", "file"):
        with pytest.raises(StarsmithError, match="exists already"):
            patch(delta, successive.first, tmp_path / out, equal_rows=False)
    with pytest.raises(StarsmithError, match="does not exist"):
        patch(delta, successive.first, tmp_path / "no" / "out", equal_rows=False)
    assert (list((tmp_path / "out").iterdir()), (tmp_path / "file").read_text()) == ([], "mine")


def changed(delta, target, change):
    """Write an archive anew with its members, {name: (bytes, options)}, changed."""
    with zipfile.ZipFile(delta) as archive:
        members = {name: (archive.read(name), {}) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, (data, options) in members.items():
            archive.writestr(options.pop("entry", name), data, **options)
    return target


def with_index(**values):
    """Return a change of the index that keeps the rest of the archive as it is."""

    def change(members):
        plain = json.loads(members[INDEX][0])
        members[INDEX] = to_json(plain | {key: value(plain) for key, value in values.items()}), {}

    return change


def link(members):
    entry = zipfile.ZipInfo(WHOLE + "README.md")
    entry.external_attr = 0o120777 << 16
    members[WHOLE + "README.md"] = b"/etc/passwd", {"entry": entry}


def first_rows(plain, **values):
    return [plain["rows"][0] | values, *plain["rows"][1:]]


HOSTILE = {
    "a member above the folder": lambda m: m.update({"files/../../evil": (b"x", {})}),
    "an absolute member": lambda m: m.update({"/tmp/evil": (b"x", {})}),
    "a member nobody asked for": lambda m: m.update({WHOLE + "data/zz.parquet": (b"x", {})}),
    "a folder": lambda m: m.update({"files/data/": (b"", {})}),
    "a compressed member": lambda m: m.update({ROWS: (m[ROWS][0], {"compress_type": zipfile.ZIP_DEFLATED})}),
    "a link for a file": link,
    "no index": lambda m: m.pop(INDEX),
    "no manifest": lambda m: m.pop(WHOLE + MANIFEST),
    "no rows": lambda m: m.pop(ROWS),
    "a file missing": lambda m: m.pop(WHOLE + "README.md"),
    "other text": lambda m: m.update({WHOLE + "README.md": (b"buy now", {})}),
    "rows that are no table": lambda m: m.update({ROWS: (b"PAR1" * 9, {})}),
    "an index that is no object": lambda m: m.update({INDEX: (b"[]", {})}),
    "an index nested deeply": lambda m: m.update({INDEX: (b"[" * 100_000, {})}),
    "an index with a huge number": lambda m: m.update({INDEX: (b'{"format": ' + b"9" * 5000 + b"}", {})}),
    "another format": with_index(format=lambda plain: 2),
    "a manifest that is not the one named": with_index(after=lambda plain: "0" * 64),
    "a path out of the folder": with_index(same=lambda plain: [*plain["same"][1:], "data/../../x.parquet"]),
    "an absolute path": with_index(same=lambda plain: [*plain["same"][1:], "/etc/passwd"]),
    "a file twice": with_index(same=lambda plain: plain["same"] + plain["same"][:1]),
    "a file unaccounted for": with_index(same=lambda plain: plain["same"][1:]),
    "a file that the old release lacks": with_index(
        rows=lambda p: first_rows(p, operations=[{"copy": "data/none.parquet", "first": 0, "rows": 1}])
    ),
    "a path to copy from elsewhere": with_index(
        rows=lambda p: first_rows(p, operations=[{"copy": "../../x.parquet", "first": 0, "rows": 1}])
    ),
    "rows beyond the end": with_index(
        rows=lambda p: first_rows(p, operations=[{"copy": p["same"][0], "first": 0, "rows": 1 << 40}])
    ),
    "inserted rows that are not there": with_index(rows=lambda p: first_rows(p, operations=[{"insert": 1 << 50}])),
    "a row copied without end": with_index(
        rows=lambda p: first_rows(p, operations=[{"copy": p["same"][0], "first": 0, "rows": 1}] * 1000)
    ),
    "too few rows": with_index(rows=lambda p: first_rows(p, operations=[])),
    "a negative row": with_index(
        rows=lambda p: first_rows(p, operations=[{"copy": p["same"][0], "first": -1, "rows": 1}])
    ),
    "an unknown operation": with_index(rows=lambda p: first_rows(p, operations=[{"execute": "rm"}])),
    "a member more": with_index(evil=lambda plain: 1),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_deltas(successive, delta, tmp_path, case):
    place = tmp_path / "place"
    place.mkdir()
    forged = changed(delta, tmp_path / "forged.delta.zip", HOSTILE[case])
    with pytest.raises(StarsmithError) as raised:
        patch(forged, successive.first, place / "out", equal_rows=True)
    assert len(str(raised.value)) < 1000
    assert list(place.iterdir()) == []


def test_a_member_twice(successive, delta, tmp_path):
    forged = shutil.copy(delta, tmp_path / "forged.delta.zip")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(forged, "a") as archive:
        archive.writestr(INDEX, b"{}")
    with pytest.raises(StarsmithError, match="that no delta has"):
        patch(Path(forged), successive.first, tmp_path / "out", equal_rows=False)


def test_no_archive_at_all(successive, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "noise").write_bytes(random.Random(1).randbytes(5000))
    for name in ("empty", "noise", "missing", "."):
        with pytest.raises(StarsmithError, match="delta"):
            patch(tmp_path / name, successive.first, tmp_path / "out", equal_rows=False)


@pytest.mark.parametrize("seed", range(12))
def test_damage_is_noticed_wherever_it_is(successive, delta, tmp_path, seed):
    """A bit flipped or the end cut off: an error, or by chance in a place that matters to nothing, the same bytes."""
    chance = random.Random(f"damage {seed}")
    data = bytearray(delta.read_bytes())
    place = chance.randrange(len(data))
    if seed % 3:
        data[place] ^= 1 << chance.randrange(8)
    else:
        del data[place:]
    (tmp_path / "x.delta.zip").write_bytes(data)
    try:
        patch(tmp_path / "x.delta.zip", successive.first, tmp_path / "out", equal_rows=False)
    except StarsmithError:
        assert not (tmp_path / "out").exists()
    else:
        assert files_of(tmp_path / "out") == files_of(successive.second)


# ---- another version of pyarrow


@pytest.fixture
def other_writer(monkeypatch):
    """A writer that gives other bytes for the same rows, as another version of pyarrow may."""

    def write(file, schema, batches, *, compression_level):
        return write_rows(file, schema, batches, compression_level=compression_level + 5)

    monkeypatch.setattr("starsmith.govern.patch.write_rows", write)
    monkeypatch.setattr(pa, "__version__", "99.1.0")


def test_other_bytes_are_an_error_that_names_the_version(successive, delta, tmp_path, other_writer):
    versions = json.loads((successive.second / MANIFEST).read_bytes())["versions"]
    with pytest.raises(StarsmithError) as raised:
        patch(delta, successive.first, tmp_path / "out", equal_rows=False)
    assert f"Install pyarrow {versions['pyarrow']}" in str(raised.value)
    assert "99.1.0" in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_equal_rows_may_be_accepted(successive, delta, tmp_path, other_writer):
    done = patch(delta, successive.first, tmp_path / "out", equal_rows=True)
    assert done.rewritten == tuple(file.path for file in index_of(delta).rebuilt)
    for name in sorted(path.name for path in (successive.second / "data").iterdir()):
        ours, theirs = (
            pq.ParquetFile(folder / "data" / name).read() for folder in (tmp_path / "out", successive.second)
        )
        assert ours.equals(theirs)
    assert done.plain()["equal_rows_only"] == list(done.rewritten)
    assert "not in their bytes" in done.words()


def test_other_rows_never_are(successive, delta, tmp_path):
    """An inserted text is exchanged, the digest beside it too or not."""

    def exchange(members, also):
        table = pq.ParquetFile(io.BytesIO(members[ROWS][0])).read()
        texts = table["content"].to_pylist()
        texts[0] = "something else"
        columns = {"content": texts}
        if also:
            digests = table["text_sha256"].to_pylist()
            digests[0] = hashlib.sha256(b"something else").hexdigest()
            columns["text_sha256"] = digests
        for name, values in columns.items():
            table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
        sink = io.BytesIO()
        write_rows(sink, DATA, [table], compression_level=3)
        members[ROWS] = sink.getvalue(), {}

    for also in (False, True):
        forged = changed(delta, tmp_path / "forged.delta.zip", lambda members, also=also: exchange(members, also))
        with pytest.raises(StarsmithError, match="comes out with other rows"):
            patch(forged, successive.first, tmp_path / "out", equal_rows=True)
