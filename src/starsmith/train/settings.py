"""What a training recipe can set, as frozen structs, one per table; section 9 of the paper's data description.

The defaults are those of a small model on one machine. The recipes `starcoder2-3b.toml`, `-7b` and `-15b` hold the
paper's values.
"""

from dataclasses import dataclass

from starsmith.model.config import PRESETS
from starsmith.settings import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """What stands at the top of a training recipe."""

    out: str = setting(
        "",
        "The folder of the run: checkpoints, metrics and the finished model, relative to the recipe. "
        "Empty: beside the recipe, `my-model.run` for `my-model.toml`.",
    )
    seed: int = setting(0, "Decides the first weights, the order of samples and dropout.", least=0, most=2**63 - 1)
    start_from: str = setting(
        "", "A folder with a model to go on from, as the long-context stage does (9). Empty: random weights."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSettings:
    """What is learnt from."""

    workspace: str = setting(
        "", "The corpus that tokenizer and pack are made from (`starsmith build`), relative to the recipe, or its URI."
    )
    tokenizer: str = setting(
        "", "The folder of the tokenizer (`starsmith tokenizer train`), relative to the recipe. Empty: the pack's own."
    )
    pack: str = setting("", "The folder that `starsmith pack` wrote, relative to the recipe.")
    sequence_length: int = setting(
        512, "Tokens of a sample (9: 4,096, then 16,384 in the long-context stage).", least=2
    )
    within_documents: bool = setting(
        False,
        "Let a token attend only to its own unit (a repository, an issue …), not to what stands before it in the "
        "same sample. The paper does not mask.",
    )
    held_out_batches: int = setting(
        16, "Batches of the pack's held-out part on which bits per byte are measured.", least=0
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSettings:
    """The shape of the model; a key of 0 is what the preset has."""

    preset: str = setting(
        "tiny",
        "Where the fields that are not set come from; those of 3B, 7B and 15B are the paper's (9).",
        choices=tuple(PRESETS),
    )
    hidden_size: int = setting(0, "Width of the residual stream.", least=0)
    intermediate_size: int = setting(0, "Width inside the MLP (9: four times `hidden_size`).", least=0)
    num_hidden_layers: int = setting(0, "Transformer blocks.", least=0)
    num_attention_heads: int = setting(0, "Query heads; they divide `hidden_size`.", least=0)
    num_key_value_heads: int = setting(0, "Key and value heads; they divide the query heads.", least=0)
    sliding_window: int = setting(0, "Tokens that a token attends to, itself included (9: 4,096).", least=0)
    rope_theta: float = setting(0.0, "Base of the rotary embedding; the long-context stage raises it (9).", least=0)
    initializer_range: float = setting(0.0, "Standard deviation of the first weights.", least=0)
    untied: bool = setting(False, "Give the output a matrix of its own; the preset 15b has one anyhow (9).")
    dropout: float = setting(0.0, "Dropout of embeddings, attention and residuals while training.", least=0, most=0.9)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerSettings:
    """AdamW, Muon and their schedule."""

    peak_rate: float = setting(3e-4, "The learning rate after the warm-up (9: 3e-4).", least=0)
    final_rate: float = setting(3e-5, "The learning rate at the end of the cosine.", least=0)
    warm_up: int = setting(1000, "Steps of linear warm-up (9: 1,000).", least=0)
    decay_steps: int = setting(0, "Steps until the final rate is reached. 0: all steps of the run.", least=0)
    beta1: float = setting(0.9, "Decay of the mean of gradients (9).", least=0, most=0.9999)
    beta2: float = setting(0.95, "Decay of the mean of squared gradients (9).", least=0, most=0.999999)
    epsilon: float = setting(1e-8, "Added to the root of the mean of squares (9).", least=0)
    weight_decay: float = setting(0.1, "Of matrices; norms and biases have none (9).", least=0)
    matrix_rate: float = setting(
        0.0,
        "Peak learning rate of Muon for the matrices of the layers, which then follows the same course; about 0.03. "
        "One process alone can use it. 0: AdamW for all of them (9).",
        least=0,
    )
    clip: float = setting(1.0, "Largest norm of the gradient. 0: no clipping.", least=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings:
    """How long, in what portions and in what precision."""

    steps: int = setting(10_000, "Steps of the optimizer.", least=1)
    batch: int = setting(8, "Samples of a step, over all processes.", least=1)
    micro_batch: int = setting(8, "Samples that a process computes at once; more steps of it make up a batch.", least=1)
    precision: str = setting(
        "float32",
        "`bfloat16`: products in bfloat16, weights and optimizer in float32. On a CPU float32 is faster.",
        choices=("float32", "bfloat16"),
    )
    compile: bool = setting(False, "Compile the model with `torch.compile`: half a minute first, then faster.")
    checkpoint_activations: bool = setting(
        False, "Keep only what enters a block and compute the rest again: less memory, a third more time."
    )
    device: str = setting("auto", "`auto`: a GPU where there is one.", choices=("auto", "cpu", "cuda"), resource=True)
    threads: int = setting(0, "Threads of a CPU run. 0: PyTorch's default.", least=0, resource=True)
    not_finite: str = setting(
        "stop",
        "What happens to a batch whose loss is no number or a spike: `stop` the run before its weights change, or "
        "`skip` the batch. Its documents are named either way.",
        choices=("stop", "skip"),
    )
    spike: float = setting(0.0, "A loss so many times the mean of the last 100 is a spike. 0: none is.", least=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeepSettings:
    """What a run leaves while it goes on."""

    every: int = setting(100, "Steps between checkpoints.", least=1, resource=True)
    keep: int = setting(2, "Checkpoints that stay; the oldest goes when a new one is complete.", least=1, resource=True)
    log_every: int = setting(10, "Steps between two lines of metrics.", least=1, resource=True)
    evaluate_every: int = setting(
        0, "Steps between measurements on the held-out part. 0: at the end alone.", least=0, resource=True
    )
    tensorboard: bool = setting(False, "Also write TensorBoard events, if the package is there.", resource=True)
