"""Packing: text in, token shards out, against datatrove's tokenizer step and `map` of datasets, on one core.

    pip install tokenizers datatrove datasets
    taskset -c 1 python benchmarks/pack_speed.py TOKENIZER RELEASE [--files 2] [--rounds 2]

Each reads the same data files of a release, with the same tokenizer, and writes token ids: Starsmith a pack (formatted
repositories, fill in the middle, the document of every token), datatrove a .ds file with its index, datasets an Arrow
file with a list of ids for each document. One process and one thread each, in turn, the best of `--rounds` rounds;
processor time, without imports and compilation.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

TOOLS = ("Starsmith", "datatrove", "datasets")


def part_of(release: Path, folder: Path, count: int) -> Path:
    """Return a release of some of the data files."""
    manifest = json.loads((release / "manifest.json").read_bytes())
    data = [file for file in manifest["files"] if file["path"].startswith("data/")]
    data.sort(key=lambda file: -file["bytes"])
    manifest["files"] = data[:count]
    (folder / "data").mkdir(parents=True)
    for file in manifest["files"]:
        os.link(release / file["path"], folder / file["path"])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def by_starsmith(tokenizer: Path, release: Path, out: Path) -> tuple[float, int]:
    from starsmith.format.pack import PackOptions, pack
    from starsmith.format.settings import PackSettings
    from starsmith.format.tokenizer import Tokenizer
    from starsmith.progress import Quiet

    class Here:
        """Works in this process."""

        def map(
            self, function: Any, items: Sequence[Any], *, label: str, progress: Callable[[int], None]
        ) -> Iterator[Any]:
            for item in items:
                yield function(item, attempt=0, progress=progress)

    opened = Tokenizer.open(str(tokenizer))
    opened.encoder.encode_texts(["compiled"])
    options = PackOptions(tokenizer=opened, settings=PackSettings(held_out=0.0))
    started = time.process_time()
    packed = pack(str(release), str(out), options, engine=Here(), reporter=Quiet())
    return time.process_time() - started, packed.record.epochs[0].tokens


def by_datatrove(tokenizer: Path, release: Path, out: Path) -> tuple[float, int]:
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    step = DocumentTokenizer(
        str(out),
        tokenizer_name_or_path=str(tokenizer / "tokenizer.json"),
        eos_token="<|endoftext|>",
        shuffle_documents=False,
        save_final_metadata=False,
    )
    step.tokenizer.encode("loaded")
    reader = ParquetReader(str(release / "data"), text_key="content", id_key="swhid")
    started = time.process_time()
    step.run(reader.run(rank=0, world_size=1), rank=0, world_size=1)
    seconds = time.process_time() - started
    (tokens,) = out.rglob("*.ds")
    return seconds, tokens.stat().st_size // 2


def by_datasets(tokenizer: Path, release: Path, out: Path) -> tuple[float, int]:
    import datasets
    import tokenizers

    library = tokenizers.Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    datasets.disable_caching()
    datasets.disable_progress_bars()
    files = [str(path) for path in sorted((release / "data").glob("*.parquet"))]

    def encoded(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {"ids": [each.ids for each in library.encode_batch_fast(batch["content"])]}

    started = time.process_time()
    rows = datasets.load_dataset(
        "parquet", data_files=files, split="train", columns=["content"], cache_dir=str(out / "c")
    )
    rows = rows.map(encoded, batched=True, batch_size=256, remove_columns=rows.column_names)
    rows.save_to_disk(str(out / "ids"))
    seconds = time.process_time() - started
    return seconds, sum(len(ids) for batch in rows.iter(512) for ids in batch["ids"])


BY = {"Starsmith": by_starsmith, "datatrove": by_datatrove, "datasets": by_datasets}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("release", type=Path)
    parser.add_argument("--files", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--one", choices=TOOLS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        seconds, tokens = BY[arguments.one](arguments.tokenizer, arguments.release, arguments.out)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"seconds": seconds, "tokens": tokens, "peak": peak}))
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        raced(arguments, Path(folder))


def raced(arguments: argparse.Namespace, folder: Path) -> None:
    import pyarrow.parquet as pq

    release = part_of(arguments.release, folder / "release", arguments.files)
    contents = [pq.read_table(path, columns=["content"])["content"] for path in (release / "data").glob("*.parquet")]
    documents, size = sum(map(len, contents)), sum(len(text.as_py().encode()) for each in contents for text in each)
    del contents
    print(f"{documents:,} documents, {size / 1e6:.0f} MB of text, load {os.getloadavg()[0]:.0f}", flush=True)
    best: dict[str, dict[str, float]] = {}
    for number in range(arguments.rounds):
        for tool in TOOLS:
            found = one(tool, arguments.tokenizer, release, folder / f"{tool}-{number}")
            if tool not in best or found["seconds"] < best[tool]["seconds"]:
                best[tool] = found
    for tool in TOOLS:
        rate, ratio = size / 1e6 / best[tool]["seconds"], best[tool]["seconds"] / best["Starsmith"]["seconds"]
        print(
            f"{tool:<10}{rate:>7.1f} MB per CPU second, {best[tool]['tokens']:,} tokens, "
            f"peak {best[tool]['peak'] / 1024:,.0f} MB, Starsmith is {ratio:.1f}×"
        )


def one(tool: str, tokenizer: Path, release: Path, out: Path) -> dict[str, float]:
    """Run one tool in a process of its own."""
    command = [sys.executable, __file__, str(tokenizer), str(release), "--one", tool, "--out", str(out)]
    environment = os.environ | {
        "RAYON_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }
    out.mkdir()
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{tool} failed:\n{done.stderr[-2000:]}")
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found
    finally:
        shutil.rmtree(out)


if __name__ == "__main__":
    main()
