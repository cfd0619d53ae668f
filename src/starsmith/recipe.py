"""Recipes: one TOML file says what goes into a corpus, and nothing in it is silently ignored or guessed.

A recipe names a profile, sources and what is set otherwise. `stack-v2` follows the paper, its faults too where they
can be reproduced; `stack-v2-fixed`, the default, mends them by named settings, so that a user can say exactly which
rule was used. The order of the decision stages belongs to the profile (section 4 of the paper's data description).

This module reads no source and opens no workspace; whether a path exists is for those who open it.
"""

import dataclasses
import os
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from starsmith.errors import StarsmithError
from starsmith.object_store import is_uri
from starsmith.plain_file import read_plain
from starsmith.settings import (
    BenchmarkSettings,
    CollectSettings,
    DecontaminationSettings,
    ExactDuplicateSettings,
    FilterSettings,
    LanguageSettings,
    LicenceSettings,
    MalwareSettings,
    NearDuplicateSettings,
    OptOutSettings,
    RedactionSettings,
    ReleaseSettings,
    ShardSettings,
    SourceSettings,
    setting,
)
from starsmith.settings_reader import MOST_CHARACTERS, SettingsReader, default_of, keys_of, limits
from starsmith.storage import Store
from starsmith.toml_text import KeyPath, Scalar, toml_value

DEFAULT_PROFILE: Final = "stack-v2-fixed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """A named set of rules: the order of the decision stages, and the settings that differ from the default's."""

    doc: str
    order: tuple[str, ...]
    overrides: Mapping[str, Mapping[str, Scalar]]


PROFILES: Final[dict[str, Profile]] = {
    DEFAULT_PROFILE: Profile(
        doc="The paper's method with its faults mended; filters and scans come before near-duplicates, so that the "
        "copy that is kept is always one that may be released.",
        order=("errors", "repository", "licence", "filters", "exact", "scan", "near"),
        overrides={},
    ),
    "stack-v2": Profile(
        doc="The paper's method as it was, its faults too; near-duplicates are removed before the filters.",
        order=("errors", "repository", "exact", "licence", "near", "filters", "scan"),
        overrides={
            "language": {"name": "first"},
            "licence": {
                "no_licence": "keep",
                "propagation": "union",
                "expressions": False,
                "headers": False,
                "manifests": False,
                "readmes": True,
            },
            "exact_duplicates": {"conflict": "any_permissive"},
            "near_duplicates": {"tokens": "paper", "permutations": 250, "bands": 25, "rows": 10, "verify": False},
            "redaction": {"keep_licence_authors": False},
            "decontamination": {"tests": False, "min_length": 0},
        },
    ),
}

