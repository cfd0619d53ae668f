"""Recipes: round trips, profiles, the template, and what a user is told about each kind of mistake."""

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.recipe import (
    DEFAULT_PROFILE,
    PROFILES,
    SECTIONS,
    TABLES,
    Recipe,
    dumps,
    load,
    loads,
    profile_values,
    template,
)
from starsmith.settings import (
    BenchmarkSettings,
    FilterSettings,
    LicenceSettings,
    MalwareSettings,
    NearDuplicateSettings,
    SourceSettings,
)
from starsmith.toml_text import toml_value

BASE = Path("/corpora")
RECIPES = Path(__file__).parent.parent / "recipes"
SOURCE = '[[source]]\nkind = "installed"\n'


def from_text(text: str) -> Recipe:
    return loads(text, base=BASE, name="my.toml")


# Round trips

NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20).map(lambda name: "n" + name)


def values_of(key: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    """Every value that a key can be set to."""
    if key.metadata["choices"]:
        return st.sampled_from(key.metadata["choices"])
    least, most = key.metadata["least"], key.metadata["most"]
    if key.type is bool:
        return st.booleans()
    if key.type is int:
        return st.integers(-(2**63) if least is None else least, 2**63 - 1 if most is None else most)
    if key.type is float:
        return st.floats(least, most, allow_nan=False, allow_infinity=False)
    return NAMES


def settings_of(kind: type) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{key.name: values_of(key) for key in dataclasses.fields(kind)})


def is_possible(near: NearDuplicateSettings) -> bool:
    return (near.bands == 0) == (near.rows == 0) and near.bands * near.rows <= near.permutations


GIT = st.builds(SourceSettings, kind=st.just("git"), path=NAMES, metadata=NAMES, commit_times=st.booleans())
INSTALLED = st.builds(SourceSettings, kind=st.just("installed"), path=NAMES, standard_library=st.booleans())
NEAR = st.builds(
    lambda near, layout: dataclasses.replace(near, bands=layout[0], rows=layout[1]),
    settings_of(NearDuplicateSettings),
    st.sampled_from([(0, 0), (1, 16), (4, 4), (16, 1)]),
)
OWN = {
    "near_duplicates": NEAR,
    "malware": settings_of(MalwareSettings).map(lambda malware: dataclasses.replace(malware, clamd="")),
}
"""Settings that not every value of another lets be."""
RECIPE = st.builds(
    Recipe,
    profile=st.sampled_from(list(PROFILES)),
    base=st.just(BASE),
    # Under a name that no source has: nothing that is read lies in the workspace.
    workspace=NAMES.map(lambda name: BASE / f"w{name}") | NAMES.map(lambda name: Path("/elsewhere") / name),
    sources=st.lists(GIT | INSTALLED, min_size=1, max_size=3, unique_by=lambda source: str(Path(source.path))).map(
        tuple
    ),
    benchmarks=st.lists(
        st.builds(BenchmarkSettings, name=NAMES, path=NAMES, prompt=NAMES), max_size=2, unique_by=lambda each: each.name
    ).map(tuple),
    **{name: OWN.get(name, settings_of(kind)) for name, kind in SECTIONS.items()},
)


@given(RECIPE)
def test_a_written_recipe_reads_back_equal(recipe: Recipe) -> None:
    assert is_possible(recipe.near_duplicates)
    text = dumps(recipe)
    assert loads(text, base=BASE, name="other.toml") == recipe
    assert dumps(from_text(text)) == text


@given(RECIPE, st.sampled_from(list(SECTIONS)), st.data())
def test_any_changed_key_changes_the_fingerprint(recipe: Recipe, section: str, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(dataclasses.fields(SECTIONS[section])))
    value = data.draw(values_of(key))
    settings = dataclasses.replace(getattr(recipe, section), **{key.name: value})
    changed = dataclasses.replace(recipe, **{section: settings})
    same = changed == recipe or key.metadata["resource"]
    assert (fingerprint(changed) == fingerprint(recipe)) == same


def test_where_a_recipe_lies_does_not_change_its_fingerprint() -> None:
    moved = loads(SOURCE, base=Path("/elsewhere"), name="renamed.toml")
    assert moved != from_text(SOURCE)
    assert fingerprint(moved) == fingerprint(from_text(SOURCE))


# Profiles


def test_the_default_profile_is_the_settings_own_defaults() -> None:
    recipe = from_text(SOURCE)
    assert recipe.profile == DEFAULT_PROFILE == "stack-v2-fixed"
    assert all(getattr(recipe, section) == kind() for section, kind in SECTIONS.items())
    assert recipe.order == ("errors", "repository", "licence", "filters", "exact", "scan", "near")


def test_the_papers_profile_has_the_papers_rules() -> None:
    recipe = from_text(f'profile = "stack-v2"\n{SOURCE}')
    assert recipe.order == ("errors", "repository", "exact", "licence", "near", "filters", "scan")
    assert recipe.language.name == "first"
    assert recipe.licence == LicenceSettings(
        no_licence="keep", propagation="union", expressions=False, headers=False, manifests=False, readmes=True
    )
    assert recipe.exact_duplicates.conflict == "any_permissive"
    assert recipe.near_duplicates == NearDuplicateSettings(
        tokens="paper", permutations=250, bands=25, rows=10, verify=False
    )
    assert recipe.filters == FilterSettings()


