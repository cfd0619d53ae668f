"""From statements to the licence of each document: folders in Python, documents in SQL, run here by DuckDB."""

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate.licence_decision import (
    EXPRESSION_TYPES,
    FOLDER_LICENCES,
    LICENCES,
    expression_types,
    licences_query,
    resolve_folders,
)
from starsmith.document import FOLDERS, LICENCE_STATEMENTS, ancestors, document_id, folder_of, origin_id
from starsmith.engines.sql_subset import violations
from starsmith.settings import LicenceSettings

FIXED = LicenceSettings()
PAPER = LicenceSettings(readmes=True, headers=False, manifests=False, expressions=False, propagation="union")
ORIGIN = origin_id("https://example.org/one")
UNKNOWN = "LicenseRef-scancode-unknown-license-reference"

KINDS = {
    "package.json": "manifest",
    "Cargo.toml": "manifest",
    "METADATA": "manifest",
    "README.md": "readme",
    "": "origin",
}


def statements(*stated: tuple[str, str], folder: str | None = None, origin: bytes = ORIGIN) -> pa.Table:
    """A table of (path, expression) pairs; the kind follows from the file name, the folder from the path."""
    rows = [
        {
            "origin_id": origin,
            "folder": folder_of(path) if folder is None else folder,
            "document_id": None,
            "path": path,
            "kind": KINDS.get(path.rpartition("/")[2], "licence_file"),
            "expression": expression,
            "score": 97.0,
        }
        for path, expression in stated
    ]
    return pa.Table.from_pylist(rows, schema=LICENCE_STATEMENTS)


def resolved(
    *stated: tuple[str, str], settings: LicenceSettings = FIXED, folder: str | None = None
) -> dict[str, tuple[str, str, str]]:
    rows = resolve_folders(statements(*stated, folder=folder), settings).to_pylist()
    return {row["folder"]: (row["expression"], row["license_type"], row["evidence_path"]) for row in rows}


@pytest.mark.parametrize(
    ("stated", "expression", "evidence"),
    [
        ([("LICENSE", "MIT")], "MIT", "LICENSE"),
        (
            [("Cargo.toml", "Apache-2.0 OR MIT"), ("LICENSE-MIT", "MIT"), ("LICENSE-APACHE", "Apache-2.0")],
            "Apache-2.0 OR MIT",
            "Cargo.toml",
        ),
        ([("LICENSE-MIT", "MIT"), ("LICENSE-APACHE", "Apache-2.0")], "Apache-2.0 OR MIT", "LICENSE-APACHE"),
        ([("LICENSE-MIT", "MIT"), ("UNLICENSE", "Unlicense")], "MIT OR Unlicense", "LICENSE-MIT"),
        ([("LICENSE-MIT", "MIT"), ("LICENSE-GPL", "GPL-2.0-only")], "GPL-2.0-only AND MIT", "LICENSE-GPL"),
        ([("LICENSE", "MIT"), ("COPYING", "GPL-2.0-only")], "GPL-2.0-only AND MIT", "COPYING"),
        ([("COPYING", "GPL-3.0-only"), ("COPYING.LESSER", "LGPL-3.0-only")], "LGPL-3.0-only", "COPYING.LESSER"),
        ([("package.json", "MIT"), ("LICENSE", "GPL-3.0-only")], "GPL-3.0-only AND MIT", "LICENSE"),
        ([("package.json", "MIT"), ("LICENSE", f"{UNKNOWN} AND MIT")], "MIT", "package.json"),
        ([("package.json", "MIT"), ("LICENSE", UNKNOWN)], f"{UNKNOWN} AND MIT", "LICENSE"),
        ([("package.json", "BSD-3-Clause"), ("LICENSE", "BSD-2-Clause")], "BSD-2-Clause", "package.json"),
        ([("package.json", "GPL-2.0-or-later"), ("COPYING", "GPL-2.0-only")], "GPL-2.0-or-later", "package.json"),
        ([("package.json", "GPL-1.0-or-later"), ("COPYING", "GPL-3.0-only")], "GPL-3.0-only", "package.json"),
        ([("", "MIT"), ("LICENSE", "MIT")], "MIT", ""),
        ([("", "MIT"), ("COPYING", "GPL-2.0-only")], "GPL-2.0-only AND MIT", "COPYING"),
    ],
)
def test_statements_of_one_folder(stated: list[tuple[str, str]], expression: str, evidence: str) -> None:
    found = resolved(*stated)[""]
    assert (found[0], found[2]) == (expression, evidence)


