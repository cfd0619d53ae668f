"""Model folders: `config.json` and safetensors with the names that public StarCoder2 folders use, read and written.

A folder that others made is read as it is, in one file or in shards with an index. One written here also has
`checksums.json`, and is compared with it when it is read; the weights of others are at least looked through for values
that are no numbers. Pickled weights are never opened. What this module does not do: it keeps no optimizer state
(`train.checkpoint`), and copies no tokenizer (`export_hf`).
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from starsmith.errors import StarsmithError
from starsmith.model.config import ModelConfig
from starsmith.model.transformer import StarCoder2

CONFIG: Final = "config.json"
SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
CHECKSUMS: Final = "checksums.json"
SHARD_BYTES: Final = 5 * 1000**3
"""The largest weights file written; what public folders use."""
_READ_BYTES: Final = 1 << 20
_MAX_JSON_BYTES: Final = 64 << 20

_LAYER_NAMES: Final[Mapping[str, str]] = {
    "attention_norm": "input_layernorm",
    "attention.out": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}
_OTHER_NAMES: Final[Mapping[str, str]] = {
    "embedding": "model.embed_tokens",
    "norm": "model.norm",
    "head": "lm_head",
}
_PICKLED: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def public_tensors(model: StarCoder2) -> dict[str, Tensor]:
    """Return the weights by their public names; they share memory with the model's."""
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=False).items():
        module, _, kind = name.rpartition(".")
        layer, _, part = module.removeprefix("layers.").partition(".")
        if module in _OTHER_NAMES:
            found[f"{_OTHER_NAMES[module]}.{kind}"] = tensor
        elif part == "attention.qkv":
            config = model.config
            sizes = (config.hidden_size, config.key_value_size, config.key_value_size)
            for letter, rows in zip("qkv", tensor.split(sizes), strict=True):
                found[f"model.layers.{layer}.self_attn.{letter}_proj.{kind}"] = rows
        else:
            found[f"model.layers.{layer}.{_LAYER_NAMES[part]}.{kind}"] = tensor
    return found


