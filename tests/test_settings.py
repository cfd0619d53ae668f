"""Settings: every key is documented, has limits and a possible default, and shows in template and reference."""

import ast
import dataclasses
import inspect
from typing import Any

import pytest

from starsmith import settings
from starsmith.recipe import SECTIONS, TABLES, template
from starsmith.reference import recipe_reference
from starsmith.settings import BenchmarkSettings, SourceSettings
from starsmith.settings_reader import default_of, limits
from starsmith.toml_text import toml_value

KEYS = [
    pytest.param(kind, key, id=f"{kind.__name__}.{key.name}")
    for kind in TABLES.values()
    for key in dataclasses.fields(kind)
]


def test_every_settings_class_is_a_table_of_the_recipe() -> None:
    classes = {
        value for value in vars(settings).values() if inspect.isclass(value) and value.__module__ == settings.__name__
    }
    assert classes == {SourceSettings, BenchmarkSettings, *SECTIONS.values()}


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_every_key_is_declared_in_full(kind: type, key: dataclasses.Field[Any]) -> None:
    default, least, most = default_of(key), key.metadata["least"], key.metadata["most"]
    assert type(default) is key.type
    assert key.metadata["doc"].endswith((".", "…"))
    assert not key.metadata["choices"] or default in key.metadata["choices"]
    if key.type in (int, float):
        assert least is not None, "a number that may be anything: say what is least"
        assert least <= default <= (default if most is None else most)
    else:
        assert least is None
        assert most is None


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_every_key_stands_in_the_template_and_the_reference(kind: type, key: dataclasses.Field[Any]) -> None:
    reference = recipe_reference()
    beginning, doc = f"| `{key.name}` | `{toml_value(default_of(key))}`", key.metadata["doc"].replace("|", "\\|")
    rows = [line for line in reference.splitlines() if line.startswith(beginning) and doc in line]
    assert any(limits(key) in row for row in rows)
    assert f"\n#{key.name} = {toml_value(default_of(key))}\n" in template() or key.name in ("kind", "path")


def test_settings_cannot_be_changed_and_take_no_positions() -> None:
    for kind in TABLES.values():
        made = kind()
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, dataclasses.fields(kind)[0].name, "x")
        with pytest.raises(TypeError):
            kind("x")
        assert not hasattr(made, "__dict__")


def test_settings_are_data_only() -> None:
    """A method or an import of another module would be a rule hidden among the values."""
    tree = ast.parse(inspect.getsource(settings))
    functions = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert functions == ["setting"]
