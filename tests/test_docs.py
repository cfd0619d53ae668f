"""What the documentation shows can be typed: commands, recipes, links and file names exist."""

import re
import shlex
from pathlib import Path

import pytest

from starsmith import cli, recipe, reference

REPOSITORY = Path(__file__).parent.parent
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SOURCE = '\n[[source]]\nkind = "installed"\n'


def blocks(language: str) -> list[tuple[str, str]]:
    """Return (page, text) of every fenced block in a language."""
    return [
        (str(page.relative_to(REPOSITORY)), text)
        for page in PAGES
        for found, text in FENCE.findall(page.read_text(encoding="utf-8"))
        if found == language
    ]


COMMANDS = sorted(
    {
        line.partition("#")[0].strip()
        for page, text in blocks("")
        if "reference/" not in page
        for line in text.splitlines()
        if line.startswith("starsmith ")
    }
)
RECIPES = [(page, text) for page, text in blocks("toml") if "reference/" not in page]


def test_there_is_something_to_check():
    assert len(COMMANDS) > 5
    assert len(RECIPES) > 3


@pytest.mark.parametrize("line", COMMANDS)
def test_command_can_be_typed(line):
    words = shlex.split(line.partition("<")[0])
    parsed = cli.parser().parse_args(words[1:])
    assert words[1] in reference._commands(cli.parser())
    assert parsed is not None


@pytest.mark.parametrize(("page", "text"), RECIPES, ids=[f"{page}-{i}" for i, (page, _) in enumerate(RECIPES)])
def test_recipe_has_only_keys_that_exist(page, text, tmp_path):
    whole = text if "[[source]]" in text else text + SOURCE
    assert recipe.loads(whole, base=tmp_path, name="recipe.toml").sources


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_files_that_are_named_exist(page):
    named = re.findall(r"`((?:src|tests|docs|recipes|benchmarks)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    made = {name for name in named if "NAME" in name or name.startswith("docs/reference/")}
    assert [name for name in named if name not in made and not (REPOSITORY / name).exists()] == []