SECTIONS: Final[dict[str, type]] = {
    "shards": ShardSettings,
    "collect": CollectSettings,
    "opt_out": OptOutSettings,
    "language": LanguageSettings,
    "licence": LicenceSettings,
    "filters": FilterSettings,
    "exact_duplicates": ExactDuplicateSettings,
    "near_duplicates": NearDuplicateSettings,
    "redaction": RedactionSettings,
    "decontamination": DecontaminationSettings,
    "malware": MalwareSettings,
    "release": ReleaseSettings,
}
"""The tables of a recipe beside `[[source]]` and `[[benchmark]]`, in the order in which they are written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TopSettings:
    """What stands at the top of a recipe, before the first table."""

    profile: str = setting(
        DEFAULT_PROFILE,
        "The rules that hold where this recipe sets nothing else, and the order of the stages. "
        + " ".join(f"`{name}`: {profile.doc}" for name, profile in PROFILES.items()),
        choices=tuple(PROFILES),
    )
    workspace: str = setting(
        "",
        "The folder that holds everything of this corpus, relative to the recipe, or a place for it on an object "
        "store, `s3://bucket/prefix`. "
        "Empty: beside the recipe, `my-recipe.workspace` for `my-recipe.toml`.",
    )


TABLES: Final[dict[str, type]] = {
    "": TopSettings,
    "[[source]]": SourceSettings,
    "[[benchmark]]": BenchmarkSettings,
    **SECTIONS,
}
"""Every table of a recipe: the top of the file, the sources, the benchmarks, the sections."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All that determines a corpus, with the defaults of its profile filled in.

    `base` is the folder of the recipe, to which the paths of `sources` and `benchmarks` are relative; `workspace` is
    absolute, or a URI.
    """

    profile: str = DEFAULT_PROFILE
    base: Path = field(metadata={"resource": True})
    workspace: Path | str = field(metadata={"resource": True})
    sources: tuple[SourceSettings, ...]
    benchmarks: tuple[BenchmarkSettings, ...] = ()
    shards: ShardSettings = field(default_factory=ShardSettings)
    collect: CollectSettings = field(default_factory=CollectSettings)
    opt_out: OptOutSettings = field(default_factory=OptOutSettings)
    language: LanguageSettings = field(default_factory=LanguageSettings)
    licence: LicenceSettings = field(default_factory=LicenceSettings)
    filters: FilterSettings = field(default_factory=FilterSettings)
    exact_duplicates: ExactDuplicateSettings = field(default_factory=ExactDuplicateSettings)
    near_duplicates: NearDuplicateSettings = field(default_factory=NearDuplicateSettings)
    redaction: RedactionSettings = field(default_factory=RedactionSettings)
    decontamination: DecontaminationSettings = field(default_factory=DecontaminationSettings)
    malware: MalwareSettings = field(default_factory=MalwareSettings)
    release: ReleaseSettings = field(default_factory=ReleaseSettings)

    @property
    def order(self) -> tuple[str, ...]:
        """The decision stages, first to last: the first that drops a document gives the reason."""
        return PROFILES[self.profile].order


def load(path: Path | str) -> Recipe:
    """Return the recipe in the file `path`.

    Raises StarsmithError, with file, line and key, for a file that cannot be read or is not a recipe.
    """
    file = Path(path)
    return loads(read_recipe(file), base=file.absolute().parent, name=str(path))


def loads(text: str, *, base: Path, name: str = "recipe.toml") -> Recipe:
    """Return the recipe that `text` describes, as if it stood in the file `name` of the folder `base`.

    Raises StarsmithError that names `name`, line, key, what was found and what was expected.

    >>> recipe = loads('[[source]]\\nkind = "installed"', base=Path("/corpora"), name="mine.toml")
    >>> str(recipe.workspace), recipe.filters.max_lines
    ('/corpora/mine.workspace', 100000)
    """
    reader = SettingsReader(text=text, name=name, tables=TABLES)
    tree = reader.parse()
    reader.refuse_credentials(tree)
    reader.refuse_unknown_tables(tree)
    top = reader.settings(TopSettings, (), {key: tree[key] for key in keys_of(TopSettings) if key in tree}, {})
    overrides = PROFILES[top.profile].overrides
    sections: dict[str, Any] = {
        section: reader.settings(settings, (section,), tree.get(section, {}), overrides.get(section, {}))
        for section, settings in SECTIONS.items()
    }
    folder = base.absolute()
    recipe = Recipe(
        profile=top.profile,
        base=folder,
        workspace=_workspace(top.workspace or f"{Path(name).stem}.workspace", folder),
        sources=_sources(reader, tree.get("source")),
        benchmarks=_benchmarks(reader, tree.get("benchmark", [])),
        **sections,
    )
    for where, message in _contradictions(recipe):
        raise reader.problem(where, message)
    return recipe


def _workspace(given: str, folder: Path) -> Path | str:
    """Return the path of a workspace, or the URI of one on an object store."""
    return given if is_uri(given) else folder / _expanded(given)


def dumps(recipe: Recipe) -> str:
    """Return a recipe as TOML with every key written out; `loads` with the same `base` gives the recipe back."""
    workspace = recipe.workspace
    if isinstance(workspace, Path):
        workspace = str(_relative(workspace, recipe.base))
    blocks = [_block(None, TopSettings(profile=recipe.profile, workspace=workspace))]
    blocks += [_block("[[source]]", source) for source in recipe.sources]
    blocks += [_block("[[benchmark]]", benchmark) for benchmark in recipe.benchmarks]
    blocks += [_block(f"[{section}]", getattr(recipe, section)) for section in SECTIONS]
    return "\n".join(blocks)


def read_recipe(file: Path) -> str:
    if not os.path.lexists(file):
        raise StarsmithError(f"There is no recipe {file}; `starsmith init {file}` writes one to start from.")
    expected = "a recipe, which is a TOML file"
    content = read_plain(file, name=f"The recipe {file}", expected=expected, most=4 * MOST_CHARACTERS)
    try:
        # Windows editors put a byte-order mark before UTF-8; it says nothing and is let pass.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        found = f"byte 0x{error.object[error.start]:02x}"
        raise StarsmithError(f"{file}, line {line}: {found} is not UTF-8; save the recipe as UTF-8 text.") from None


def template() -> str:
    """Return a recipe to start from: every key with its meaning, limits and default, all but the source commented out.

    It loads as it stands. Keys are commented out because a key that is set overrides the profile.
    """
    blocks = [_HEADING + _described("", TopSettings, {})]
    blocks.append("[[source]]\n" + _described("", SourceSettings, {"kind": "git", "path": "."}))
    blocks.append("#[[benchmark]]\n" + _described("", BenchmarkSettings, {}))
    blocks += [f"[{section}]\n" + _described(section, settings, {}) for section, settings in SECTIONS.items()]
    return "\n".join(blocks)


def profile_values(section: str, key: str) -> dict[str, Scalar]:
    """Return the profiles that set a key otherwise than its default, with their values."""
    values = {name: profile.overrides.get(section, {}).get(key) for name, profile in PROFILES.items()}
    return {name: value for name, value in values.items() if value is not None}


_HEADING: Final = """\
# A recipe of Starsmith: what goes into a corpus, and by which rules.
# A line that begins with `#` and a key is that key at its default: remove the `#` to set it. A key that is set
# overrides the profile. Numbers such as 1.4 are sections of the data description of The Stack v2.

