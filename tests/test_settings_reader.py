"""What a user is told about each kind of mistake in a recipe: file, line, key, what was found, what is possible."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.recipe import Recipe, loads

SOURCE = '[[source]]\nkind = "installed"\n'


def from_text(text: str) -> Recipe:
    return loads(text, base=Path("/corpora"), name="my.toml")


def complaint(text: str) -> str:
    """Return what a user is told about a recipe, or nothing if it is one."""
    try:
        from_text(text)
    except StarsmithError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{SOURCE}\n[near_duplicates]\n\ntreshold = 0.7",
            "my.toml, line 6: near_duplicates.treshold is not a key; did you mean near_duplicates.threshold?",
        ),
        (
            f"{SOURCE}[near_duplicate]\nngram = 5\n",
            "my.toml, line 3: near_duplicate is not part of a recipe; did you mean near_duplicates?",
        ),
        (
            f"{SOURCE}[license]\nheaders = true",
            "my.toml, line 3: license is not part of a recipe; did you mean licence?",
        ),
        (
            f"max_lines = 3\n{SOURCE}",
            "my.toml, line 1: max_lines is not part of a recipe; did you mean max_lines of [filters]?",
        ),
        (
            f'{SOURCE}profile = "stack-v2"',
            (
                "my.toml, line 3: profile of [[source]] number 1 is not a key; "
                "did you mean profile at the top, before the first table?"
            ),
        ),
        (
            f"{SOURCE}[shards]\nzzz = 1",
            "my.toml, line 4: shards.zzz is not a key; expected one of documents.",
        ),
        (
            f'{SOURCE}[filters]\nmax_lines = "many"',
            'my.toml, line 4: filters.max_lines is "many" (text); expected an integer of at least 1.',
        ),
        (
            f"{SOURCE}[filters]\nmax_lines = true",
            "my.toml, line 4: filters.max_lines is true (a boolean); expected an integer of at least 1.",
        ),
        (
            f"{SOURCE}[filters]\nmax_lines = 1.0",
            "my.toml, line 4: filters.max_lines is 1.0 (a number); expected an integer of at least 1.",
        ),
        (
            f"{SOURCE}[filters]\ninspection = 1",
            "my.toml, line 4: filters.inspection is 1 (an integer); expected true or false.",
        ),
        (
            f"{SOURCE}filters.min_alpha = 2",
            (
                "my.toml, line 3: filters of [[source]] number 1 is not a key; expected one of "
                "kind, path, metadata, standard_library, commit_times."
            ),
        ),
        (
            f"filters.min_alpha = 2\n{SOURCE}",
            "my.toml, line 1: filters.min_alpha is 2 (an integer); expected a number from 0 to 1.",
        ),
        (
            f"filters = {{ min_alpha = nan }}\n{SOURCE}",
            "my.toml, line 1: filters.min_alpha is nan (a number); expected a number from 0 to 1.",
        ),
        (
            f"{SOURCE}[filters]\nmax_mean_line = inf",
            "my.toml, line 4: filters.max_mean_line is inf (a number); expected a number of at least 1.",
        ),
        (
            f"{SOURCE}[filters]\nmax_line = [1,\n2]",
            "my.toml, line 4: filters.max_line is a list; expected an integer of at least 1.",
        ),
        (
            f"{SOURCE}[filters]\nmax_line = 1979-05-27",
            "my.toml, line 4: filters.max_line is a date or time; expected an integer of at least 1.",
        ),
        (
            f"{SOURCE}[near_duplicates]\nseed = 0x{'f' * 4000}",
            (
                "my.toml, line 4: near_duplicates.seed is an integer of more than 64 bits; "
                "expected an integer of at least 0."
            ),
        ),
        (
            f"{SOURCE}[filters]\nmax_mean_line = 1{'0' * 400}",
            (
                "my.toml, line 4: filters.max_mean_line is an integer of more than 64 bits; "
                "expected a number of at least 1."
            ),
        ),
        (
            f'{SOURCE}[[source]]\nkind = "gti"',
            'my.toml, line 4: kind of [[source]] number 2 is "gti" (text); expected "git", "installed" or "archives".',
        ),
        (
            f'{SOURCE}[exact_duplicates]\nconflict = "{"x" * 500}"',
            (
                f'my.toml, line 4: exact_duplicates.conflict is "{"x" * 59}… (text); '
                'expected "any_permissive", "all_permissive" or "earliest".'
            ),
        ),
        (
            f'{SOURCE}[release]\nname = "a\\u0000b"',
            'my.toml, line 4: release.name is "a\\u0000b" (text with a control character); expected text.',
        ),
        (
            'profile = "stack-v3"\n' + SOURCE,
            'my.toml, line 1: profile is "stack-v3" (text); expected "stack-v2-fixed" or "stack-v2".',
        ),
        (
            f"{SOURCE}[[filters]]\nmax_line = 1",
            "my.toml, line 3: filters is a list; expected a table, written `[filters]`.",
        ),
        (
            "source = [1]",
            "my.toml, line 1: [[source]] number 1 is 1 (an integer); expected a table, written `[[source]]`.",
        ),
        (
            '# nothing\n[source]\nkind = "git"',
            "my.toml, line 2: source is one table; write `[[source]]`, with two brackets, for each source.",
        ),
        (
            "",
            (
                'my.toml: source is missing; a recipe needs at least one source: `[[source]]` with `kind = "git"` '
                'and `path = "…"` below it.'
            ),
        ),
        (
            f'{SOURCE}[[source]]\nkind = "git"',
            (
                "my.toml, line 3: path of [[source]] number 2 is missing; a git source needs a repository or a "
                "folder of them."
            ),
        ),
        (
            f'{SOURCE}metadata = "stars.csv"',
            (
                "my.toml, line 3: metadata of [[source]] number 1 is set, but this source is installed; "
                "only git sources have it."
            ),
        ),
        (
            f"{SOURCE}\n{SOURCE}",
            "my.toml, line 4: [[source]] number 2 reads the same as a source above it; remove one of them.",
        ),
        (
            f"{SOURCE}[near_duplicates]\npermutations = 200\nbands = 20\nrows = 11",
            (
                "my.toml, line 5: near_duplicates.bands is 20 and rows is 11, which takes 220 permutations; "
                "expected at most the 200 of `permutations`."
            ),
        ),
        (
            f"{SOURCE}[near_duplicates]\nrows = 11",
            "my.toml, line 4: near_duplicates.rows is set but bands is 0; set both, or neither to let `recall` decide.",
        ),
        (
            f'{SOURCE}[release]\nname = " "',
            "my.toml, line 4: release.name is empty; expected a name for the dataset card.",
        ),
        (
            f'workspace = "."\n{SOURCE}',
            "my.toml, line 1: workspace is the folder of the recipe itself; expected a folder of its own.",
        ),
        (
            f'workspace = "~nobody-of-that-name/w"\n{SOURCE}',
            "my.toml, line 1: workspace starts with `~`, but there is no such home folder.",
        ),
        (
            f"{SOURCE}[filters]\nmax_lines = \n",
            "my.toml, line 4, column 13: this is not valid TOML: Invalid value.",
        ),
        (
            f'{SOURCE}\nname = """x\n\n',
            "my.toml, line 6: this is not valid TOML: Unterminated string.",
        ),
        (
            f"{SOURCE}[shards]\n[shards]\n",
            "my.toml, line 4, column 8: this is not valid TOML: Cannot declare ('shards',) twice.",
        ),
    ],
)
def test_a_mistake_is_told_by_file_line_and_key(text: str, expected: str) -> None:
    assert complaint(text) == expected


