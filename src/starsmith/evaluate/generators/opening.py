"""Which kind of model a user names: a folder of ours or of StarCoder2, another Hugging Face folder, or an address."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from starsmith.errors import StarsmithError
from starsmith.evaluate.generators.asked import Model
from starsmith.plain_file import read_plain

_EXTRA: Final = {"torch", "safetensors", "numba", "tiktoken", "tokenizers"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """What can be said of a model beside its place."""

    tokenizer: Path | None = None
    device: str = "cpu"
    batch: int = 0
    """Rows at once; 0 for what suits the kind."""
    name: str = ""
    """What a server calls it."""
    gap: Literal["suffix", "sentinels"] = "suffix"
    parallel: int = 4
    timeout: float = 600.0


def is_generations(place: str) -> bool:
    """Return whether a model is given as what it wrote: a file of generations, for which nothing is generated."""
    return place.removesuffix(".gz").endswith((".jsonl", ".json")) and Path(place).is_file()


def open_model(place: str, options: ModelOptions | None = None) -> Model:
    """Return the model at a place.

    Raises StarsmithError where there is none, it cannot be loaded, or what it needs is not installed.
    """
    options = options or ModelOptions()
    if place.startswith(("http://", "https://")):
        from starsmith.evaluate.generators.endpoint import Endpoint, Patience

        patience = Patience(seconds=options.timeout)
        return Endpoint(place, model=options.name, gap=options.gap, parallel=options.parallel, patience=patience)
    folder = Path(place)
    if not folder.is_dir():
        raise StarsmithError(
            f"There is no {place}; expected the folder of a model or of a run, an address (http://…), or a file of "
            "generations (.jsonl)."
        )
    try:
        return _of_folder(folder, options)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise StarsmithError(f"{error}; models need it. Run `pip install 'starsmith[model]'`.") from error


def _of_folder(folder: Path, options: ModelOptions) -> Model:
    rows = {"batch": options.batch} if options.batch else {}
    if _kind(folder) in ("starcoder2", ""):
        from starsmith.evaluate.generators.own import OwnModel

        return OwnModel(folder, tokenizer=options.tokenizer, device=options.device, **rows)
    from starsmith.evaluate.generators.public import PublicModel

    return PublicModel(folder, tokenizer=options.tokenizer, device=options.device, **rows)


def _kind(folder: Path) -> str:
    """Return what a folder's configuration calls its architecture; nothing where there is none, as in a run's."""
    path = folder / "config.json"
    if not path.exists():
        return ""
    try:
        found = json.loads(read_plain(path, most=1 << 20))
    except (ValueError, RecursionError) as error:
        raise StarsmithError(f"{path} cannot be read as JSON: {error}.") from None
    return str(found.get("model_type", "")) if isinstance(found, dict) else ""