"""
_COMMENT_WIDTH: Final = 110


def _described(section: str, settings: type, given: Mapping[str, Scalar]) -> str:
    """Return the lines of one table, each key below its description; those of `given` are set."""
    blocks = []
    for key in dataclasses.fields(settings):
        line = f"{key.name} = {toml_value(given.get(key.name, default_of(key)))}"
        possible = limits(key)
        facts = [possible[0].upper() + possible[1:], f"Default: {toml_value(default_of(key))}"]
        facts += [f"Profile {name}: {toml_value(value)}" for name, value in profile_values(section, key.name).items()]
        comments = [_comment(key.metadata["doc"]), _comment(". ".join(facts) + ".")]
        blocks.append("\n".join([*comments, line if key.name in given else f"#{line}"]) + "\n")
    return "\n".join(blocks)


def _comment(text: str) -> str:
    return textwrap.fill(text, _COMMENT_WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _sources(reader: SettingsReader, found: object) -> tuple[SourceSettings, ...]:
    if isinstance(found, dict):
        raise reader.problem(("source",), "is one table; write `[[source]]`, with two brackets, for each source.")
    if not isinstance(found, list) or not found:
        example = '`[[source]]` with `kind = "git"` and `path = "…"` below it'
        raise reader.problem(("source",), f"is missing; a recipe needs at least one source: {example}.")
    return tuple(reader.settings(SourceSettings, ("source", number), table, {}) for number, table in enumerate(found))


def _benchmarks(reader: SettingsReader, found: object) -> tuple[BenchmarkSettings, ...]:
    if not isinstance(found, list):
        raise reader.problem(("benchmark",), "is one table; write `[[benchmark]]`, with two brackets, for each.")
    return tuple(
        reader.settings(BenchmarkSettings, ("benchmark", number), table, {}) for number, table in enumerate(found)
    )


def _expanded(path: str) -> Path:
    """Return a path with ``~`` replaced, or as it is where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _places(recipe: Recipe) -> Iterator[tuple[KeyPath, str]]:
    """Yield what a recipe reads from inside its workspace, where nothing of the user's is safe."""
    if isinstance(recipe.workspace, str):
        return
    workspace = Path(os.path.realpath(recipe.workspace))
    tables = [("source", "path", recipe.sources), ("source", "metadata", recipe.sources)]
    for table, key, settings in [*tables, ("benchmark", "path", recipe.benchmarks)]:
        for number, each in enumerate(settings):
            given: str = getattr(each, key)
            if given and Path(os.path.realpath(recipe.base / _expanded(given))).is_relative_to(workspace):
                where = (table, number, key)
                yield where, f"lies in the workspace {workspace}, which is Starsmith's own; move one of them."


