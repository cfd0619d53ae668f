"""The record of a training run, as a model folder carries it: plain JSON, from which `model_card` tells its story."""

import json
from pathlib import Path
from typing import Any, Final

from starsmith.errors import StarsmithError

RECORD_FILE: Final = "training_record.json"


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record in a model folder; nothing of a model that was trained elsewhere.

    Raises StarsmithError for one that is damaged.
    """
    path = folder / RECORD_FILE
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StarsmithError(f"{path} is damaged: {error}. Without it the model loads; its card says less.") from error
    return found if isinstance(found, dict) else {}
