"""The greedy tokens of a trained model beside those of its exports, in transformers and in llama.cpp.

    python benchmarks/exported_tokens.py RUN [--tokens 48]

RUN is the folder of a run, or a model folder. It is exported to both forms as `starsmith export` does it, in float32,
each is read by the program it is for, and all go on with the same prompts, one of them a gap to be filled. Keys and
values are kept in float32 in all of them. transformers gets ids; llama.cpp gets text and encodes it itself, except for
the gap, whose sentinels are ids.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import xllamacpp
from transformers import AutoModelForCausalLM, AutoTokenizer

from starsmith.format import fill_in_middle
from starsmith.format.tokenizer import Tokenizer
from starsmith.model.checkpoint import load
from starsmith.model.export_gguf import export_gguf
from starsmith.model.export_hf import export_hf
from starsmith.model.generate import Generation, Generator, Prompt

PROMPTS: tuple[Prompt, ...] = (
    ("def add(self, name, value):",),
    ("import os\nimport sys\n\n\nclass ",),
    ("for i in range(",),
    tuple(fill_in_middle.prompt(prefix="def main(", suffix="):\n    return 0\n")),
)


def by_transformers(folder: Path, ids: list[int], tokens: int) -> list[int]:
    AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    ids_bl = torch.tensor([ids])
    found = model.generate(
        ids_bl,
        attention_mask=torch.ones_like(ids_bl),
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    return found[0, len(ids) :].tolist()


def llama_server(path: Path) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx, parameters.n_gpu_layers, parameters.n_parallel = 256, 0, 1
    parameters.cpuparams.n_threads = 1
    parameters.warmup = parameters.fit_params = False
    parameters.verbosity = -1
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    return xllamacpp.Server(parameters)


def by_llama(server: Any, prompt: Prompt, ids: list[int], tokens: int) -> str:
    text = prompt[0] if len(prompt) == 1 and isinstance(prompt[0], str) else ids
    answer = server.handle_completions(
        {"prompt": text, "n_predict": tokens, "temperature": 0, "ignore_eos": True, "n_probs": 1}
    )
    if answer["usage"]["prompt_tokens"] != len(ids):
        raise SystemExit(f"llama.cpp read {answer['usage']['prompt_tokens']} tokens of a prompt of {len(ids)}.")
    return str(answer["choices"][0]["text"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--tokens", type=int, default=48)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    folder = asked.run / "model" if (asked.run / "model").is_dir() else asked.run
    model, tokenizer = load(folder), Tokenizer.open(str(folder))
    how = Generation(max_tokens=asked.tokens, stop_ids=())
    ours = Generator(model, tokenizer).generate(PROMPTS, how)
    all_equal = True
    with tempfile.TemporaryDirectory() as scratch:
        hf, file = Path(scratch) / "hf", Path(scratch) / "model.gguf"
        export_hf(model, hf, tokenizer=tokenizer)
        export_gguf(model, tokenizer, file, type_name="f32", name="model")
        server = llama_server(file)
        for prompt, own in zip(PROMPTS, ours, strict=True):
            ids = tokenizer.encode(prompt)
            theirs = tuple(by_transformers(hf, ids, asked.tokens)) == own.ids
            llama = by_llama(server, prompt, ids, asked.tokens) == own.text
            all_equal &= theirs and llama
            words = {True: "the same", False: "NOT the same"}
            shown = repr("".join(each if isinstance(each, str) else "…" for each in prompt))
            print(f"{shown}: {len(own.ids)} tokens, transformers {words[theirs]}, llama.cpp {words[llama]}", flush=True)
    sys.exit(0 if all_equal else 1)


if __name__ == "__main__":
    main()
