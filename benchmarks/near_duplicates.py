"""Near-duplicate removal, text in → survivors out: Starsmith beside datatrove, text-dedup and rensa.

Every tool reads the same texts in the same order in a process of its own, pinned to one core, and hands back the
indices of the texts it keeps. Clocks are of processor time and start when the texts lie in memory and the tool is
loaded. All get the same tokens (runs of word characters, lower-cased), 5-grams, and the number of permutations,
bands and rows that their own documentation or the paper asks for.

Accuracy is measured on a sample, by exact Jaccard of every pair, over Python's own Unicode tokens:

- recall: of the texts that have a kept neighbour at J >= 0.8, those that are gone;
- precision: of the texts that are gone, those that have a kept neighbour at J >= 0.7.

Run: python benchmarks/near_duplicates.py FOLDER --peer rensa=PYTHON --peer datatrove=PYTHON --peer text-dedup=PYTHON
where PYTHON is an interpreter in which that package is installed (text-dedup needs 3.12). Absent peers are left out.
This file is also what the peers' interpreters run, so nothing but the standard library is imported at its head.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

GOALS = {"rensa": 7, "datatrove": 30, "text-dedup": 80}
PEERS = tuple(GOALS)
NGRAM = 5
DROP_AT = 0.7
MUST_DROP_AT = 0.8
WORD = re.compile(r"\w+")

Run = Callable[[], list[int]]


# The runners: each takes (texts, scratch folder) and returns a function that yields the kept indices.


def prepare_starsmith(texts: list[bytes], scratch: Path) -> Run:
    """Sign, decide, keep; the kernels are loaded (or compiled, on a first run) outside the clock."""
    del scratch
    import pyarrow as pa

    from starsmith.curate.minhash import sign
    from starsmith.curate.near_duplicates import decide, members_of
    from starsmith.settings import NearDuplicateSettings

    settings = NearDuplicateSettings()

    def run(some: list[bytes]) -> list[int]:
        signed = sign(pa.array(some, pa.large_binary()), settings)
        found = decide(members_of(signed), settings)
        return [index for index, winner in enumerate(found.winner.tolist()) if winner < 0]

    run([b"one two three four five six"] * 2)
    return lambda: run(texts)


def prepare_rensa(texts: list[bytes], scratch: Path) -> Run:
    """256 permutations in 32 bands; its deduplicator checks candidates by the estimated similarity."""
    del scratch
    from rensa import RMinHash, RMinHashDeduplicator

    def run() -> list[int]:
        dedup = RMinHashDeduplicator(threshold=DROP_AT, num_perm=256, use_lsh=True, num_bands=32)
        kept = []
        for first in range(0, len(texts), 256):
            batch = [shingles_of(text.decode()) for text in texts[first : first + 256]]
            for index, signature in enumerate(RMinHash.from_token_sets(batch, 256, 42), first):
                if not batch[index - first] or dedup.add(str(index), signature):
                    kept.append(index)
        return kept

    return run


def prepare_datatrove(texts: list[bytes], scratch: Path) -> Run:
    """The four stages of its MinHash pipeline, 25 bands of 10 rows, its normalisation replaced by code tokens."""
    import numpy as np
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    config = MinhashConfig(n_grams=NGRAM, num_buckets=25, hashes_per_bucket=10)

    class CodeSignature(MinhashDedupSignature):
        def get_shingles(self, text: str):  # noqa: ANN202
            return np.array([self._hash_func(shingle) for shingle in shingles_of(text)], np.uint64).reshape(-1, 1)

    def run() -> list[int]:
        folders = [str(scratch / f"datatrove-{name}") for name in ("signatures", "buckets", "removed")]
        documents = [Document(text=text.decode(), id=str(index)) for index, text in enumerate(texts)]
        CodeSignature(output_folder=folders[0], config=config).run(iter(documents))
        for bucket in range(config.num_buckets):
            stage = MinhashDedupBuckets(input_folder=folders[0], output_folder=folders[1], config=config)
            stage.run(None, bucket, config.num_buckets)
        MinhashDedupCluster(input_folder=folders[1], output_folder=folders[2], config=config).run(None, 0, 1)
        return [int(document.id) for document in MinhashDedupFilter(input_folder=folders[2]).run(iter(documents))]

    return run


def prepare_text_dedup(texts: list[bytes], scratch: Path) -> Run:
    """Its MinHash program, 25 bands of 10 rows, candidates verified by exact Jaccard."""
    os.environ["HF_HOME"] = str(scratch / "hf")
    import polars
    from datasets import load_from_disk
    from text_dedup.config import Config, MinHashAlgorithmConfig
    from text_dedup.minhash import main as deduplicate

    source, target = scratch / "texts.parquet", scratch / "survivors"
    polars.DataFrame({"text": [text.decode() for text in texts]}).write_parquet(source)
    algorithm = MinHashAlgorithmConfig(
        algorithm_name="minhash",
        text_column="text",
        num_perm=250,
        bands=25,
        rows=10,
        ngram_size=NGRAM,
        threshold=DROP_AT,
        min_length=NGRAM,
        check_false_positive=True,
        num_proc=1,
    )
    reading = {
        "input_type": "local_files",
        "file_type": "parquet",
        "read_arguments": {"path": "parquet", "data_files": str(source), "split": "train"},
    }
    writing = {"output_dir": str(target), "keep_index_column": True}
    config = Config.model_construct(**text_dedup_parts(reading, writing, algorithm))

    def run() -> list[int]:
        deduplicate(config)
        kept = set(load_from_disk(str(target))[algorithm.internal_index_column])
        # Texts that it refuses for being short are no removals.
        return [index for index, text in enumerate(texts) if index in kept or not shingles_of(text.decode())]

    return run


def text_dedup_parts(reading: dict, writing: dict, algorithm: object) -> dict:
    """Return the parts of text-dedup's configuration, which it otherwise reads from a file in the current folder."""
    from text_dedup.config.debug import DebugConfig
    from text_dedup.config.io import LocalInputConfig, OutputConfig

    return {
        "input": LocalInputConfig(**reading),
        "output": OutputConfig(**writing),
        "algorithm": algorithm,
        "debug": DebugConfig(),
    }