def save(
    model: StarCoder2,
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a model folder, which appears whole or not at all; it must not be there yet, or be empty.

    Args:
        model: on any device.
        folder: where; its parents are made.
        dtype: of the weights in the folder; None keeps the model's.
        shard_bytes: the most bytes of weights in one file; one larger tensor has a file of its own.
        files: what else goes into the folder, by name.

    Raises:
        StarsmithError: the folder is there, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StarsmithError(f"{folder} is there already; name a folder that is not.")
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        write_weights(model, partial, dtype=dtype, shard_bytes=shard_bytes)
        for name, data in (files or {}).items():
            (partial / name).write_bytes(data)
        write_checksums(partial)
        partial.replace(folder)
    except (OSError, SafetensorError) as error:
        raise StarsmithError(f"{folder} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_weights(model: StarCoder2, folder: Path, *, dtype: torch.dtype | None, shard_bytes: int) -> None:
    """Write configuration, weights and index into a folder that is there."""
    tensors = public_tensors(model)
    kind = dtype or next(iter(tensors.values())).dtype
    config = model.config.to_hf() | {"dtype": str(kind).removeprefix("torch.")}
    _write_json(folder / CONFIG, config)
    shards = list(_shards(tensors, kind.itemsize, shard_bytes))
    names = [SINGLE] if len(shards) == 1 else [_shard_name(n, len(shards)) for n in range(1, len(shards) + 1)]
    for name, group in zip(names, shards, strict=True):
        rows = {key: tensors[key].detach().to("cpu", kind).contiguous().clone() for key in group}
        save_file(rows, folder / name, metadata={"format": "pt"})
    if len(shards) > 1:
        places = {key: name for name, group in zip(names, shards, strict=True) for key in group}
        total = sum(tensor.numel() for tensor in tensors.values())
        metadata = {"total_size": total * kind.itemsize, "total_parameters": total}
        _write_json(folder / INDEX, {"metadata": metadata, "weight_map": places})


def _shard_name(number: int, of: int) -> str:
    return f"model-{number:05}-of-{of:05}.safetensors"


def _shards(tensors: Mapping[str, Tensor], item_bytes: int, most: int) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for name, tensor in tensors.items():
        length = tensor.numel() * item_bytes
        if group and size + length > most:
            yield group
            group, size = [], 0
        group.append(name)
        size += length
    yield group


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 and size of every file of a folder beside them."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != CHECKSUMS)
    sums = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in files}
    _write_json(folder / CHECKSUMS, sums)


def model_folder(given: Path) -> Path:
    """Return the folder of a model; that of a training run has it within.

    Raises StarsmithError for a run that is not finished.
    """
    if (given / "metrics.jsonl").exists() and not (given / "model").is_dir():
        raise StarsmithError(f"The run {given} is not finished. Go on with `starsmith train RECIPE --resume`.")
    return given / "model" if not (given / CONFIG).exists() and (given / "model").is_dir() else given


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the configuration and of each weights file, by name: what tells two models apart."""
    names = {CONFIG, *_places(folder).values()}
    known = _read_json(folder / CHECKSUMS) if (folder / CHECKSUMS).exists() else {}
    found = {name: known.get(name, {}).get("sha256") for name in sorted(names)}
    return {name: digest or _sha256(folder / name) for name, digest in found.items()}


def file_digests(folder: Path, patterns: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of the files of a folder whose names match, by name."""
    names = {path.name for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {name: _sha256(folder / name) for name in sorted(names)}


def read_config(folder: Path) -> ModelConfig:
    """Return the configuration of a model folder.

    Raises:
        StarsmithError: it is missing or damaged, of another architecture, or of an impossible shape.
    """
    if not folder.is_dir():
        raise StarsmithError(f"{folder} is no folder; a model folder holds {CONFIG} and {SINGLE}.")
    path = folder / CONFIG
    content = _read_json(path)
    try:
        return ModelConfig.from_hf(content)
    except StarsmithError as error:
        raise StarsmithError(f"{path}: {error}") from error


def stored_dtype(folder: Path) -> torch.dtype:
    """Return the type that the configuration says the weights have, float32 where it says nothing."""
    content = _read_json(folder / CONFIG)
    name = content.get("dtype", content.get("torch_dtype"))
    found = getattr(torch, name, None) if isinstance(name, str) else None
    return found if isinstance(found, torch.dtype) and found.is_floating_point else torch.float32


def load(
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    verify: bool = True,
) -> StarCoder2:
    """Return the model in a folder, ready for inference; weights go straight from the files into place.

    Args:
        dtype: of the model; None takes what the configuration says is stored.
        verify: compare with `checksums.json` where there is one.

    Raises:
        StarsmithError: names the file that is missing, damaged, or not of this architecture.
    """
    config = read_config(folder)
    kind = dtype or stored_dtype(folder)
    places = _places(folder)
    _verify(folder, {CONFIG, *places.values()}, contents=verify)
    with torch.device("meta"):
        model = StarCoder2(config)
    model = model.to(kind).to_empty(device=device).eval()
    fill(model, folder, places)
    return model


@torch.no_grad()
def fill(model: StarCoder2, folder: Path, places: Mapping[str, str]) -> None:
    """Copy weights from the files of a folder; `places` says which file holds which tensor."""
    targets = public_tensors(model)
    missing = sorted(targets.keys() - places.keys())
    if missing:
        raise StarsmithError(f"{folder} has no tensor {missing[0]!r} ({len(missing)} are missing).")
    # Tied folders may repeat the embedding as the output matrix, and old ones hold tables of angles.
    needless = {"lm_head.weight"} if model.head is None else set()
    unknown = sorted(
        name for name in places.keys() - targets.keys() - needless if not name.endswith("rotary_emb.inv_freq")
    )
    if unknown:
        raise StarsmithError(f"{folder / places[unknown[0]]} has the tensor {unknown[0]!r}, unknown to StarCoder2.")
    for file in sorted(set(places.values())):
        with _opened(folder / file) as tensors:
            for name in sorted(name for name, place in places.items() if place == file and name in targets):
                _copy(targets[name], name, tensors, folder / file)


def _copy(target: Tensor, name: str, tensors: Any, path: Path) -> None:
    found: Tensor = tensors.get_tensor(name)
    if found.shape != target.shape:
        shapes = f"{list(found.shape)}, and {CONFIG} says {list(target.shape)}"
        raise StarsmithError(f"{path}: the tensor {name!r} is {shapes}.")
    if not found.is_floating_point():
        raise StarsmithError(f"{path}: the tensor {name!r} holds {found.dtype}; floating-point weights were expected.")
    target.copy_(found)
    if not all(bool(torch.isfinite(end)) for end in torch.aminmax(target)):
        raise StarsmithError(f"{path}: the tensor {name!r} holds values that are no numbers; the file is damaged.")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as tensors:
            yield tensors
    except FileNotFoundError as error:
        raise StarsmithError(f"{path} is missing.") from error
    except (SafetensorError, OSError) as error:
        raise StarsmithError(f"{path} is damaged or no safetensors file ({error}); copy it again.") from error


def _places(folder: Path) -> dict[str, str]:
    """Return the file of each tensor, by the index or by what the only file holds."""
    if (folder / INDEX).exists():
        places = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(places, dict) or not places:
            raise StarsmithError(f"{folder / INDEX} has no weight_map.")
        for name in places.values():
            if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
                raise StarsmithError(f"{folder / INDEX} names the file {name!r}; files of the folder were expected.")
            if not (folder / name).is_file():
                raise StarsmithError(f"{folder / name} is missing, which {INDEX} names.")
        return places
    if not (folder / SINGLE).is_file():
        if any(next(folder.glob(pattern), None) for pattern in _PICKLED):
            raise StarsmithError(f"{folder} holds pickled weights, which are never opened; save them as safetensors.")
        raise StarsmithError(f"{folder / SINGLE} is missing, and so is {INDEX}.")
    with _opened(folder / SINGLE) as tensors:
        return dict.fromkeys(tensors.keys(), SINGLE)


def _verify(folder: Path, names: set[str], *, contents: bool) -> None:
    path = folder / CHECKSUMS
    if not path.exists():
        return
    sums = _read_json(path)
    for name in sorted(names & sums.keys()):
        entry, size = sums[name], (folder / name).stat().st_size
        if not isinstance(entry, dict) or size != entry.get("bytes"):
            raise StarsmithError(f"{folder / name} has {size} bytes, not what {CHECKSUMS} says; copy it again.")
        if contents and _sha256(folder / name) != entry.get("sha256"):
            raise StarsmithError(f"{folder / name} is not what was written: its SHA-256 differs; copy it again.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise StarsmithError(f"{path} is too large to be what its name says.")
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise StarsmithError(f"{path} is missing.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise StarsmithError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise StarsmithError(f"{path} holds {type(content).__name__}; an object was expected.")
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
