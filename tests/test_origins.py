"""Origins: told apart, and joined with what a user's metadata file knows of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starsmith.document import ORIGINS, Origin, RawDocument
from starsmith.errors import StarsmithError
from starsmith.origins import METADATA_COLUMNS, find, origins_table, read_metadata
from starsmith.progress import Quiet
from starsmith.recipe import Recipe, loads
from starsmith.settings import CollectSettings
from starsmith.shard import Located
from starsmith.sources import PathRange

JANUARY = datetime(2020, 1, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Fixed:
    """A source whose origins are given."""

    origins: tuple[Origin, ...] = ()

    def locate(self) -> list[str]:
        return [str(number) for number in range(len(self.origins))]

    def describe(self, location: str, *, shard_documents: int) -> Origin:
        return self.origins[int(location)]

    def times(self, origin: Origin) -> dict[bytes, int]:
        raise NotImplementedError

    def read(
        self, origin: Origin, part: PathRange, settings: CollectSettings, times: Mapping[bytes, int] | None = None
    ) -> Iterator[RawDocument]:
        raise NotImplementedError


def origin(owner: str, name: str, **values: Any) -> Origin:
    base = {"source": "git", "url": f"https://example.org/{owner}/{name}", "location": "", "state": "0"}
    return Origin(owner=owner, name=name, **(base | values))


def recipe_of(base: Path, *metadata: str) -> Recipe:
    lines = [f'[[source]]\nkind = "git"\npath = "r{n}"\nmetadata = "{name}"' for n, name in enumerate(metadata)]
    return loads("\n".join(lines or ['[[source]]\nkind = "installed"']), base=base)


def known(base: Path, text: str | bytes, name: str = "repositories.csv") -> dict[tuple[str, str], dict[str, Any]]:
    (base / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_metadata(recipe_of(base, name))


def found(*origins: Origin, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("starsmith.origins.open_source", lambda settings, base: Fixed(origins))
    return find(recipe_of(Path("/r")), Quiet(), workers=2)


def test_origins_come_in_order_of_owner_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [origin("b", "x"), origin("a", "y"), origin("a", "x"), origin("", "z")]
    result = found(*given, monkeypatch=monkeypatch)
    assert [item.origin.repo_name for item in result.located] == ["z", "a/x", "a/y", "b/x"]
    assert result.notes == ()


def test_of_two_clones_of_one_url_the_newest_is_used_and_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    clones = [
        origin("a", "x", committer_date=5, state="old"),
        origin("a", "x", committer_date=9, state="new"),
        origin("a", "x", committer_date=None, state="empty"),
        origin("a", "x", committer_date=99, state="broken", error="the pack is damaged"),
    ]
    for order in (clones, clones[::-1]):
        result = found(*order, monkeypatch=monkeypatch)
        assert [item.origin.state for item in result.located] == ["new"]
        assert len(result.notes) == 3
        assert set(result.notes) == {
            "https://example.org/a/x was found more than once; the clone with the newest commit is used."
        }


def test_whoever_has_left_is_set_aside_and_no_note_names_him(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [
        origin("a", "x", committer_date=5, state="old"),
        origin("a", "x", committer_date=9, state="new"),
        origin("a", "y", error="HEAD points nowhere"),
        origin("b", "z"),
    ]
    monkeypatch.setattr("starsmith.origins.open_source", lambda settings, base: Fixed(tuple(given)))
    result = find(recipe_of(Path("/r")), Quiet(), workers=2, is_left=lambda each: each.owner == "a")
    assert [item.origin.repo_name for item in result.located] == ["b/z"]
    assert [(item.origin.repo_name, item.origin.state) for item in result.left] == [("a/x", "new"), ("a/y", "0")]
    assert result.notes == ()
    # The older clone of one whose newest has left does not take its place.
    newest = find(recipe_of(Path("/r")), Quiet(), workers=2, is_left=lambda each: each.state == "new")
    assert [item.origin.repo_name for item in newest.located] == ["a/y", "b/z"]


def test_equally_new_clones_are_told_apart_by_state_not_by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    clones = [origin("a", "x", committer_date=5, state=state, location=state) for state in ("s2", "s1")]
    for order in (clones, clones[::-1]):
        assert [item.origin.state for item in found(*order, monkeypatch=monkeypatch).located] == ["s1"]


def test_what_cannot_be_read_is_an_origin_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    result = found(origin("a", "x", error="HEAD points nowhere"), origin("a", "y"), monkeypatch=monkeypatch)
    assert len(result.located) == 2
    assert result.notes == ("a/x: HEAD points nowhere",)


def rows_of(metadata: dict[tuple[str, str], dict[str, Any]], *origins: Origin) -> list[dict[str, Any]]:
    table = origins_table([Located(source=Fixed(), origin=each) for each in origins], metadata)
    assert table.schema == ORIGINS
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_metadata_is_joined_by_owner_and_name_whatever_their_case(tmp_path: Path) -> None:
    text = "owner,name,stars,forks,license,gha_created_at,other\nOcto,Spoon,120,14,MIT,2020-01-02,x\nocto,fork,,,,,\n"
    metadata = known(tmp_path, text)
    given = [origin("octo", "SPOON"), origin("octo", "fork"), origin("octo", "knife")]
    spoon, fork, knife = rows_of(metadata, *given)
    assert (spoon["star_events_count"], spoon["fork_events_count"], spoon["gha_license_id"]) == (120, 14, "MIT")
    assert spoon["gha_created_at"] == JANUARY
    assert (spoon["owner"], spoon["name"], spoon["repo_name"]) == ("octo", "SPOON", "octo/SPOON")
    for row in (fork, knife):
        assert all(row[name] is None for name in METADATA_COLUMNS)
    assert spoon["origin_id"] == given[0].origin_id


def test_parquet_and_csv_say_the_same(tmp_path: Path) -> None:
    columns = {
        "owner": ["o"],
        "name": ["n"],
        "github_id": [7],
        "star_events_count": [3],
        "gha_license_id": ["MIT"],
        "gha_pushed_at": [JANUARY],
    }
    pq.write_table(pa.table(columns), tmp_path / "r.PARQUET")
    csv = known(tmp_path, "owner,name,github_id,stars,license,gha_pushed_at\no,n,7,3,MIT,2020-01-02T00:00:00Z\n")
    assert read_metadata(recipe_of(tmp_path, "r.PARQUET")) == csv
    assert csv[("o", "n")]["github_id"] == 7


@pytest.mark.parametrize("name", ["007", "1.0", "1e5", "true", "null", "NA", "2020-01-02", "nan"])
def test_names_stay_as_they_are_written(tmp_path: Path, name: str) -> None:
    assert known(tmp_path, f"owner,name,stars\n{name},{name},1\n") == {
        (name.lower(), name.lower()): {"star_events_count": 1}
    }


@pytest.mark.parametrize(
    "written", ["2020-01-02", "2020-01-02 00:00:00", "2020-01-02T00:00:00Z", "2020-01-02T01:00:00+01:00"]
)
def test_dates_may_be_written_as_people_do(tmp_path: Path, written: str) -> None:
    (row,) = known(tmp_path, f"owner,name,gha_created_at\no,n,{written}\n").values()
    assert row["gha_created_at"] == JANUARY


def test_an_origin_without_owner_has_an_empty_one(tmp_path: Path) -> None:
    (row,) = rows_of(known(tmp_path, "owner,name,stars\n,alone,4\n"), origin("", "alone"))
    assert row["star_events_count"] == 4


def test_metadata_may_not_say_what_was_read(tmp_path: Path) -> None:
    text = "owner,name,branch_name,revision_date,declared_license,url\no,n,theirs,2020-01-02,MIT,http://other\n"
    given = origin("o", "n", branch_name="main", revision_date=5, declared_license="GPL-3.0-only")
    (row,) = rows_of(known(tmp_path, text), given)
    assert (row["branch_name"], row["declared_license"], row["url"]) == ("main", "GPL-3.0-only", given.url)
    assert row["revision_date"] == datetime.fromtimestamp(5e-6, UTC)


def test_several_files_are_joined_and_the_last_wins(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("owner,name,stars\no,n,1\no,m,2\n")
    (tmp_path / "b.csv").write_text("owner,name,stars\no,n,3\n")
    metadata = read_metadata(recipe_of(tmp_path, "a.csv", "b.csv"))
    assert {key[1]: row["star_events_count"] for key, row in metadata.items()} == {"n": 3, "m": 2}


def test_the_path_may_begin_at_home_or_at_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "r.csv").write_text("owner,name,stars\no,n,1\n")
    for path in ("~/r.csv", str(tmp_path / "r.csv")):
        assert read_metadata(recipe_of(Path("/elsewhere"), path)) == {("o", "n"): {"star_events_count": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("owner,stars\no,1\n", "no column 'name'"),
        ("", "cannot be read"),
        ("owner,name\na,b,c\n", "cannot be read"),
        (b"owner,name\n\xff\xfe,b\n", "cannot be read"),
        ("owner,name,stars\no,n,many\n", "wrong type in column 'star_events_count'; expected int64"),
        ("owner,name,stars\no,n,1.5\n", "wrong type in column 'star_events_count'"),
        ("owner,name,gha_created_at\no,n,yesterday\n", "wrong type in column 'gha_created_at'"),
        ("owner,name,gha_created_at\no,n,2020\n", "wrong type in column 'gha_created_at'"),
        ("owner,name,stars,star_events_count\no,n,1,2\n", "more than one column for 'star_events_count'"),
        ("owner,name,stars\no,,1\n", "a row without a name"),
    ],
)
def test_a_bad_file_is_an_error_that_names_it(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(StarsmithError, match=message) as raised:
        known(tmp_path, text)
    assert str(tmp_path / "repositories.csv") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_no_table_or_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StarsmithError, match=r"none\.csv cannot be read"):
        read_metadata(recipe_of(tmp_path, "none.csv"))
    with pytest.raises(StarsmithError, match=r"bad\.parquet cannot be read"):
        known(tmp_path, "owner,name\n", "bad.parquet")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StarsmithError, match="folder is a folder; expected"):
        read_metadata(recipe_of(tmp_path, "folder"))
