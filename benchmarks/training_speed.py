"""Training steps on a CPU beside transformers' StarCoder2, both with the same optimizer, in one run; and peak memory.

    python benchmarks/training_speed.py [--vocabulary 8192 49152] [--rounds 5] [--settings float32 bfloat16 compiled]

Steps alternate between the two and between settings, and the least processor time of each counts, since other work may
run on the machine. A setting is used for both sides; the ratio of the table's last line is that of each one's best.
Memory is the peak of a process of its own that takes three steps, less what it had before there was a model.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from starsmith.model.config import PRESETS, ModelConfig
from starsmith.model.transformer import StarCoder2

SIDES = ("starsmith", "transformers")
SETTINGS = ("float32", "bfloat16", "compiled")
LENGTH, BATCH = 512, 4


def shape(vocabulary: int) -> ModelConfig:
    """Six layers of 256, and no window shorter than a sample."""
    return replace(PRESETS["small"], vocab_size=vocabulary, sliding_window=LENGTH)


def losses(side: str, config: ModelConfig, *, compiled: bool) -> tuple[torch.nn.Module, Callable[..., torch.Tensor]]:
    """Return a model in training and the function from ids and targets to its loss."""
    if side == "starsmith":
        model = StarCoder2(config).initialise(0).train()
        if compiled:
            for layer in model.layers:
                layer.compile()
        return model, model.loss
    from transformers import Starcoder2Config, Starcoder2ForCausalLM

    plain = {key: value for key, value in config.to_hf().items() if key not in ("architectures", "model_type")}
    public = Starcoder2ForCausalLM(Starcoder2Config(**plain)).train()
    run = torch.compile(public) if compiled else public

    # Labels are shifted by transformers: the same ids and targets, but for the last one.
    return public, lambda ids_bl, _: run(input_ids=ids_bl, labels=ids_bl, use_cache=False).loss


def new_step(side: str, config: ModelConfig, setting: str) -> Callable[[], None]:
    model, loss = losses(side, config, compiled=setting == "compiled")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    ids_bl = torch.randint(0, config.vocab_size, (BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(0))

    def precision() -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16) if setting == "bfloat16" else nullcontext()

    def step() -> None:
        with precision():
            found = loss(ids_bl[:, :-1], ids_bl[:, 1:])
        found.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def speeds(vocabulary: int, settings: list[str], rounds: int) -> dict[tuple[str, str], float]:
    """Return tokens per CPU second of each side with each setting."""
    steps = {(side, setting): new_step(side, shape(vocabulary), setting) for setting in settings for side in SIDES}
    least = dict.fromkeys(steps, float("inf"))
    for step in steps.values():
        step()
    for _ in range(rounds):
        for key, step in steps.items():
            start = time.process_time()
            step()
            least[key] = min(least[key], time.process_time() - start)
    return {key: BATCH * LENGTH / seconds for key, seconds in least.items()}


def peak_megabytes(side: str, vocabulary: int) -> tuple[float, float]:
    """Return the peak of a process that trains, and that peak less what there was before the model."""
    command = [sys.executable, __file__, "--peak", side, "--vocabulary", str(vocabulary)]
    before, peak = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return peak / 1024, (peak - before) / 1024


def peak_kilobytes() -> int:
    """Return the most memory this process has had. `getrusage` would tell its parent's, if that was more."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def tell_peak(side: str, vocabulary: int) -> None:
    # A first, tiny model loads what the libraries load late.
    new_step(side, replace(PRESETS["micro"], vocab_size=64, sliding_window=LENGTH), "float32")()
    before = peak_kilobytes()
    step = new_step(side, shape(vocabulary), "float32")
    for _ in range(3):
        step()
    print(json.dumps([before, peak_kilobytes()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[8192, 49_152])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.peak:
        tell_peak(asked.peak, asked.vocabulary[0])
        return
    for vocabulary in asked.vocabulary:
        print(f"vocabulary {vocabulary:,}, sequence {LENGTH}, batch {BATCH}, {asked.threads} thread(s)", flush=True)
        found = speeds(vocabulary, asked.settings, asked.rounds)
        for setting in asked.settings:
            ours, theirs = (found[side, setting] for side in SIDES)
            print(
                f"  {setting:10} starsmith {ours:7,.0f} tokens/CPU s  transformers {theirs:7,.0f}  {ours / theirs:.2f}x"
            )
        best = [max(found[side, setting] for setting in asked.settings) for side in SIDES]
        print(f"  best of each: {best[0] / best[1]:.2f}x", flush=True)
        if not asked.no_memory:
            (ours, ours_above), (theirs, theirs_above) = (peak_megabytes(side, vocabulary) for side in SIDES)
            print(f"  peak memory {ours:,.0f} MB beside {theirs:,.0f} MB: {ours / theirs:.2f}x", end=", ")
            print(f"without what the libraries take {ours_above:,.0f} beside {theirs_above:,.0f} MB", flush=True)


if __name__ == "__main__":
    main()
