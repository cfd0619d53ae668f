"""Lines of keys and written values, held against what `tomllib` reads."""

import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from starsmith.toml_text import KeyPath, Scalar, key_lines, toml_value

NASTY = '''\
# [comment] = "no"
title = """a "quoted" # no comment
[not.a.table]
x = 1\\""""" # ends in two quotes of its own
'quoted.key' = \'\'\'
[[nor.this]]
\'\'\'
a.b."c d" = 1.5 # [x]
inline = { x = 1, y.z = [ { w = "}" }, "]" ] }
array = [
  1, # one
  [2, 3],

  1979-05-27 07:32:00,
]
[table]
k = 'C:\\[x]'
[table.deeper]
k = inf
[[ source ]] # spaces
kind = "git"
[source.extra]
k = 1
[[source]]
[[source.nested]]
k = 1
[[source.nested]]
"\\u0041" = "\\""
'''


def key_paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield where every key, table and array entry of a parsed TOML document stands."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from key_paths(inner, (*path, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield (*path, position)
            yield from key_paths(inner, (*path, position))


def test_finds_every_key_of_a_nasty_file_and_nothing_else() -> None:
    assert set(key_lines(NASTY)) == set(key_paths(tomllib.loads(NASTY)))


def test_lines_are_those_of_an_editor() -> None:
    lines = key_lines(NASTY)
    text = NASTY.split("\n")
    expected = {
        ("title",): "title =",
        ("quoted.key",): "'quoted.key'",
        ("a", "b", "c d"): "a.b",
        ("inline", "y", "z", 0, "w"): "inline",
        ("array", 1, 0): "  [2, 3]",
        ("array", 2): "  1979",
        ("table", "deeper"): "[table.deeper]",
        ("source", 0, "kind"): "kind",
        ("source", 0): "[[ source ]]",
        ("source", 0, "extra", "k"): "k = 1",
        ("source", 1, "nested", 1, "A"): '"\\u0041"',
    }
    for path, start in expected.items():
        assert text[lines[path] - 1].startswith(start), path
    assert lines["source", 1] > lines["source", 0, "extra", "k"]


STRINGS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | STRINGS


@given(SCALARS)
def test_written_values_read_back(value: Scalar) -> None:
    read = tomllib.loads(f"key = {toml_value(value)}")["key"]
    assert (type(read), read) == (type(value), value)


@given(st.lists(st.tuples(STRINGS, st.lists(SCALARS, max_size=3), st.integers(0, 3)), max_size=8))
def test_every_entry_stands_where_it_was_written(entries: list[tuple[str, list[Any], int]]) -> None:
    """Entries with awkward names and values, each after some blank lines and a comment, as arrays of inline tables."""
    text, expected, line = "", {}, 1
    for number, (name, values, blank) in enumerate(entries):
        line += blank + 1
        inner = ", ".join(f"{{ {toml_value(name)} = {toml_value(value)} }}" for value in values)
        text += "\n" * blank + f"# {number} = [\n" + f"k{number} = [{inner}]\n"
        expected |= {(f"k{number}",): line}
        for position in range(len(values)):
            expected |= {(f"k{number}", position): line, (f"k{number}", position, name): line}
        line += 1
    assert key_lines(text) == expected
    assert set(expected) == set(key_paths(tomllib.loads(text)))


@given(st.text(st.sampled_from("[]{}=,.\"'#\n ab\\")))
def test_ends_on_text_that_is_not_toml(text: str) -> None:
    assert all(line >= 1 for line in key_lines(text).values())
