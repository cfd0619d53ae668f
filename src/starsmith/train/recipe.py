"""Training recipes: one TOML file says what is trained on what, and nothing in it is silently ignored or guessed.

It is read like the recipe of a corpus (`starsmith.recipe`). What the numbers mean together, so that a run fails before
its first step and not after an hour, is checked here as far as it needs neither pack nor model.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.format.settings import FormatSettings, MixtureRule, PackSettings, TokenizerSettings
from starsmith.object_store import is_uri
from starsmith.recipe import read_recipe
from starsmith.settings_reader import SettingsReader, keys_of
from starsmith.toml_text import KeyPath
from starsmith.train.settings import (
    DataSettings,
    KeepSettings,
    ModelSettings,
    OptimizerSettings,
    RunSettings,
    TrainingSettings,
)

PREPARATION: Final[dict[str, type]] = {
    "tokenizer": TokenizerSettings,
    "format": FormatSettings,
    "pack": PackSettings,
}
"""What happens before training. A pack remembers it, so that it is no part of what a run is known by."""

SECTIONS: Final[dict[str, type]] = {
    "data": DataSettings,
    "model": ModelSettings,
    "optimizer": OptimizerSettings,
    "training": TrainingSettings,
    "checkpoints": KeepSettings,
}
TABLES: Final[dict[str, type]] = {"": RunSettings, **PREPARATION, "[[mixture]]": MixtureRule, **SECTIONS}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRecipe:
    """All that determines a run. Paths in `run` and `data` are absolute."""

    run: RunSettings
    tokenizer: TokenizerSettings = field(default_factory=TokenizerSettings)
    format: FormatSettings = field(default_factory=FormatSettings)
    mixture: tuple[MixtureRule, ...] = ()
    pack: PackSettings = field(default_factory=PackSettings)
    data: DataSettings
    model: ModelSettings = field(default_factory=ModelSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    checkpoints: KeepSettings = field(default_factory=KeepSettings)

    @property
    def fingerprint(self) -> str:
        """Digest of what decides the weights. A run may go on elsewhere, and be saved or measured more often."""
        return fingerprint([[name, _deciding(getattr(self, name))] for name in ("run", *SECTIONS)])

    def plain(self) -> dict[str, Any]:
        """Return every table as plain values, for checkpoints and model cards."""
        return {name: dataclasses.asdict(getattr(self, name)) for name in ("run", *SECTIONS)}


_ELSEWHERE: Final = frozenset({"out", "pack", "start_from", "workspace", "tokenizer"})
"""Paths: what lies there is compared by its own fingerprint."""


def _deciding(settings: Any) -> dict[str, Any]:
    return {
        key.name: getattr(settings, key.name)
        for key in dataclasses.fields(settings)
        if not key.metadata["resource"] and key.name not in _ELSEWHERE
    }


def load(path: Path | str) -> TrainingRecipe:
    """Return the training recipe in a file. Raises StarsmithError with file, line and key."""
    file = Path(path)
    return loads(read_recipe(file), base=file.absolute().parent, name=str(path))


def loads(text: str, *, base: Path, name: str = "training.toml") -> TrainingRecipe:
    """Return the training recipe that `text` describes, as if it stood in the file `name` of the folder `base`.

    Raises StarsmithError that names `name`, line, key, what was found and what was expected.
    """
    reader = SettingsReader(text=text, name=name, tables=TABLES)
    tree = reader.parse()
    reader.refuse_credentials(tree)
    reader.refuse_unknown_tables(tree)
    run = reader.settings(RunSettings, (), {key: tree[key] for key in keys_of(RunSettings) if key in tree}, {})
    sections: dict[str, Any] = {
        section: reader.settings(settings, (section,), tree.get(section, {}), {})
        for section, settings in (PREPARATION | SECTIONS).items()
    }
    recipe = TrainingRecipe(run=run, mixture=_mixture(reader, tree.get("mixture", [])), **sections)
    for where, message in _contradictions(recipe):
        raise reader.problem(where, message)
    return _anchored(recipe, base.absolute(), Path(name).stem)


def _mixture(reader: SettingsReader, tables: object) -> tuple[MixtureRule, ...]:
    if not isinstance(tables, list):
        raise reader.problem(("mixture",), "is one table; expected an array of tables, written `[[mixture]]`.")
    return tuple(reader.settings(MixtureRule, ("mixture", number), table, {}) for number, table in enumerate(tables))


def _anchored(recipe: TrainingRecipe, base: Path, stem: str) -> TrainingRecipe:
    """Return the recipe with its paths relative to nothing."""
    run = dataclasses.replace(
        recipe.run,
        out=_path(recipe.run.out or f"{stem}.run", base),
        start_from=_path(recipe.run.start_from, base),
    )
    paths: dict[str, Any] = {
        name: _path(getattr(recipe.data, name), base) for name in ("workspace", "tokenizer", "pack")
    }
    data = dataclasses.replace(recipe.data, **paths)
    return dataclasses.replace(recipe, run=run, data=data)


def _path(given: str, base: Path) -> str:
    """Return a path relative to nothing; what is not given and what is a URI stays as it is."""
    return given if not given or is_uri(given) else str(base / Path(given).expanduser())


def _contradictions(recipe: TrainingRecipe) -> Iterator[tuple[KeyPath, str]]:
    """Yield (key, what is wrong with it) for values that are possible alone and not together."""
    training, optimizer = recipe.training, recipe.optimizer
    if not recipe.data.pack:
        yield ("data", "pack"), "is missing; expected the folder that `starsmith pack` wrote."
    if training.batch % training.micro_batch:
        yield (
            ("training", "batch"),
            f"is {training.batch}, which is no multiple of the micro_batch of {training.micro_batch}.",
        )
    if optimizer.final_rate > optimizer.peak_rate:
        yield ("optimizer", "final_rate"), f"is above the peak_rate of {optimizer.peak_rate}."
    if optimizer.matrix_rate and not optimizer.peak_rate:
        yield ("optimizer", "matrix_rate"), "needs a peak_rate above 0, whose course it follows."
    if optimizer.warm_up >= training.steps:
        yield (
            ("optimizer", "warm_up"),
            f"of {optimizer.warm_up} steps leaves nothing of the {training.steps} steps of the run.",
        )


def for_processes(recipe: TrainingRecipe, processes: int) -> int:
    """Return how many micro-batches each of several processes computes in a step.

    Raises StarsmithError if the batch cannot be divided among them, or the optimizer works in one process alone.
    """
    if processes > 1 and recipe.optimizer.matrix_rate:
        raise StarsmithError(
            f"[optimizer] matrix_rate asks for Muon, which needs whole matrices, and {processes} processes divide "
            "them. Leave it out, or use one process."
        )
    share = recipe.training.micro_batch * processes
    if recipe.training.batch % share:
        raise StarsmithError(
            f"A batch of {recipe.training.batch} samples is not divisible among {processes} processes with a "
            f"micro_batch of {recipe.training.micro_batch}. Change [training] batch or micro_batch."
        )
    return recipe.training.batch // share
