"""What is to be told of a model: the data it learnt from, what was removed from that, licences, and how it learnt."""

import json
from collections import Counter
from typing import Any

import torch

from starsmith import __version__
from starsmith.errors import StarsmithError
from starsmith.format.pack_file import WORKSPACE_FILE, Pack
from starsmith.format.released_files import Released, open_release
from starsmith.storage import Store
from starsmith.train.recipe import TrainingRecipe
from starsmith.workspace import open_store, read_build


def training_record(recipe: TrainingRecipe, pack: Pack, *, steps: int, tokens: int, seconds: float) -> dict[str, Any]:
    """Return the record of a run as plain values.

    What a rule removed and which licences there are is known where the workspace that the pack was made from is at
    hand and holds that release still.
    """
    released = _released(pack)
    return {
        "data": _data(pack),
        "filters": {} if released is None else _removed(released.workspace or ""),
        "licences": {} if released is None else _licences(released),
        "training": {
            "steps": steps,
            "tokens": tokens,
            "seconds": round(seconds, 1),
            **{
                f"{table}.{name}": value
                for table in ("data", "optimizer", "training")
                for name, value in recipe.plain()[table].items()
                # Where things lay on somebody's machine is nobody's business.
                if name not in ("workspace", "tokenizer", "pack")
            },
            "seed": recipe.run.seed,
            "starsmith": __version__,
            "torch": torch.__version__,
        },
    }


def _data(pack: Pack) -> dict[str, Any]:
    record = pack.record
    return {
        "release": record.release,
        "pack": record.fingerprint,
        "tokenizer": record.tokenizer,
        "documents": sum(each.documents for each in record.composition),
        "tokens": sum(each.tokens for each in record.epochs),
        "tokens_held_out": record.held_out.tokens,
        **{
            f"tokens of {' '.join(filter(None, (each.source, each.language)))}": each.tokens
            for each in sorted(record.composition, key=lambda each: -each.tokens)
        },
    }


def _released(pack: Pack) -> Released | None:
    """Return the release that a pack was made from, if its workspace is at hand and has not moved on."""
    if not pack.store.exists(WORKSPACE_FILE):
        return None
    try:
        released = open_release(json.loads(pack.store.read(WORKSPACE_FILE))["workspace"])
    except (StarsmithError, ValueError, KeyError):
        # The card then says that it is not recorded.
        return None
    return released if released.digest == pack.record.release else None


def _removed(workspace: str) -> dict[str, int]:
    """Return how many documents each rule of the corpus removed."""
    store: Store = open_store(workspace, create=False)
    found: Counter[str] = Counter()
    for stage in read_build(store).stages:
        found.update(stage.dropped)
    return dict(found.most_common())


def _licences(released: Released) -> dict[str, int]:
    """Return how many documents of a release lie under which licence."""
    found: Counter[str] = Counter()
    for _, rows in released.tables(["license_expression"]):
        counted = rows["license_expression"].combine_chunks().value_counts().to_pylist()
        found.update({each["values"] or "none found": each["counts"] for each in counted})
    return dict(found.most_common())
