"""How many of a model's samples are Python, beside its bits per byte on text that it never saw.

    python benchmarks/samples_that_parse.py MODEL [--samples 200] [--max-tokens 256] [--temperature 0.8] [--show 2]

MODEL is the folder of a run, or a model folder. Each sample is a file of a made-up repository, whose name and path are
given, from its first token on, drawn with a seed. A sample that did not come to its end is cut before its last
statement at the margin, which may be half written; what is left has to parse, with at least one statement in it.
Nothing is run: `ast.parse` looks at each sample in a process of its own, which deep nesting may end without harm.
Beside the share stands how much was parsed, since short texts parse easily.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from starsmith.format.repository import completion_prompt
from starsmith.format.tokenizer import Tokenizer
from starsmith.model.checkpoint import load
from starsmith.model.completion import Completion
from starsmith.model.generate import Generation, Generator
from starsmith.model.sampling import Sampling

PARSER = "import ast, sys\nsys.exit(0 if ast.parse(sys.stdin.buffer.read()).body else 1)"
SECONDS = 10


def finished_part(sample: Completion) -> str:
    """Return a sample's text, without its last statement at the margin if the sample was cut off."""
    if sample.finish == "stop":
        return sample.text
    lines = sample.text.split("\n")
    starts = [number for number, line in enumerate(lines) if line and not line[0].isspace() and line[0] not in ")]}#"]
    return "\n".join(lines[: starts[-1]]) if starts else ""


def parses(text: str) -> bool:
    """Whether a text is Python, and more than comments; asked in a process of its own."""
    command = [sys.executable, "-I", "-S", "-W", "ignore", "-c", PARSER]
    try:
        found = subprocess.run(command, input=text.encode(), capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return found.returncode == 0


def bits_per_byte(folder: Path) -> float | None:
    """Return what the run measured at its end, if there is a record of it."""
    metrics = folder / "metrics.jsonl"
    if not metrics.exists():
        return None
    found = [json.loads(line).get("bits_per_byte") for line in metrics.read_text().splitlines()]
    return next((value for value in reversed(found) if value is not None), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=0, help="samples to print")
    asked = parser.parse_args()
    folder = asked.model / "model" if (asked.model / "model").is_dir() else asked.model
    generator = Generator(load(folder), Tokenizer.open(str(folder)))
    sampling = Sampling(temperature=asked.temperature, top_p=asked.top_p, seed=asked.seed)
    how = Generation(max_tokens=asked.max_tokens, sampling=sampling)
    prompt = completion_prompt("acme/tools", [], path="/tools/table.py", prefix="")
    samples = generator.generate([prompt] * asked.samples, how)
    parts = [finished_part(sample) for sample in samples]
    good = [part for part in parts if parses(part)]
    for sample in samples[: asked.show]:
        print(f"{sample.text}\n{'-' * 80}")
    bits = bits_per_byte(asked.model)
    print(f"bits per byte on held-out text: {'not recorded' if bits is None else f'{bits:.3f}'}")
    lines = sorted(len(part.strip().split("\n")) for part in good)
    told = f"; {lines[len(lines) // 2]} lines in the median, {sum(lines)} in all" if lines else ""
    print(f"{len(good)} of {len(parts)} samples parse as Python: {len(good) / len(parts):.1%}{told}")


if __name__ == "__main__":
    main()
