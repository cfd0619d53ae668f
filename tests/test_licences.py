"""Licences of a corpus: statements of an origin meet from whichever shard they came; every document has one row."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from starsmith.builder import Builder
from starsmith.curate.licence_decision import LICENCES
from starsmith.document import (
    DOCUMENTS,
    FOLDERS,
    LICENCE_STATEMENTS,
    ORIGINS,
    TEXTS,
    ancestors,
    content_id,
    folder_of,
    origin_id,
)
from starsmith.engines.local import LocalEngine
from starsmith.licences import declared_statements, resolve
from starsmith.progress import Quiet
from starsmith.recipe import Recipe, loads
from starsmith.storage import Store
from starsmith.table import Table, write_part

Row = dict[str, Any]
PLAIN: dict[pa.DataType, Any] = {pa.string(): "", pa.int64(): 0, pa.int32(): 0, pa.binary(20): bytes(20)}
SCHEMAS = {
    "documents": DOCUMENTS,
    "texts": TEXTS,
    "folders": FOLDERS,
    "licence_statements": LICENCE_STATEMENTS,
    "origins": ORIGINS,
}


class Inline(LocalEngine):
    """Runs tasks in this process."""

    def map(self, function: Any, items: Sequence[Any], *, label: str, progress: Callable[[int], None]) -> Iterator[Any]:
        for item in items:
            yield function(item, attempt=0, progress=progress)


def recipe_of(*settings: str) -> Recipe:
    return loads("\n".join(['[[source]]\nkind = "installed"', *settings]), base=Path("/corpora"))


def table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    base = {field.name: None if field.nullable else PLAIN[field.type] for field in schema}
    return pa.Table.from_pylist([base | row for row in rows], schema=schema)


def document(origin: str, path: str, *, shard: str = "a", header: str | None = None, states: str | None = None) -> Row:
    """A document in short: where it is, and what it states for itself or, as a licence file, for its folder."""
    return {"origin": origin, "path": path, "shard": shard, "header": header, "states": states}


def tables_of(documents: list[Row], origins: list[Row]) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {name: [] for name in SCHEMAS}
    rows["origins"] = [{"origin_id": origin_id(row["url"])} | row for row in origins]
    for given in documents:
        key = f"{given['origin']}/{given['path']}".encode()
        place = {"origin_id": origin_id(given["origin"]), "shard": given["shard"], "folder": folder_of(given["path"])}
        ids = {"document_id": content_id(key), "content_id": content_id(b"content of " + key)}
        rows["documents"].append(place | ids | {"path": given["path"]})
        rows["texts"].append(ids | {"shard": given["shard"], "licence": given["header"]})
        for distance, above in enumerate(ancestors(place["folder"])):
            rows["folders"].append(place | {"ancestor": above, "distance": distance})
        if given["states"]:
            stated = {"kind": "licence_file", "expression": given["states"], "score": 99.0, "path": given["path"]}
            rows["licence_statements"].append(place | ids | stated)
    return rows


def resolved(tmp_path: Path, documents: list[Row], recipe: Recipe | None = None, **origins: Row) -> dict[str, Row]:
    """Return the licence row of each document, by `origin/path`."""
    urls = {given["origin"]: origins.get(given["origin"], {}) for given in documents}
    rows = tables_of(documents, [{"url": url} | values for url, values in urls.items()])
    store = Store(str(tmp_path))
    builder = Builder(store=store, engine=Inline(workers=1, spill=store.path("tmp/spill")), reporter=Quiet())
    for name, schema in SCHEMAS.items():
        shards = sorted({row.get("shard", "") for row in rows[name]})
        own = [[row for row in rows[name] if row.get("shard", "") == shard] for shard in shards]
        fields = [[{key: row[key] for key in row if key in schema.names} for row in each] for each in own]
        parts = [
            write_part(store, name, schema, [table(each, schema)], shard=s)
            for s, each in zip(shards, fields, strict=True)
        ]
        builder.tables[name] = Table(name=name, schema=schema, parts=tuple(parts))
    builder.begin("licences")
    found = resolve(builder, recipe or recipe_of()).read(store)
    builder.engine.close()
    assert found.schema == LICENCES
    assert found.num_rows == len(documents), "every document has exactly one row"
    names = {
        row["document_id"]: f"{given['origin']}/{given['path']}"
        for row, given in zip(rows["documents"], documents, strict=True)
    }
    return {names[row["document_id"]]: row for row in found.to_pylist()}


def types(found: dict[str, Row]) -> dict[str, tuple[str, str | None, str]]:
    return {name: (row["license_type"], row["expression"], row["method"]) for name, row in found.items()}


def test_the_nearest_statement_decides_unless_the_file_states_its_own(tmp_path: Path) -> None:
    found = resolved(
        tmp_path,
        [
            document("u", "LICENSE", states="MIT"),
            document("u", "src/a.py"),
            document("u", "src/own.py", header="GPL-3.0-only"),
            document("u", "vendor/LICENSE", states="GPL-3.0-only"),
            document("u", "vendor/x/b.py"),
            document("none", "c.py"),
        ],
    )
    assert types(found) == {
        "u/LICENSE": ("permissive", "MIT", "licence_file"),
        "u/src/a.py": ("permissive", "MIT", "licence_file"),
        "u/src/own.py": ("non_permissive", "GPL-3.0-only", "header"),
        "u/vendor/LICENSE": ("non_permissive", "GPL-3.0-only", "licence_file"),
        "u/vendor/x/b.py": ("non_permissive", "GPL-3.0-only", "licence_file"),
        "none/c.py": ("no_license", None, "none"),
    }
    assert found["u/src/a.py"]["evidence_path"] == "LICENSE"
    assert found["u/vendor/x/b.py"]["evidence_path"] == "vendor/LICENSE"
    assert found["u/vendor/x/b.py"]["folder"] == "vendor"


def test_statements_of_an_origin_meet_from_every_shard_and_folders_may_repeat(tmp_path: Path) -> None:
    """An origin that is cut into shards has its licence file in one of them and its folders in several."""
    documents = [
        document("u", "LICENSE", shard="a", states="MIT"),
        document("u", "src/a.py", shard="a"),
        document("u", "src/b.py", shard="b"),
        document("u", "src/c.py", shard="c"),
    ]
    assert set(types(resolved(tmp_path, documents)).values()) == {("permissive", "MIT", "licence_file")}


def test_origins_do_not_speak_for_each_other(tmp_path: Path) -> None:
    documents = [
        document(f"u{n}", path, states="MIT" if path == "LICENSE" and n % 2 else None)
        for n in range(40)
        for path in ("LICENSE", "a.py")
    ]
    found = types(resolved(tmp_path, documents))
    for number in range(40):
        assert found[f"u{number}/a.py"][0] == ("permissive" if number % 2 else "no_license")


def test_what_an_origin_declares_holds_for_all_of_it(tmp_path: Path) -> None:
    documents = [document("dist", "pkg/a.py"), document("other", "a.py"), document("odd", "a.py")]
    found = types(
        resolved(
            tmp_path, documents, dist={"declared_license": "MIT"}, odd={"declared_license": "see the file, please"}
        )
    )
    assert found["dist/pkg/a.py"] == ("permissive", "MIT", "origin")
    assert found["other/a.py"] == ("no_license", None, "none")


def test_metadata_speaks_where_nothing_else_does(tmp_path: Path) -> None:
    documents = [document("u", "a.py"), document("u", "b/LICENSE", states="MIT"), document("n", "a.py")]
    known = {"u": {"gha_license_id": "GPL-3.0-only"}, "n": {"gha_license_id": "NOASSERTION"}}
    found = types(resolved(tmp_path, documents, **known))
    assert found["u/a.py"] == ("non_permissive", "GPL-3.0-only", "gha")
    assert found["u/b/LICENSE"] == ("permissive", "MIT", "licence_file")
    assert found["n/a.py"][0] == "non_permissive"


def test_the_papers_rule_takes_all_folders_together(tmp_path: Path) -> None:
    documents = [
        document("u", "LICENSE", states="GPL-3.0-only"),
        document("u", "a/LICENSE", states="MIT"),
        document("u", "a/b.py"),
    ]
    union = recipe_of("[licence]", 'propagation = "union"')
    assert types(resolved(tmp_path, documents))["u/a/b.py"][0] == "permissive"
    assert types(resolved(tmp_path, documents, union))["u/a/b.py"][0] == "non_permissive"


@pytest.mark.parametrize(("declared", "expression"), [("MIT", "MIT"), ("mit", "MIT"), (None, None), ("", None)])
def test_declared_licences_are_normalised(declared: str | None, expression: str | None) -> None:
    origins = table([{"origin_id": origin_id("u"), "declared_license": declared}], ORIGINS)
    found = declared_statements(origins).to_pylist()
    assert [row["expression"] for row in found] == ([expression] if expression else [])
    assert all((row["kind"], row["folder"], row["path"]) == ("origin", "", "") for row in found)
