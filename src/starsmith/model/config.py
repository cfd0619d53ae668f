"""The shape of a StarCoder2 model: every field of its published configurations, and the presets (StarCoder2, table 6).

Field names are those of `config.json` in a model folder, so that there is one vocabulary. What this module does not do:
it reads no file and needs no PyTorch; `checkpoint` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from starsmith.errors import StarsmithError

MODEL_TYPE: Final = "starcoder2"
ARCHITECTURE: Final = "Starcoder2ForCausalLM"

_SIZES: Final = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)
"""What a configuration must say. For everything else its absence means what the format says it means."""
_DROPOUTS: Final = ("attention_dropout", "residual_dropout", "embedding_dropout")
_FIXED: Final[Mapping[str, Any]] = {
    "hidden_act": "gelu_pytorch_tanh",
    "norm_type": "layer_norm",
    "mlp_type": "default",
    "rope_scaling": None,
}
"""Fields that published configurations carry and that have one value in this architecture."""
_ABSENT: Final[Mapping[str, Any]] = {
    "max_position_embeddings": 4096,
    "sliding_window": None,
    "initializer_range": 0.018042,
    "rope_theta": 10000.0,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    **dict.fromkeys(_DROPOUTS, 0.0),
}
"""What the format takes a missing field for, where that differs from our defaults."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """One model's shape. Impossible shapes raise `StarsmithError`, which names the field.

    >>> PRESETS["3b"].parameters
    3030371328
    >>> ModelConfig(hidden_size=100, num_attention_heads=3).head_dim
    Traceback (most recent call last):
    ...
    starsmith.errors.StarsmithError: hidden_size is 100, which num_attention_heads (3) does not divide.
    """

    vocab_size: int = 49_152
    hidden_size: int = 3072
    intermediate_size: int = 12_288
    num_hidden_layers: int = 30
    num_attention_heads: int = 24
    num_key_value_heads: int = 2
    max_position_embeddings: int = 16_384
    """Positions the model is meant for: the length of the long-context stage."""
    sliding_window: int | None = 4096
    """Tokens one token attends to, itself included; None: all before it."""
    rope_theta: float = 1_000_000.0
    initializer_range: float = 0.018042
    """Standard deviation of initial weights; the published values are about 1/√hidden_size."""
    norm_epsilon: float = 1e-5
    use_bias: bool = True
    tie_word_embeddings: bool = True
    attention_dropout: float = 0.0
    residual_dropout: float = 0.0
    embedding_dropout: float = 0.0
    bos_token_id: int = 0
    eos_token_id: int = 0

    def __post_init__(self) -> None:
        for name in _SIZES:
            _check_count(name, getattr(self, name))
        _check_count("max_position_embeddings", self.max_position_embeddings)
        if self.sliding_window is not None:
            _check_count("sliding_window", self.sliding_window)
        self._check_heads()
        self._check_numbers()
        self._check_flags_and_ids()

    def _check_heads(self) -> None:
        for name, whole, part_name, part in (
            ("hidden_size", self.hidden_size, "num_attention_heads", self.num_attention_heads),
            ("num_attention_heads", self.num_attention_heads, "num_key_value_heads", self.num_key_value_heads),
        ):
            if whole % part:
                raise StarsmithError(f"{name} is {whole}, which {part_name} ({part}) does not divide.")
        if self.head_dim % 2:
            raise StarsmithError(
                f"hidden_size / num_attention_heads is {self.head_dim}; rotary positions need an even number."
            )

    def _check_numbers(self) -> None:
        for name in ("rope_theta", "initializer_range", "norm_epsilon"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value < float("inf"):
                raise StarsmithError(f"{name} is {value!r}; a positive number was expected.")
        for name in _DROPOUTS:
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value < 1:
                raise StarsmithError(f"{name} is {value!r}; a number from 0 to below 1 was expected.")

    def _check_flags_and_ids(self) -> None:
        for name in ("use_bias", "tie_word_embeddings"):
            if not isinstance(getattr(self, name), bool):
                raise StarsmithError(f"{name} is {getattr(self, name)!r}; true or false was expected.")
        for name in ("bos_token_id", "eos_token_id"):
            value = getattr(self, name)
            # Published small configurations keep the ids of another vocabulary; only what cannot be an id is refused.
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise StarsmithError(f"{name} is {value!r}; a token id was expected.")

    @property
    def head_dim(self) -> int:
        """Components of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def key_value_size(self) -> int:
        """Components of all keys of one token in one layer; its values have as many."""
        return self.num_key_value_heads * self.head_dim

    @property
    def parameters(self) -> int:
        """Trainable numbers, tied embeddings counted once."""
        d, m, bias = self.hidden_size, self.intermediate_size, int(self.use_bias)
        attention = 2 * d * d + 2 * d * self.key_value_size + bias * (2 * d + 2 * self.key_value_size)
        mlp = 2 * d * m + bias * (d + m)
        embeddings = self.vocab_size * d * (1 if self.tie_word_embeddings else 2)
        return embeddings + self.num_hidden_layers * (attention + mlp + 4 * d) + 2 * d

    def flops_per_token(self, length: int) -> float:
        """Floating-point operations per token of one training step on samples of `length` tokens.

        Six for each weight that multiplies, and the attention scores and sums; what is recomputed is not counted.
        """
        multiplied = self.parameters - (0 if self.tie_word_embeddings else self.vocab_size * self.hidden_size)
        window = min(self.sliding_window or length, length)
        # Tokens at the start of a sample see fewer others than the window holds.
        seen = window - window * (window - 1) / (2 * length)
        return 6.0 * multiplied + 12.0 * self.num_hidden_layers * self.hidden_size * seen

    def to_hf(self) -> dict[str, Any]:
        """Return the content of `config.json`."""
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            "architectures": [ARCHITECTURE],
            "model_type": MODEL_TYPE,
            **own,
            "hidden_act": _FIXED["hidden_act"],
            "use_cache": True,
        }

    @classmethod
    def from_hf(cls, content: Mapping[str, Any]) -> "ModelConfig":
        """Read the content of a `config.json`.

        Raises:
            StarsmithError: another architecture, a missing size, a value that this architecture does not have.
        """
        _check_architecture(content)
        missing = [name for name in _SIZES if name not in content]
        if missing:
            raise StarsmithError(f"{missing[0]} is missing.")
        found = {item.name: content[item.name] for item in fields(cls) if item.name in content}
        rope = _rope_theta(content)
        if rope is not None:
            found["rope_theta"] = rope
        if found.get("bos_token_id", 0) is None:
            del found["bos_token_id"]
        found["eos_token_id"] = _first_id(found.get("eos_token_id", _ABSENT["eos_token_id"]))
        return cls(**{**_ABSENT, **found})

    def with_length(self, length: int, *, rope_theta: float) -> "ModelConfig":
        """Return the configuration of the long-context stage: more positions and another θ, the same weights."""
        return replace(self, max_position_embeddings=length, rope_theta=rope_theta)


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise StarsmithError(f"{name} is {value!r}; a whole number above zero was expected.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_architecture(content: Mapping[str, Any]) -> None:
    found = content.get("model_type")
    if found != MODEL_TYPE:
        raise StarsmithError(f"model_type is {found!r}; only {MODEL_TYPE!r} is known.")
    for name, expected in _FIXED.items():
        if content.get(name, expected) != expected:
            raise StarsmithError(f"{name} is {content[name]!r}; this architecture has {expected!r}.")


def _rope_theta(content: Mapping[str, Any]) -> Any:
    parameters = content.get("rope_parameters")
    if not isinstance(parameters, Mapping):
        return content.get("rope_theta")
    kind = parameters.get("rope_type", "default")
    if kind != "default":
        raise StarsmithError(f"rope_parameters.rope_type is {kind!r}; only 'default' is known.")
    return parameters.get("rope_theta", content.get("rope_theta"))


def _first_id(value: Any) -> Any:
    if isinstance(value, list) and value:
        return value[0]
    return 0 if value is None else value


_LARGE: Final = ModelConfig(attention_dropout=0.1, residual_dropout=0.1, embedding_dropout=0.1)
_TINY: Final = ModelConfig(
    vocab_size=8192,
    hidden_size=128,
    intermediate_size=512,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=2048,
    sliding_window=512,
    rope_theta=100_000.0,
    initializer_range=0.05,
)

PRESETS: Final[Mapping[str, ModelConfig]] = {
    "3b": replace(_LARGE, rope_theta=999_999.4420358813),
    "7b": replace(
        _LARGE,
        hidden_size=4608,
        intermediate_size=18_432,
        num_hidden_layers=32,
        num_attention_heads=36,
        num_key_value_heads=4,
    ),
    "15b": replace(
        _LARGE,
        hidden_size=6144,
        intermediate_size=24_576,
        num_hidden_layers=40,
        num_attention_heads=48,
        num_key_value_heads=4,
        # The base stage of the published model was run with this value; the others were raised afterwards.
        rope_theta=100_000.0,
        initializer_range=0.01275,
        tie_word_embeddings=False,
    ),
    "micro": replace(_TINY, hidden_size=64, intermediate_size=256, num_hidden_layers=2, initializer_range=0.08),
    "tiny": _TINY,
    "small": replace(
        _TINY,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=8,
        initializer_range=0.04,
    ),
    "medium": replace(
        _TINY,
        vocab_size=49_152,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        sliding_window=2048,
        initializer_range=0.036,
    ),
}
"""The published models, and smaller ones of ours for machines without an accelerator and for tests."""