def test_a_key_in_the_recipe_overrides_the_profile() -> None:
    recipe = from_text(f'profile = "stack-v2"\n{SOURCE}[licence]\nno_licence = "drop"\nreadmes = true')
    assert recipe.licence.no_licence == "drop"
    assert recipe.licence.propagation == "union"


def test_profiles_change_only_keys_that_exist_to_values_that_are_possible() -> None:
    for name, profile in PROFILES.items():
        sections = {section: SECTIONS[section](**values) for section, values in profile.overrides.items()}
        recipe = Recipe(profile=name, base=BASE, workspace=BASE / "w", sources=(SourceSettings(path="x"),), **sections)
        assert from_text(dumps(recipe)) == dataclasses.replace(recipe, workspace=BASE / "w")
        assert sorted(profile.order) == sorted(PROFILES[DEFAULT_PROFILE].order)


# Places


def test_paths_start_at_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "corpus.toml").write_text(SOURCE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    recipe = load("deep/corpus.toml")
    assert recipe == load(tmp_path / "deep" / "corpus.toml")
    assert recipe.base == tmp_path / "deep"
    assert recipe.workspace == tmp_path / "deep" / "corpus.workspace"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("w", "/corpora/w"),
        ("../w", "/corpora/../w"),
        ("/w", "/w"),
        ("~/w", "/home/me/w"),
        ("", "/corpora/my.workspace"),
    ],
)
def test_workspace(written: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert from_text(f'workspace = "{written}"\n{SOURCE}').workspace == Path(expected)


# The template and the examples


def test_the_template_loads_as_the_default_profile() -> None:
    recipe = from_text(template())
    assert recipe == from_text('[[source]]\nkind = "git"\npath = "."')


def test_the_template_with_every_key_uncommented_is_the_same_recipe() -> None:
    text = template().replace("\n#[[benchmark]]", "\n[[benchmark]]").replace('#name = ""', 'name = "x"', 1)
    uncommented = re.sub(r"(?m)^#(?=[a-z_]+ = )", "", text.replace('#path = ""', 'path = "x"'))
    (benchmark,) = from_text(uncommented).benchmarks
    assert benchmark == BenchmarkSettings(name="x", path="x")
    assert dataclasses.replace(from_text(uncommented), benchmarks=()) == from_text(template())
    tree = tomllib.loads(uncommented)
    for table, kind in TABLES.items():
        written = tree if not table else tree[table.strip("[]")][0] if table.startswith("[[") else tree[table]
        missing = {key.name for key in dataclasses.fields(kind)} - written.keys()
        assert not missing


def test_the_template_says_of_each_key_what_it_means_and_can_be() -> None:
    text = " ".join(template().replace("\n# ", " ").split())
    for section, kind in TABLES.items():
        for key in dataclasses.fields(kind):
            assert " ".join(key.metadata["doc"].split()) in text
            for choice in key.metadata["choices"]:
                assert f'"{choice}"' in text
            for name, value in profile_values(section, key.name).items():
                assert f"Profile {name}: {toml_value(value)}." in text
    assert "An integer from 1 to 64. Default: 5." in text
    assert 'Default: "own". Profile stack-v2: "first".' in text


def test_the_quickstart_reads_what_is_on_this_machine() -> None:
    recipe = load(RECIPES / "quickstart.toml")
    assert [(source.kind, source.path) for source in recipe.sources] == [("installed", ""), ("git", "..")]
    assert (recipe.base / recipe.sources[1].path).resolve() == RECIPES.parent.resolve()
    assert recipe.release.name == "quickstart"
    assert recipe.near_duplicates == NearDuplicateSettings()


def test_the_papers_recipe_writes_out_every_key_of_its_profile() -> None:
    text = (RECIPES / "stack-v2.toml").read_text(encoding="utf-8")
    recipe, tree = load(RECIPES / "stack-v2.toml"), tomllib.loads(text)
    plain = from_text(f'profile = "stack-v2"\n{SOURCE}')
    assert recipe.profile == "stack-v2"
    for section, kind in SECTIONS.items():
        assert tree[section].keys() == {key.name for key in dataclasses.fields(kind)}
        if section != "release":
            assert getattr(recipe, section) == getattr(plain, section)


# Files


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    for name, content, expected in [
        ("utf16.toml", "\n# x".encode("utf-16"), "line 1: byte 0xff is not UTF-8; save the recipe as UTF-8 text."),
        ("latin.toml", b"# a\n# caf\xe9\n", "line 2: byte 0xe9 is not UTF-8"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StarsmithError, match=re.escape(f"{tmp_path / name}, {expected}")):
            load(tmp_path / name)
    with pytest.raises(StarsmithError, match=r"is a folder; expected a recipe, which is a TOML file"):
        load(tmp_path)
    with pytest.raises(StarsmithError, match=r"There is no recipe .*missing\.toml; `starsmith init .*missing\.toml`"):
        load(tmp_path / "missing.toml")
    with pytest.raises(StarsmithError, match=r"There is no recipe .*latin\.toml/x\.toml"):
        load(tmp_path / "latin.toml" / "x.toml")


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "windows.toml"
    file.write_bytes(b"\xef\xbb\xbf" + SOURCE.replace("\n", "\r\n").encode() + b"[filters]\r\nmax_lines = 7\r\n")
    assert load(file).filters.max_lines == 7
    file.write_bytes(file.read_bytes().replace(b"7", b"'7'"))
    with pytest.raises(StarsmithError, match=r"line 4: filters\.max_lines is \"7\""):
        load(file)