PREPARE = {
    "starsmith": prepare_starsmith,
    "rensa": prepare_rensa,
    "datatrove": prepare_datatrove,
    "text-dedup": prepare_text_dedup,
}


def shingles_of(text: str) -> set[str]:
    """Return the distinct 5-grams of a text's words, as the peers want them."""
    words = WORD.findall(text.lower())
    return {" ".join(words[start : start + NGRAM]) for start in range(len(words) - NGRAM + 1)}


def run_one(name: str, source: Path, target: Path) -> None:
    """Run one tool in this process and write what it kept and used."""
    with tempfile.TemporaryDirectory() as scratch:
        run = PREPARE[name](list(read_texts(source)), Path(scratch))
        before = peak_rss()
        start, began = processor_time(), time.perf_counter()
        kept = run()
        used = {"cpu": processor_time() - start, "wall": time.perf_counter() - began}
    target.write_text(json.dumps({"kept": kept, "rss": peak_rss(), "rss_before": before, **used}))


def processor_time() -> float:
    """Seconds of processor time of this process and its finished children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_rss() -> float:
    """Peak resident memory in MB, of this process or its largest child."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1000


# The corpus


def corpus(folder: Path, most_bytes: int) -> list[tuple[str, bytes]]:
    """Return (path, text) of every file that is UTF-8 text of a size, ordered by path."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or not 0 < path.stat().st_size <= most_bytes:
            continue
        content = path.read_bytes()
        if b"\0" not in content and is_utf8(content):
            found.append((path.relative_to(folder).as_posix(), content))
    return found


def is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def sample_of(documents: list[tuple[str, bytes]], size: int) -> list[bytes]:
    """Return texts chosen by the last two parts of their paths, so that versions of one file come together."""

    def chance(document: tuple[str, bytes]) -> bytes:
        return hashlib.sha256("/".join(document[0].split("/")[-2:]).encode()).digest()

    chosen = sorted(range(len(documents)), key=lambda index: chance(documents[index]))[:size]
    return [documents[index][1] for index in sorted(chosen)]


def write_texts(texts: list[bytes], target: Path) -> None:
    with target.open("wb") as file:
        for text in texts:
            file.write(struct.pack("<q", len(text)) + text)


def read_texts(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while header := file.read(8):
            yield file.read(struct.unpack("<q", header)[0])


# Accuracy


def accuracy(texts: list[bytes], kept: list[int]) -> tuple[float, float, int]:
    """Return (recall, precision, removed) of one tool on a sample, by exact Jaccard of all pairs."""
    needed = justified = gone_of_needed = removed = 0
    alive = set(kept)
    for index, neighbours in enumerate(neighbourhoods(texts)):
        best = max((similarity for other, similarity in neighbours.items() if other in alive), default=0.0)
        gone = index not in alive
        removed += gone
        justified += gone and best >= DROP_AT
        needed += best >= MUST_DROP_AT
        gone_of_needed += gone and best >= MUST_DROP_AT
    return gone_of_needed / max(needed, 1), justified / max(removed, 1), removed


def neighbourhoods(texts: list[bytes]) -> list[dict[int, float]]:
    """Return, for each text, the other texts that reach DROP_AT with their similarity: exact, over every pair."""
    import numpy as np

    sets = [shingles_of(text.decode()) for text in texts]
    numbers: dict[str, int] = {}
    owned = [np.array([numbers.setdefault(shingle, len(numbers)) for shingle in own], np.int64) for own in sets]
    owners = np.repeat(np.arange(len(sets)), [len(own) for own in owned])
    flat = np.concatenate(owned)
    by_shingle = owners[np.argsort(flat, kind="stable")]
    sizes = np.array([len(own) for own in owned])
    spread = np.bincount(flat, minlength=len(numbers))
    starts = np.cumsum(spread) - spread
    found = []
    for index, own in enumerate(owned):
        lengths = spread[own]
        places = np.repeat(starts[own] - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
        common = np.bincount(by_shingle[places], minlength=len(sets))
        score = common / np.maximum(sizes + sizes[index] - common, 1)
        near = np.flatnonzero(score >= DROP_AT)
        found.append({int(other): float(score[other]) for other in near if other != index})
    return found


# The comparison


def measure(name: str, python: str, source: Path, scratch: Path, core: int) -> dict:
    """Run one tool in its own interpreter on one core; raise if it fails."""
    target = scratch / "result.json"
    command = [python, str(Path(__file__).resolve()), "--run", name, str(source), str(target)]
    prepared = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS"), "1")}
    os.sched_setaffinity(0, {core})  # inherited by the child
    done = subprocess.run(command, env=prepared, cwd=scratch, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(target.read_text())


def interpreters(given: list[str]) -> dict[str, str]:
    """Return tool → interpreter, and say which peers are left out."""
    pairs = dict(item.split("=", 1) for item in given)
    for name in PEERS:
        if name not in pairs:
            print(f"{name}: left out; name its interpreter with --peer {name}=PYTHON", file=sys.stderr)
    return {"starsmith": sys.executable, **{name: pairs[name] for name in PEERS if name in pairs}}


def compare(options: argparse.Namespace) -> None:
    documents = corpus(options.folder, options.max_bytes)
    texts, sample = [text for _, text in documents], sample_of(documents, options.sample)
    size = sum(map(len, texts)) / 1e6
    same = len(texts) - len({hashlib.sha256(text).digest() for text in texts})
    print(f"{len(texts)} files, {size:.0f} MB, {same} exact duplicates; sample of {len(sample)}; core {options.core}\n")
    print("| tool | MB per CPU second | Starsmith is | kept | recall | precision | removed of sample | peak RSS, MB |")
    print("|---|---|---|---|---|---|---|---|")
    own = 0.0
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder, "whole"), Path(folder, "sample")
        write_texts(texts, whole)
        write_texts(sample, part)
        for name, python in interpreters(options.peer).items():
            runs = [measure(name, python, whole, Path(folder), options.core)]
            while len(runs) < options.repeat and runs[0]["cpu"] < 30:
                runs.append(measure(name, python, whole, Path(folder), options.core))
            best = min(runs, key=lambda run: run["cpu"])
            speed = size / best["cpu"]
            own = own or speed
            ratio = f"{own / speed:.1f}× (goal {GOALS[name]}×)" if name in GOALS else "1"
            kept = measure(name, python, part, Path(folder), options.core)["kept"]
            recall, precision, removed = accuracy(sample, kept)
            print(
                f"| {name} | {speed:.1f} | {ratio} | {len(best['kept'])} | {recall:.4f} | {precision:.4f} | {removed} "
                f"| {best['rss']:.0f} ({best['rss'] - best['rss_before']:.0f} above the texts) |",
                flush=True,
            )


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        name, source, target = sys.argv[2:]
        run_one(name, Path(source), Path(target))
        return
    parser = argparse.ArgumentParser(description="Near-duplicate removal beside the peers, on one core.")
    parser.add_argument("folder", type=Path, help="a folder of source code with natural duplicates")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help=f"one of {', '.join(PEERS)}")
    parser.add_argument("--sample", type=int, default=3000, help="texts in the accuracy sample")
    parser.add_argument("--max-bytes", type=int, default=1_000_000, help="larger files are left out")
    parser.add_argument("--repeat", type=int, default=3, help="runs of a tool that takes under 30 s; the best counts")
    parser.add_argument("--core", type=int, default=0)
    compare(parser.parse_args())


if __name__ == "__main__":
    main()