def _contradictions(recipe: Recipe) -> Iterator[tuple[KeyPath, str]]:
    """Yield where settings that are each possible are impossible together, and why."""
    yield from _no_workspace(recipe)
    yield from _places(recipe)
    near = recipe.near_duplicates
    if (near.bands == 0) != (near.rows == 0):
        given, unset = ("rows", "bands") if near.bands == 0 else ("bands", "rows")
        yield ("near_duplicates", given), f"is set but {unset} is 0; set both, or neither to let `recall` decide."
    taken = near.bands * near.rows
    if taken > near.permutations:
        message = f"is {near.bands} and rows is {near.rows}, which takes {taken} permutations"
        yield ("near_duplicates", "bands"), f"{message}; expected at most the {near.permutations} of `permutations`."
    if not recipe.release.name.strip():
        yield ("release", "name"), "is empty; expected a name for the dataset card."
    if recipe.malware.clamd and recipe.malware.max_bytes < recipe.collect.max_bytes:
        most = f"`max_bytes` of [collect] lets contents of {recipe.collect.max_bytes} bytes in"
        yield ("malware", "max_bytes"), f"is {recipe.malware.max_bytes}, but {most}; expected at least as many."
    yield from _source_contradictions(recipe.sources)
    yield from _benchmark_contradictions(recipe.benchmarks)


def _no_workspace(recipe: Recipe) -> Iterator[tuple[KeyPath, str]]:
    """Yield why there can be no workspace where a recipe wants it."""
    if isinstance(recipe.workspace, str):
        try:
            Store.at(recipe.workspace)
        except StarsmithError as error:
            yield ("workspace",), f"is no place for a workspace. {error}"
        return
    workspace = _relative(recipe.workspace, recipe.base)
    if workspace == Path():
        yield ("workspace",), "is the folder of the recipe itself; expected a folder of its own."
    if str(workspace).startswith("~"):
        yield ("workspace",), "starts with `~`, but there is no such home folder."


def _source_contradictions(sources: tuple[SourceSettings, ...]) -> Iterator[tuple[KeyPath, str]]:
    seen = set()
    for number, source in enumerate(sources):
        for key in ("path", "metadata"):
            if str(_expanded(getattr(source, key))).startswith("~"):
                yield ("source", number, key), "starts with `~`, but there is no such home folder."
        if source.kind == "git" and not source.path:
            yield ("source", number, "path"), "is missing; a git source needs a repository or a folder of them."
        if source.kind != "git" and source.metadata:
            yield ("source", number, "metadata"), f"is set, but this source is {source.kind}; only git sources have it."
        # Reading a place twice would give every document of it two verdicts.
        place = (source.kind, _expanded(source.path))
        if place in seen:
            yield ("source", number), "reads the same as a source above it; remove one of them."
        seen.add(place)


def _benchmark_contradictions(benchmarks: tuple[BenchmarkSettings, ...]) -> Iterator[tuple[KeyPath, str]]:
    names = set()
    for number, benchmark in enumerate(benchmarks):
        if not benchmark.name:
            yield ("benchmark", number, "name"), "is missing; evidence names the benchmark by it."
        if not benchmark.path:
            yield ("benchmark", number, "path"), "is missing; a benchmark needs the file that holds its problems."
        if str(_expanded(benchmark.path)).startswith("~"):
            yield ("benchmark", number, "path"), "starts with `~`, but there is no such home folder."
        if benchmark.name in names:
            yield ("benchmark", number, "name"), "is that of a benchmark above it; give each a name of its own."
        names.add(benchmark.name)


def _relative(path: Path, base: Path) -> Path:
    return path.relative_to(base) if path.is_relative_to(base) else path


def _block(header: str | None, settings: Any) -> str:
    keys = [f"{name} = {toml_value(getattr(settings, name))}\n" for name in keys_of(type(settings))]
    return "".join([f"{header}\n"] * (header is not None) + keys)
