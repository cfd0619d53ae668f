"""Greedy generation on a CPU beside transformers' `generate`, with the same weights, in one run.

    python benchmarks/generation_speed.py [--vocabulary 8192] [--batch 1 16] [--tokens 64] [--rounds 5]

Both go on with the same random prompts of 64 tokens, and their tokens are compared. Rounds alternate, and the least
processor time of each counts, since other work may run on the machine; transformers is asked with its dynamic and its
static cache, and the faster one counts. What one token takes, the prompt with it, is measured apart and taken off for
the time of a step.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from transformers import Starcoder2Config, Starcoder2ForCausalLM
from transformers.utils import logging

from starsmith.model.checkpoint import public_tensors
from starsmith.model.config import PRESETS
from starsmith.model.generate import Generation, Generator
from starsmith.model.transformer import StarCoder2

PROMPT = 64


def same_models(vocabulary: int) -> tuple[StarCoder2, Starcoder2ForCausalLM]:
    """Return six layers of 256 of ours, and transformers' with the same weights."""
    # Weights larger than at the start of a training, so that no two tokens are nearly as likely.
    config = replace(PRESETS["small"], vocab_size=vocabulary, initializer_range=0.1)
    ours = StarCoder2(config).initialise(0).eval()
    plain = {key: value for key, value in config.to_hf().items() if key not in ("architectures", "model_type")}
    public = Starcoder2ForCausalLM(Starcoder2Config(**plain)).eval()
    public.load_state_dict(public_tensors(ours), strict=False)
    return ours, public


def contenders(vocabulary: int, batch: int, tokens: int) -> dict[str, Callable[[], list[list[int]]]]:
    ours, public = same_models(vocabulary)
    ids_bl = torch.randint(38, vocabulary, (batch, PROMPT), generator=torch.Generator().manual_seed(1))
    generator = Generator(ours)
    how = Generation(max_tokens=tokens, stop_ids=(), batch=batch)

    def starsmith() -> list[list[int]]:
        return [list(each.ids) for each in generator.generate(ids_bl.tolist(), how)]

    def transformers(cache: str | None) -> list[list[int]]:
        keys = {"cache_implementation": cache, "disable_compile": True} if cache else {}
        with torch.inference_mode():
            found = public.generate(
                ids_bl,
                attention_mask=torch.ones_like(ids_bl),
                max_new_tokens=tokens,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
                **keys,
            )
        return found[:, PROMPT:].tolist()

    return {
        "starsmith": starsmith,
        "transformers": lambda: transformers(None),
        "transformers, static cache": lambda: transformers("static"),
    }


def ratio(seconds: dict[str, float]) -> float:
    """Return how much faster Starsmith is than the faster of the others."""
    return min(value for name, value in seconds.items() if name != "starsmith") / seconds["starsmith"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    logging.set_verbosity_error()
    for batch in asked.batch:
        sides = contenders(asked.vocabulary, batch, asked.tokens)
        first = contenders(asked.vocabulary, batch, 1)
        texts = {name: side() for name, side in sides.items()}
        least, prompt = dict.fromkeys(sides, float("inf")), dict.fromkeys(sides, float("inf"))
        for _ in range(asked.rounds):
            for name, side in sides.items():
                start = time.process_time()
                side()
                least[name] = min(least[name], time.process_time() - start)
                start = time.process_time()
                first[name]()
                prompt[name] = min(prompt[name], time.process_time() - start)
        print(f"vocabulary {asked.vocabulary:,}, batch {batch}, {asked.tokens} tokens after {PROMPT}")
        for name, seconds in least.items():
            equal = sum(a == b for a, b in zip(texts[name], texts["starsmith"], strict=True))
            step = (seconds - prompt[name]) / (asked.tokens - 1)
            told = f"{batch * asked.tokens / seconds:7,.0f} tokens/CPU s, {step * 1e3:6.2f} ms a step"
            print(f"  {name:27} {told}, {equal} of {batch} texts equal")
        whole, steps = ratio(least), ratio({name: least[name] - prompt[name] for name in least})
        print(f"  Starsmith is {whole:.2f}x as fast, {steps:.2f}x without the prompt", flush=True)


if __name__ == "__main__":
    main()