def test_a_distributions_metadata_speaks_for_the_licence_files_it_lists() -> None:
    vendored = "pip-1.dist-info/licenses/src/pip/_vendor/certifi/LICENSE"
    stated = [
        ("pip-1.dist-info/METADATA", "MIT"),
        ("pip-1.dist-info/licenses/LICENSE.txt", "MIT"),
        (vendored, "MPL-2.0"),
    ]
    assert resolved(*stated, folder="")[""] == ("MIT", "permissive", "pip-1.dist-info/METADATA")
    contrary = [("x-1.dist-info/METADATA", "MIT"), ("x-1.dist-info/COPYING", "GPL-3.0-only")]
    assert resolved(*contrary, folder="")[""] == ("GPL-3.0-only AND MIT", "non_permissive", "x-1.dist-info/COPYING")


def test_readmes_come_last() -> None:
    both = [("README.md", "GPL-3.0-only"), ("LICENSE", "MIT")]
    settings = LicenceSettings(readmes=True)
    assert resolved(*both, settings=settings)[""][0] == "MIT"
    assert resolved(both[0], settings=settings)[""][0] == "GPL-3.0-only"
    assert resolved(both[0]) == {}


def test_nearest_folders_stand_alone_and_the_union_adds_up() -> None:
    stated = [("LICENSE", "MIT"), ("vendor/LICENSE", "GPL-2.0-only OR ISC"), ("vendored/LICENSE", "Zlib")]
    assert {folder: found[:2] for folder, found in resolved(*stated).items()} == {
        "": ("MIT", "permissive"),
        "vendor": ("GPL-2.0-only OR ISC", "permissive"),
        "vendored": ("Zlib", "permissive"),
    }
    assert {folder: found[:2] for folder, found in resolved(*stated, settings=PAPER).items()} == {
        "": ("MIT", "permissive"),
        "vendor": ("GPL-2.0-only AND ISC AND MIT", "non_permissive"),
        "vendored": ("MIT AND Zlib", "permissive"),
    }


def test_neutral_statements_leave_the_folder_above_in_charge() -> None:
    assert set(resolved(("LICENSE", "MIT"), ("docs/LICENSE", "LicenseRef-scancode-dco-1.1"))) == {""}


@given(
    st.permutations([("LICENSE", "MIT"), ("COPYING", "GPL-2.0-only"), ("package.json", "ISC"), ("a/LICENSE", "Zlib")])
)
def test_order_and_repetition_of_rows_make_no_difference(stated: list[tuple[str, str]]) -> None:
    expected = resolve_folders(statements(*sorted(stated)), FIXED)
    assert resolve_folders(statements(*stated, *stated), FIXED) == expected
    assert expected.schema == FOLDER_LICENCES


PATHS = ["a.py", "vendor/b.py", "vendor/deep/c.py", "vendored/d.py", "headed.py"]


def decide(settings: LicenceSettings, *stated: tuple[str, str], gha: str | None = None) -> dict[str, dict[str, object]]:
    """LICENCES of PATHS by path; `headed.py` states GPL-3.0-only itself."""
    folders = sorted({folder_of(path) for path in PATHS} | {"vendor"})
    rows = [(ORIGIN, f, above, i) for f in folders for i, above in enumerate(ancestors(f))]
    documents = [
        {
            "shard": "a",
            "document_id": document_id(ORIGIN, None, p.encode()),
            "origin_id": ORIGIN,
            "content_id": p.encode(),
            "path": p,
            "folder": folder_of(p),
        }
        for p in PATHS
    ]
    texts = [
        {"shard": "a", "content_id": p.encode(), "licence": "GPL-3.0-only" if p == "headed.py" else None} for p in PATHS
    ]
    tables = {
        "documents": pa.Table.from_pylist(documents),
        "folders": pa.table([list(column) for column in zip(*rows * 2, strict=True)], schema=FOLDERS),
        "folder_licences": resolve_folders(statements(*stated), settings),
        "texts": pa.Table.from_pylist(texts * 2),
        "expression_types": expression_types(["GPL-3.0-only", None, gha], settings),
        "origins": pa.table({"origin_id": [ORIGIN], "gha_license_id": pa.array([gha], pa.string())}),
    }
    query = licences_query(settings)
    assert violations(query) == []
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        found = connection.sql(query).to_arrow_table()
    assert set(found.column_names) == set(LICENCES.names)
    names = {row["document_id"]: row["path"] for row in documents}
    assert found.num_rows == len(PATHS)
    return {names[row["document_id"]]: row for row in found.select(LICENCES.names).cast(LICENCES).to_pylist()}


