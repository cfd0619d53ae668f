"""Where a file of generations comes from: model, tokenizer, prompts, sampling, in a file of its own beside it.

Whoever generates writes it, and scoring takes it into the result as it is. Generations from elsewhere have none.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from starsmith.errors import StarsmithError
from starsmith.evaluate.result import replace_file
from starsmith.plain_file import read_plain

SUFFIX: Final = ".provenance.json"
LARGEST: Final = 1 << 20


def place(generations: Path) -> Path:
    """Return the name of the file beside a file of generations.

    >>> place(Path("R/humaneval.jsonl.gz"))
    PosixPath('R/humaneval.provenance.json')
    """
    return generations.with_name(generations.name.partition(".json")[0] + SUFFIX)


def read(generations: Path) -> Mapping[str, Any] | None:
    """Return what is known of a file of generations; None where nothing is. Raises StarsmithError if it is damaged."""
    path = place(generations)
    if not path.exists():
        return None
    try:
        found = json.loads(read_plain(path, most=LARGEST))
    except ValueError as error:
        raise StarsmithError(f"{path}: not valid JSON: {error}. Mend it, or remove it.") from None
    if not isinstance(found, dict):
        raise StarsmithError(f"{path}: expected one JSON object. Mend it, or remove it.")
    return found


def write(generations: Path, known: Mapping[str, Any]) -> None:
    """Write down what is known of a file of generations."""
    replace_file(place(generations), json.dumps(known, indent=1) + "\n")
