"""What each stage costs per document and per byte: two corpora of unlike files, built stage by stage.

    python benchmarks/stage_rates.py SCRATCH --small REPOSITORY … --large REPOSITORY … [--cores 0] [--recipe TOML]

Both corpora are built with one worker up to each stage in turn, each time by a command of its own, and the processor
time of all its processes is taken. A stage's share is what its command took more than one that found everything done.
With `a` per document and `b` per byte, two corpora give two equations; where the solution would be negative, all is
charged to the other term. `cost_model.py` has the figures.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from process_tree import run

STAGES = ("collect", "annotate", "decide", "release")


def seconds_of(scratch: Path, name: str, repositories: list[Path], recipe: str, cores: frozenset[int]) -> dict:
    """Return documents, bytes and the processor time of each stage for one corpus."""
    listed = scratch / f"{name}.txt"
    listed.write_text("".join(f"{path.resolve()}\n" for path in repositories))
    toml = scratch / f"{name}.toml"
    toml.write_text(f'workspace = "{name}.workspace"\n[[source]]\nkind = "git"\npath = "{listed}"\n{recipe}')
    workspace = scratch / f"{name}.workspace"
    shutil.rmtree(workspace, ignore_errors=True)
    command = [sys.executable, "-m", "starsmith", "build", str(toml), "--workers", "1", "--json", "--until"]
    found: dict = {"name": name}
    for stage in STAGES:
        first = run([*command, stage], cores=cores).cpu
        found[stage] = first - run([*command, stage], cores=cores).cpu
    record = json.loads((workspace / "build.json").read_bytes())
    found["documents"] = sum(part["rows"] for part in record["tables"]["documents"])
    found["bytes"] = _bytes(workspace, record)
    return found


def _bytes(workspace: Path, record: dict) -> int:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    parts = record["tables"]["documents"]
    return sum(pc.sum(pq.read_table(workspace / part["name"], columns=["length"])["length"]).as_py() for part in parts)


def solved(small: dict, large: dict, stage: str) -> tuple[float, float]:
    """Return (seconds per 10^6 documents, seconds per GB) of a stage."""
    n, m = small["documents"] / 1e6, large["documents"] / 1e6
    g, h = small["bytes"] / 1e9, large["bytes"] / 1e9
    s, t = small[stage], large[stage]
    a, b = (s * h - t * g) / (n * h - m * g), (n * t - m * s) / (n * h - m * g)
    if b < 0:
        return (s + t) / (n + m), 0.0
    return (a, b) if a >= 0 else (0.0, (s + t) / (g + h))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--small", type=Path, nargs="+", required=True)
    parser.add_argument("--large", type=Path, nargs="+", required=True)
    parser.add_argument("--recipe", type=Path, help="a file with more of the recipe, such as benchmarks")
    parser.add_argument("--cores", default="0")
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    scratch = options.scratch.resolve()
    more = options.recipe.read_text() if options.recipe else ""
    cores = frozenset(int(core) for core in options.cores.split(","))
    # Kernels are compiled and cached by the first build that there is.
    seconds_of(scratch, "warm", options.large[:1], more, cores)
    small = seconds_of(scratch, "small", options.small, more, cores)
    large = seconds_of(scratch, "large", options.large, more, cores)
    print(
        "| stage | "
        + " | ".join(f"{each['documents']:,} documents, {each['bytes'] / 1e6:,.0f} MB" for each in (small, large))
    )
    print("| s per 10^6 documents | s per GB |\n|---|--:|--:|--:|--:|")
    for stage in STAGES:
        a, b = solved(small, large, stage)
        print(f"| {stage} | {small[stage]:.1f} | {large[stage]:.1f} | {a:.0f} | {b:.0f} |")


if __name__ == "__main__":
    main()