def summary(found: dict[str, dict[str, object]]) -> list[tuple[object, object, object]]:
    return [(found[path]["license_type"], found[path]["method"], found[path]["evidence_path"]) for path in PATHS]


def test_the_nearest_folder_governs_and_a_header_goes_before_it() -> None:
    found = decide(FIXED, ("LICENSE", "MIT"), ("vendor/LICENSE", "GPL-2.0-only"))
    assert summary(found) == [
        ("permissive", "licence_file", "LICENSE"),
        ("non_permissive", "licence_file", "vendor/LICENSE"),
        ("non_permissive", "licence_file", "vendor/LICENSE"),
        ("permissive", "licence_file", "LICENSE"),
        ("non_permissive", "header", "headed.py"),
    ]
    assert found["vendor/deep/c.py"]["folder"] == "vendor"
    assert found["a.py"]["score"] == 97.0


def test_without_any_statement_there_is_no_licence() -> None:
    found = decide(FIXED)
    assert summary(found)[0] == ("no_license", "none", None)
    assert found["a.py"]["expression"] is None


@pytest.mark.parametrize(
    ("settings", "gha", "folder_licence", "expected"),
    [
        (FIXED, "MIT", "GPL-2.0-only", ("non_permissive", "licence_file", "LICENSE")),
        (FIXED, "MIT", None, ("permissive", "gha", None)),
        (FIXED, "GPL-3.0", None, ("non_permissive", "gha", None)),
        (FIXED, "NOASSERTION", None, ("non_permissive", "gha", None)),
        (PAPER, "MIT", "GPL-2.0-only", ("permissive", "gha", None)),
        (PAPER, "GPL-3.0", "MIT", ("non_permissive", "gha", None)),
        (PAPER, "NOASSERTION", "MIT", ("permissive", "licence_file", "LICENSE")),
        (PAPER, "NOASSERTION", None, ("non_permissive", "gha", None)),
        (PAPER, None, "MIT", ("permissive", "licence_file", "LICENSE")),
        (PAPER, None, None, ("no_license", "none", None)),
    ],
)
def test_what_github_recognised(
    settings: LicenceSettings, gha: str | None, folder_licence: str | None, expected: tuple[str, str, str | None]
) -> None:
    stated = [("LICENSE", folder_licence)] if folder_licence else []
    assert summary(decide(settings, *stated, gha=gha))[0] == expected


def test_headers_are_passed_over_where_the_settings_say_so() -> None:
    assert summary(decide(PAPER, ("LICENSE", "MIT")))[4] == ("permissive", "licence_file", "LICENSE")


def test_types_of_stated_expressions() -> None:
    types = expression_types(["MIT", None, "MIT", "GPL-2.0", "NOASSERTION", "what?"], FIXED)
    assert types.schema == EXPRESSION_TYPES
    assert types.to_pylist() == [
        {"expression": "GPL-2.0", "license_type": "non_permissive"},
        {"expression": "MIT", "license_type": "permissive"},
        {"expression": "what?", "license_type": "non_permissive"},
    ]


@given(st.lists(st.sampled_from(["MIT", "GPL-2.0-only", "ISC", "MPL-2.0"]), min_size=1, max_size=4), st.data())
def test_the_paper_union_never_frees_a_folder_below(licences: list[str], data: st.DataObject) -> None:
    """Whatever folders below the root state, a non-permissive root makes everything below non-permissive."""
    names = [data.draw(st.sampled_from(["a/LICENSE", "a/b/LICENSE", "c/LICENSE", "a/b/COPYING"])) for _ in licences]
    found = resolved(("LICENSE", "GPL-3.0-only"), *zip(names, licences, strict=True), settings=PAPER)
    assert {kind for _, kind, _ in found.values()} == {"non_permissive"}
