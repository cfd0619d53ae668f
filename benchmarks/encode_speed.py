"""Encoding texts: ids and speed of Starsmith's encoder against the library that a tokenizer is saved with.

    pip install tokenizers tiktoken
    taskset -c 1 python benchmarks/encode_speed.py TOKENIZER RELEASE|FOLDER … [--documents 100000] [--megabytes 30]

Ids are compared on documents cut to `--characters` characters, every fortieth of them whole; speed is measured on whole
ones, one thread each, the three encoders in turn, the best of `--rounds` rounds. tiktoken gets the same merges as ranks
and the same rule as a regular expression. A worst case is a megabyte of one character.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"

import numpy as np
import pyarrow.parquet as pq
import tiktoken
import tokenizers

from starsmith.errors import StarsmithError
from starsmith.format.tokenizer import TOKENIZER_FILE, Tokenizer

DIGIT = r"\p{N}\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6}"
RULE = rf"'(?:[stmd]|re|ve|ll)|[{DIGIT}]| ?\p{{L}}+| ?[^\s\p{{L}}{DIGIT}]+|\s+(?![^\s{DIGIT}])|\s+"
BATCH = 64
LONGEST = 1 << 18


def documents(places: list[str]) -> Iterator[str]:
    """Yield the texts of releases, and of files in folders that are UTF-8."""
    for place in map(Path, places):
        files = sorted(place.glob("data/*.parquet"))
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches(columns=["content"], batch_size=256):
                yield from batch["content"].to_pylist()
        for file in [] if files else sorted(path for path in place.rglob("*") if path.is_file()):
            try:
                if file.stat().st_size <= LONGEST:
                    yield file.read_text("utf-8")
            except (UnicodeDecodeError, OSError):
                continue


class Encoders:
    """The three, each from the same file."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.own = tokenizer.encoder
        self.library = tokenizers.Tokenizer.from_str(tokenizer.files[TOKENIZER_FILE].decode())
        self.library.encode_special_tokens = True
        ranks = {token: number for number, token in enumerate(tokenizer.tokens) if token is not None}
        self.tiktoken = tiktoken.Encoding("same", pat_str=RULE, mergeable_ranks=ranks, special_tokens={})

    def by_own(self, texts: list[str]) -> list[list[int]]:
        ids, counts = self.own.encode_texts(texts)
        return [part.tolist() for part in np.split(ids, np.cumsum(counts)[:-1])]

    def by_library(self, texts: list[str]) -> list[list[int]]:
        return [each.ids for each in self.library.encode_batch_fast(texts)]

    def by_tiktoken(self, texts: list[str]) -> list[list[int]]:
        return [self.tiktoken.encode_ordinary(text) for text in texts]

    def timed(self, name: str, texts: list[str]) -> float:
        """Return the processor seconds of encoding without making lists of numbers."""
        started = time.process_time()
        for start in range(0, len(texts), BATCH):
            batch = texts[start : start + BATCH]
            if name == "Starsmith":
                self.own.encode_texts(batch)
            elif name == "tokenizers":
                self.library.encode_batch_fast(batch)
            else:
                for text in batch:
                    self.tiktoken.encode_to_numpy(text, disallowed_special=())
        return time.process_time() - started


def compared(encoders: Encoders, arguments: argparse.Namespace) -> None:
    """Print how many documents have equal ids."""
    count = differing = tokens = 0
    batch: list[str] = []
    for number, text in enumerate(documents(arguments.places)):
        if number == arguments.documents:
            break
        batch.append(text if number % 40 == 0 else text[: arguments.characters])
        count += 1
        if len(batch) == BATCH:
            differing += sum(a != b for a, b in zip(*both(encoders, batch), strict=True))
            tokens += sum(map(len, encoders.by_own(batch)))
            batch = []
    if batch:
        differing += sum(a != b for a, b in zip(*both(encoders, batch), strict=True))
        tokens += sum(map(len, encoders.by_own(batch)))
    print(f"{count:,} documents, {tokens:,} tokens: the ids of {differing:,} differ", flush=True)
    if differing:
        sys.exit(1)


def both(encoders: Encoders, batch: list[str]) -> tuple[list[list[int]], list[list[int]]]:
    return encoders.by_own(batch), encoders.by_library(batch)


def raced(encoders: Encoders, arguments: argparse.Namespace) -> None:
    texts, size = [], 0
    for number, text in enumerate(documents(arguments.places)):
        if number % 9 == 0:
            texts.append(text)
            size += len(text.encode())
        if size >= arguments.megabytes * 1e6:
            break
    names = ("Starsmith", "tiktoken", "tokenizers")
    encoders.timed("Starsmith", texts[:50])
    best = dict.fromkeys(names, float("inf"))
    for _ in range(arguments.rounds):
        for name in names:
            best[name] = min(best[name], encoders.timed(name, texts))
    print(f"{len(texts):,} whole documents, {size / 1e6:.0f} MB, load {os.getloadavg()[0]:.0f}")
    for name in names:
        ratio = best[name] / best["Starsmith"]
        print(f"{name:<12}{size / 1e6 / best[name]:>8.1f} MB per CPU second, Starsmith is {ratio:.1f}×")


def worst(encoders: Encoders) -> None:
    """Print what a megabyte of one character takes."""
    for name, unit in (("letters", "a"), ("spaces", " "), ("digits", "0"), ("NUL", "\0"), ("ideographs", "漢")):
        text = unit * (1_000_000 // len(unit.encode()))
        seconds = [encoders.timed(each, [text]) for each in ("Starsmith", "tokenizers")]
        try:
            by_tiktoken = f"{encoders.timed('tiktoken', [text]):.2f} s"
        except ValueError as error:
            by_tiktoken = f"fails ({str(error).rpartition(':')[2].strip()})"
        print(
            f"1 MB of {name:<11} {seconds[0]:.2f} s, tokenizers {seconds[1]:.2f} s, tiktoken {by_tiktoken}", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer")
    parser.add_argument("places", nargs="+")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--characters", type=int, default=600)
    parser.add_argument("--megabytes", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    try:
        tokenizer = Tokenizer.open(arguments.tokenizer)
    except StarsmithError as error:
        sys.exit(str(error))
    encoders = Encoders(tokenizer)
    print(f"vocabulary {tokenizer.vocabulary:,}")
    raced(encoders, arguments)
    worst(encoders)
    compared(encoders, arguments)


if __name__ == "__main__":
    main()
