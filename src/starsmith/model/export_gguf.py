"""One GGUF file of a model and its tokenizer, as llama.cpp reads them (architecture `starcoder2`).

llama.cpp knows no sliding window for this architecture: it computes what the model does only as long as a text is no
longer than the window. So the file names as context length what both agree on. What this module does not do: it
quantises to 8 bits at most, and runs nothing.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from starsmith.errors import StarsmithError
from starsmith.format.sentinels import END_OF_TEXT, FIM_MIDDLE, FIM_PAD, FIM_PREFIX, FIM_SUFFIX
from starsmith.format.tokenizer import TOKENIZER_FILE, Tokenizer
from starsmith.model.checkpoint import public_tensors
from starsmith.model.transformer import StarCoder2

_Kind = gguf.GGMLQuantizationType
TYPES: Final[Mapping[str, gguf.GGMLQuantizationType]] = {
    "f32": _Kind.F32,
    "f16": _Kind.F16,
    "bf16": _Kind.BF16,
    "q8_0": _Kind.Q8_0,
}
"""What matrices may be stored as; norms and biases are always float32."""
_FILE_TYPES: Final[Mapping[str, gguf.LlamaFileType]] = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
_NAMES: Final[Mapping[str, str]] = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def export_gguf(
    model: StarCoder2, tokenizer: Tokenizer, path: Path, *, type_name: str = "f16", name: str = "starcoder2"
) -> None:
    """Write one file, which appears whole or not at all; it must not be there yet.

    Args:
        model: on any device.
        tokenizer: at most as many ids as the model; ids it lacks are filled up.
        path: of the file.
        type_name: how matrices are stored, a key of `TYPES`.
        name: what llama.cpp shows.

    Raises:
        StarsmithError: an unknown type, a file that is there, a tokenizer that does not fit, a disk that is full.
    """
    if type_name not in TYPES:
        raise StarsmithError(f"GGUF type {type_name!r} is unknown; choose one of {', '.join(TYPES)}.")
    if path.exists():
        raise StarsmithError(f"{path} is there already; name a file that is not.")
    if tokenizer.vocabulary > model.config.vocab_size:
        raise StarsmithError(
            f"The tokenizer has {tokenizer.vocabulary:,} ids and the model {model.config.vocab_size:,}: "
            "they do not belong together."
        )
    with _new_file(path) as partial:
        writer = gguf.GGUFWriter(partial, "starcoder2")
        try:
            _add_shape(writer, model, name, type_name)
            _add_tokenizer(writer, tokenizer, model.config.vocab_size)
            _write_tensors(writer, model, TYPES[type_name])
        finally:
            writer.close()


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise StarsmithError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)


def _add_shape(writer: gguf.GGUFWriter, model: StarCoder2, name: str, type_name: str) -> None:
    config = model.config
    writer.add_name(name)
    writer.add_context_length(
        min(config.max_position_embeddings, config.sliding_window or config.max_position_embeddings)
    )
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_eps(config.norm_epsilon)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(_FILE_TYPES[type_name])


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer, size: int) -> None:
    content: dict[str, Any] = json.loads(tokenizer.files[TOKENIZER_FILE])
    tokens = [f"[unused{number}]" for number in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    for text, number in content["model"]["vocab"].items():
        tokens[number], types[number] = text, gguf.TokenType.NORMAL
    for added in content["added_tokens"]:
        tokens[added["id"]], types[added["id"]] = added["content"], gguf.TokenType.CONTROL
    merges = content["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("starcoder")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(END_OF_TEXT)
    writer.add_eos_token_id(END_OF_TEXT)
    writer.add_unk_token_id(END_OF_TEXT)
    writer.add_add_bos_token(False)
    keys = gguf.Keys.Tokenizer
    for key, number in (
        (keys.FIM_PRE_ID, FIM_PREFIX),
        (keys.FIM_MID_ID, FIM_MIDDLE),
        (keys.FIM_SUF_ID, FIM_SUFFIX),
        (keys.FIM_PAD_ID, FIM_PAD),
    ):
        writer.add_uint32(key, number)


def _write_tensors(writer: gguf.GGUFWriter, model: StarCoder2, kind: gguf.GGMLQuantizationType) -> None:
    """Write names and shapes of all tensors, then one tensor after the other: the copy in memory is of one."""
    tensors = {_name(public): tensor for public, tensor in public_tensors(model).items()}
    kinds = {name: _kind_of(tensor, kind) for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        shape = gguf.quant_shape_to_byte_shape(tuple(tensor.shape), kinds[name])
        plain = kinds[name] in (_Kind.F32, _Kind.F16)
        dtype = np.dtype(np.float32 if kinds[name] == _Kind.F32 else np.float16 if plain else np.uint8)
        writer.add_tensor_info(
            name,
            tuple(tensor.shape) if plain else shape,
            dtype,
            int(np.prod(shape)),
            None if plain else kinds[name],
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, tensor in tensors.items():
        writer.write_tensor_data(_stored(tensor, kinds[name]))


def _kind_of(tensor: Tensor, kind: gguf.GGMLQuantizationType) -> gguf.GGMLQuantizationType:
    if tensor.ndim == 1:
        return _Kind.F32
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    # Rows that are no whole blocks stay as exact as half the space allows.
    return kind if tensor.shape[1] % block == 0 else _Kind.F16


def _stored(tensor: Tensor, kind: gguf.GGMLQuantizationType) -> npt.NDArray[Any]:
    plain: npt.NDArray[Any] = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
    return plain if kind == _Kind.F32 else gguf.quantize(plain, kind)


def _name(public: str) -> str:
    module, _, kind = public.rpartition(".")
    if module in _NAMES:
        return f"{_NAMES[module]}.{kind}"
    layer, _, part = module.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{_NAMES[part]}.{kind}"