def test_an_absurd_file_is_an_error_like_any_other() -> None:
    assert "nested too deeply" in complaint("x = " + "[" * 10_000)
    assert "too many digits" in complaint("x = 1" + "0" * 10_000)
    assert "is not part of a recipe" in complaint(".".join("a" * 2_000) + " = 1")


@given(st.text(st.sampled_from("[]{}=,.\"'#\n abkindsource1\\")))
def test_any_text_is_a_recipe_or_an_error(text: str) -> None:
    assert re.match(r"my\.toml[:, ]|$", complaint(text))


def test_an_integer_will_do_for_a_number() -> None:
    recipe = from_text(f"{SOURCE}[filters]\nmax_mean_line = 100")
    assert type(recipe.filters.max_mean_line) is float
    assert fingerprint(recipe) == fingerprint(from_text(SOURCE))


# Credentials


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (
            '[[source]]\nkind = "git"\npath = "https://me:hunter2@example.org/x"',
            "my.toml, line 3: path of [[source]] number 1",
        ),
        ('workspace = "s3://bucket/w?X-Amz-Signature=hunter2"\n' + SOURCE, "my.toml, line 1: workspace"),
        (SOURCE + '[release]\nname = "https://me:hunter2@example.org"', "my.toml, line 4: release.name"),
        (SOURCE + '[filters]\nmax_lines = "https://me:hunter2@example.org"', "my.toml, line 4: filters.max_lines"),
        ('unknown = { a = ["s3://k:hunter2@bucket"] }', "my.toml, line 1: unknown.a.0"),
        (SOURCE + '"https://me:hunter2@example.org" = 1', "my.toml, line 1: [[source]] number 1"),
        ('"https://me:hunter2@example.org" = 1', "my.toml: the name of a key"),
    ],
)
def test_a_credential_is_refused_and_never_shown(text: str, place: str) -> None:
    message = complaint(text)
    assert message.startswith(f"{place} holds a ")
    assert "hunter2" not in message


def test_a_credential_in_a_key_is_not_shown_by_a_syntax_error() -> None:
    message = complaint('["https://me:hunter2@a"]\n["https://me:hunter2@a"]')
    assert "not valid TOML: a mistake beside a credential" in message
    assert "hunter2" not in message
