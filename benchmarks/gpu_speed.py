"""The 3B configuration on one GPU, against what the device can do: its peak in training, its bandwidth in generation.

    python benchmarks/gpu_speed.py [--preset 3b] [--length 4096] [--batch 1 2 4] [--steps 5] [--tokens 64]
    python benchmarks/gpu_speed.py --preset micro --length 64 --batch 1 --steps 2 --tokens 8 --device cpu

Training: bfloat16 products, weights and AdamW in float32, activations computed again, `torch.compile`, for each batch;
model-flops utilisation counts what the network has to multiply and not what is computed again. What does not fit is
told and left out. Generation: greedy in bfloat16, one row and many; each step has to read all weights and the keys and
values so far, and the bandwidth that this needs is told as a share of the device's own, which is measured by copying.
The goals are 50 % and 70 %. The second command tries the program on a processor, where no peak is known.
"""

import argparse
import statistics
import time
from dataclasses import replace

import torch

from starsmith.model.cache import RingCache
from starsmith.model.config import PRESETS, ModelConfig
from starsmith.model.decoder import Decoder
from starsmith.model.transformer import StarCoder2
from starsmith.train.metrics import peak_of, utilisation

COPIED = 1 << 30
"""Bytes that are copied to measure a GPU's bandwidth: far more than its caches hold."""


def shape(preset: str, length: int) -> ModelConfig:
    """Return a preset without dropout, which no benchmark of the paper's has."""
    config = replace(PRESETS[preset], attention_dropout=0.0, residual_dropout=0.0, embedding_dropout=0.0)
    return replace(config, max_position_embeddings=max(length, config.max_position_embeddings))


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def bandwidth(device: torch.device) -> float:
    """Return the bytes a second that are read and written in a copy, the best of ten."""
    size = COPIED if device.type == "cuda" else COPIED >> 4
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found = []
    for _ in range(10):
        wait(device)
        start = time.perf_counter()
        target.copy_(source)
        wait(device)
        found.append(2 * size / (time.perf_counter() - start))
    return max(found)


def train_speed(config: ModelConfig, length: int, batch: int, steps: int, device: torch.device) -> float:
    """Return tokens a second, by the median step after two that compile."""
    with device:
        model = StarCoder2(config).initialise(0).train()
        ids_bl = torch.randint(0, config.vocab_size, (batch, length + 1))
    model.recompute = device.type == "cuda"
    loss = torch.compile(model.loss) if device.type == "cuda" else model.loss
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    found = []
    for _ in range(steps + 2):
        wait(device)
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16):
            value = loss(ids_bl[:, :-1], ids_bl[:, 1:])
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        wait(device)
        found.append(time.perf_counter() - start)
    return batch * length / statistics.median(found[2:])


def step_seconds(model: StarCoder2, rows: int, context: int, tokens: int) -> float:
    """Return the median seconds of one step of generation, for all rows together, after `context` tokens."""
    device = model.embedding.weight.device
    cache = RingCache(
        model.config,
        rows=rows,
        columns=context + tokens,
        padding_b=torch.zeros(rows, dtype=torch.long, device=device),
        device=device,
        dtype=model.embedding.weight.dtype,
    )
    decoder = Decoder(model, rows=rows)
    ids_bl = torch.randint(38, model.config.vocab_size, (rows, context), device=device)
    found = []
    with torch.inference_mode():
        for row in range(0, context, 256):
            x_bld = model.hidden(ids_bl[:, row : row + 256], cache=cache)
        next_b = decoder.logits(x_bld[:, -1]).argmax(-1)
        for _ in range(tokens):
            wait(device)
            start = time.perf_counter()
            next_b = decoder.step(next_b, cache).argmax(-1)
            wait(device)
            found.append(time.perf_counter() - start)
    return statistics.median(found)


def bytes_of_step(config: ModelConfig, rows: int, seen: int) -> int:
    """Return the bytes a step has to read in bfloat16: all weights, and each row's keys and values."""
    window = min(seen, config.sliding_window or seen)
    kept = 2 * config.num_hidden_layers * config.key_value_size * window * rows
    return 2 * (config.parameters + kept)


def tell_training(config: ModelConfig, asked: argparse.Namespace, device: torch.device) -> None:
    name = torch.cuda.get_device_name() if device.type == "cuda" else ""
    for batch in asked.batch:
        try:
            speed = train_speed(config, asked.length, batch, asked.steps, device)
        except torch.OutOfMemoryError:
            print(f"  batch {batch}: does not fit", flush=True)
            torch.cuda.empty_cache()
            continue
        share = utilisation(speed, config.flops_per_token(asked.length), peak_of(name))
        told = "the device's peak is not known" if share is None else f"{share:.1%} of the device's peak (goal 50 %)"
        print(f"  batch {batch}: {speed:,.0f} tokens/s, {told}", flush=True)


def tell_generation(config: ModelConfig, asked: argparse.Namespace, device: torch.device) -> None:
    there = bandwidth(device)
    with device:
        model = StarCoder2(config).initialise(0).eval().to(torch.bfloat16)
    for rows in asked.rows:
        seconds = step_seconds(model, rows, asked.context, asked.tokens)
        needed = bytes_of_step(config, rows, asked.context + asked.tokens // 2) / seconds
        print(
            f"  {rows} rows: {rows / seconds:,.0f} tokens/s, {seconds * 1e3:.2f} ms a step, {needed / 1e9:,.0f} GB/s: "
            f"{needed / there:.1%} of the {there / 1e9:,.0f} GB/s of a copy (goal 70 %)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="3b")
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU. To try the program without one: --preset micro --device cpu")
    device = torch.device(asked.device)
    config = shape(asked.preset, asked.length)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "a processor"
    print(f"{asked.preset}: {config.parameters:,} parameters on {name}")
    print(f"training, sequence {asked.length:,}, bfloat16", flush=True)
    tell_training(config, asked, device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    print(f"generation after {asked.context:,} tokens, bfloat16", flush=True)
    tell_generation(config, asked, device)


if __name__ == "__main__":
    main()
