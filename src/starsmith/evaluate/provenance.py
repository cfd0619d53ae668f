"""Where a file of generations comes from: model, tokenizer, prompts, sampling, in a file of its own beside it.

Whoever generates writes it, and scoring takes it into the result. Generations from elsewhere have none.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from starsmith.errors import StarsmithError
from starsmith.plain_file import read_plain

SUFFIX: Final = ".provenance.json"
LARGEST: Final = 1 << 20


def place(generations: Path) -> Path:
    """Return the name of the file beside a file of generations.

    >>> place(Path("R/humaneval.jsonl.gz"))
    PosixPath('R/humaneval.provenance.json')
    """
    return generations.with_name(generations.name.partition(".json")[0] + SUFFIX)


def read(generations: Path, *, digest: str) -> Mapping[str, Any] | None:
    """Return what is known of a file of generations with this SHA-256; None where nothing is.

    Raises StarsmithError for a record that is damaged, or that is another file's.
    """
    path = place(generations)
    if not path.exists():
        return None
    try:
        found = json.loads(read_plain(path, most=LARGEST))
    except ValueError as error:
        raise StarsmithError(f"{path}: not valid JSON: {error}. Mend it, or remove it.") from None
    if not isinstance(found, dict):
        raise StarsmithError(f"{path}: expected one JSON object. Mend it, or remove it.")
    if found.get("sha256", digest) != digest:
        raise StarsmithError(f"{path} is not about {generations} as it is now. Remove it to score without a record.")
    return found
