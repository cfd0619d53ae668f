"""The dataset card: a valid header, true numbers, and hostile names that stay names in every reader of Markdown."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate.filters import filters
from starsmith.govern.composition import Composition, recipe_of
from starsmith.govern.dataset_card import card
from starsmith.govern.foreign_text import markdown_code
from starsmith.recipe import Recipe
from starsmith.settings import ReleaseSettings
from starsmith.workspace import open_store, read_build


@pytest.fixture(scope="module")
def composition(small_workspace) -> Composition:
    store = open_store(small_workspace, create=False)
    return Composition.of_build(store, read_build(store))


@pytest.fixture(scope="module")
def recipe(small_workspace) -> Recipe:
    return recipe_of(read_build(open_store(small_workspace, create=False)))


@pytest.fixture(scope="module")
def released(small_workspace) -> str:
    record = read_build(open_store(small_workspace, create=False))
    return Path(small_workspace, str(record.release), "README.md").read_text("utf-8")


def header(text: str) -> dict[str, object]:
    fence, front, _ = text.split("---\n", 2)
    assert fence == ""
    return yaml.safe_load(front)


def rows(text: str, title: str) -> list[list[str]]:
    """Return the body of the table below a heading."""
    lines = text.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines()
    table = [line for line in lines if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def whole(text: str) -> int:
    return int(text.replace(",", ""))


def test_header_is_what_hubs_read(released):
    found = header(released)
    assert found["pretty_name"] == "small"
    assert found["size_categories"] == ["n<1K"]
    configs = {config["config_name"]: config["data_files"] for config in found["configs"]}
    assert configs == {"default": "data/*.parquet", "ids": "ids/*.parquet"}


@pytest.mark.parametrize(
    "name", ['a "quoted" \\ name', "# not: a comment", "two\nlines\x85\ufeff", "{a: [b]}", "\U0001f600"]
)
def test_header_survives_any_name(composition, recipe, name):
    named = replace(recipe, release=replace(recipe.release, name=name))
    pretty = header(card(composition, named, {}))["pretty_name"]
    assert all(char.isprintable() for char in pretty)
    assert [char for char in name if char.isprintable() and char not in pretty] == []


@pytest.mark.parametrize(
    ("kept", "category"), [(999, "n<1K"), (1000, "1K<n<10K"), (2_000_000, "1M<n<10M"), (10**13, "n>1T")]
)
def test_size_category(composition, recipe, kept, category):
    counted = replace(composition, counts=[{"stage": "release", "verdict": "keep", "documents": kept, "bytes": 1}])
    assert header(card(counted, recipe, {}))["size_categories"] == [category]


def test_numbers_are_those_of_the_ledger(released, composition):
    assert f"**{composition.kept_documents:,} documents**" in released
    left_out = rows(released, "What was left out")
    assert {row[0].strip("`"): whole(row[2]) for row in left_out} == {
        row["verdict"]: row["documents"] for row in composition.left_out()
    }
    assert sum(whole(row[1]) for row in rows(released, "Languages")) == composition.kept_documents
    assert sum(whole(row[1]) for row in rows(released, "Licences")) == composition.kept_documents
    assert whole(rows(released, "From collected to released")[-1][3]) == composition.kept_documents


def test_every_filter_has_its_row(released, recipe, composition):
    found = rows(released, "Every filter")
    assert [(row[0].strip("`"), row[1]) for row in found] == [
        (rule.reason, rule.what) for rule in filters(recipe.filters)
    ]
    dropped = sum(row["documents"] for row in composition.left_out("filters"))
    assert sum(whole(row[3]) for row in found) == dropped > 0


def test_duplicates_are_counted(released):
    assert "Equal bytes: 1 documents left out" in released
    assert rows(released, "Duplicates") == [["2", "1"]]
    assert re.search(r"licences of different kinds: 1 .*`license_conflict`", released)


def test_card_of_a_build_that_kept_nothing(composition, recipe):
    empty = replace(
        composition,
        counts=[{"stage": "errors", "verdict": "error.binary", "documents": 3, "bytes": 9}],
        languages=[],
        licences=[],
        licence_types=[],
        origins=[],
        kept_origins=0,
        clusters=[],
    )
    assert "Nothing passed every rule" in card(empty, recipe, {})


def test_paper_profile_says_what_it_keeps(composition, recipe):
    paper = replace(
        recipe,
        licence=replace(recipe.licence, no_licence="keep"),
        near_duplicates=replace(recipe.near_duplicates, verify=False),
        release=ReleaseSettings(ids_only=False),
    )
    text = card(composition, paper, {})
    assert "without any licence statement are in it" in text
    assert "Not every pair was checked" in text
    assert [config["config_name"] for config in header(text)["configs"]] == ["default"]


@given(st.text(max_size=400))
def test_no_name_leaves_its_code_span_or_cell(name):
    shown = markdown_code(name)
    if shown != "(empty)":
        assert shown[0] == shown[-1] == "`"
        assert not set(shown[1:-1]) & set("`|\n\r")
        assert all(char.isprintable() for char in shown)


def test_hostile_origin_and_licence(composition, recipe):
    evil = "a|b`c\n# <b>\u202e"
    hostile = replace(
        composition,
        origins=[{**composition.origins[0], "repo_name": evil}],
        licences=[{**composition.licences[0], "license_expression": f"LicenseRef-{evil}"}],
    )
    text = card(hostile, recipe, {})
    assert rows(text, "Origins")[0][0] == r"`a\x7cb\x60c\n# <b>\u202e`"
    assert rows(text, "Licences")[0][0] == r"`LicenseRef-a\x7cb\x60c\n# <b>\u202e`"
    assert {char for char in text if not char.isprintable()} == {"\n"}
