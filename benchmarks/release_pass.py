"""The release pass: contents that survived in, a release out, against reading and writing the same text as Parquet.

    python benchmarks/release_pass.py WORKSPACE [--megabytes 300] [--runs 2]

WORKSPACE is one that `starsmith build` made. For each of its shards the released contents are scanned for secrets,
personal data and the benchmarks of its recipe, then the shard of the release is written, as workers do it but in this
process, on one core, into a folder that is removed again. Beside it, shard by shard, the text of the release is read
from Parquet and written to Parquet with Zstandard level 3, which is the least a pass can do. Prints the processor time
of both and where that of the pass went, and says whether the release has the bytes that the workspace's has. Malware is
not in it: that is clamd's time (`malware.py`).
"""

import argparse
import functools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # as commands do

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from text_statistics import pin_to_one_core

from starsmith import recipe, release, scan
from starsmith.curate import decontaminate, encoding, redact
from starsmith.detectors import Detectors
from starsmith.disk import _DIGESTS
from starsmith.release import DATA, ReleaseShard
from starsmith.released import RELEASED
from starsmith.scan import WANTED, ScanShard
from starsmith.storage import Store
from starsmith.table import Part, Table, write_part
from starsmith.workspace import BuildRecord, open_store, read_build

LEVEL = 3
FUNCTIONS: list[tuple[str, object, str]] = [
    ("Parquet read", pq.ParquetFile, "read_row_group"),
    ("Parquet read", pq.ParquetFile, "read"),
    ("SHA-256 of files", Store, "sha256"),
    ("SHA-256 of files", Store, "publish_digested"),
    ("decode", encoding, "decode"),
    ("secrets and personal data", redact, "scan"),
    ("decontamination", decontaminate, "scan"),
    ("edits", redact, "redact"),
    ("rows of the scan", scan, "scan_batch"),
    ("rows of the release", release, "_rows"),
    ("contents of rows", release._ContentReader, "__init__"),
    ("contents of rows", release._ContentReader, "places"),
    ("contents of rows", release._ContentReader, "rows"),
    ("Parquet write", pq.ParquetWriter, "write_table"),
    ("Parquet write", pq.ParquetWriter, "close"),
]
"""Whose processor time is told apart, less that of others of them within."""


Run = tuple[float, float, dict[str, float], int, list[Part]]
"""CPU seconds of the pass and of the floor, those of the pass by name, bytes of text, parts of the release."""


class Stopwatch:
    """Adds up processor time by name; of nested blocks the inner one counts."""

    def __init__(self) -> None:
        self.seconds = Counter[str]()
        self._open: list[str] = []
        self._since = time.process_time()

    def _switch(self) -> None:
        now = time.process_time()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def block(self, name: str) -> Iterator[None]:
        self._switch()
        self._open.append(name)
        try:
            yield
        finally:
            self._switch()
            self._open.pop()

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            if not self._open:
                return function(*arguments, **named)
            with self.block(name):
                return function(*arguments, **named)

        return timed


def linked(source: Store, target: Store, *parts: Part) -> None:
    """Bring parts of a workspace into the scratch store."""
    for part in parts:
        path = Path(target.path(part.name))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.symlink_to(source.path(part.name))


def detectors_of(build: BuildRecord) -> Detectors:
    settings = recipe.loads(build.recipe, base=Path(build.base))
    index = build.tables.get("benchmark_index", (None,))[0]
    return Detectors(redaction=settings.redaction, decontamination=settings.decontamination, index=index)


def one_pass(store: Store, released: Part, wanted: Part, contents: Part, detectors: Detectors) -> Part:
    """Scan and release one shard; return the part of the release. Both read every file of the shard as if for the first
    time; the index of the benchmarks a process reads and checks once."""
    forget(store, detectors)
    scanned = ScanShard(wanted=wanted, contents=contents, detectors=detectors, known={})
    found = scanned(store, attempt=0, progress=lambda rows: None).parts
    forget(store, detectors)
    work = ReleaseShard(
        released=released,
        contents=contents,
        findings=found["findings"],
        compression_level=LEVEL,
        ids_only=True,
    )
    return work(store, attempt=0, progress=lambda rows: None).parts["data"][0]


def forget(store: Store, detectors: Detectors) -> None:
    """Let files be read and checked again, but for the index."""
    index = {store.path(detectors.index.name)} if detectors.index else set()
    for path in _DIGESTS.keys() - index:
        del _DIGESTS[path]


def copy_text(source: str, target: Path) -> int:
    """Read the text of a shard of the release and write it; return its bytes."""
    size = 0
    schema = pa.schema([DATA.field("content")])
    with (
        pq.ParquetFile(source) as file,
        pq.ParquetWriter(
            target, schema, compression="zstd", compression_level=LEVEL, use_dictionary=False, write_statistics=False
        ) as writer,
    ):
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=["content"])
            size += pc.sum(pc.binary_length(rows["content"])).as_py()
            writer.write_table(rows, row_group_size=max(rows.num_rows, 1))
    return size


def prepared(source: Store, scratch: Store, build: BuildRecord, limit: float) -> list[tuple[Part, Part, Part]]:
    """Return (released, wanted, contents) of the first shards that together release `limit` bytes."""
    contents = {part.shard: part for part in build.tables["contents"]}
    shards, size = [], 0
    for part in build.tables["released"]:
        linked(source, scratch, part, contents[part.shard])
        rows = Table(name="released", schema=RELEASED, parts=(part,)).read(scratch, ["shard", "content_id", "length"])
        wanted = rows.group_by(["shard", "content_id"], use_threads=False).aggregate([])
        shards.append((part, write_part(scratch, "wanted", WANTED, [wanted], shard=part.shard), contents[part.shard]))
        size += pc.sum(rows["length"]).as_py()
        if size >= limit:
            break
    return shards


def compare(source: Store, scratch: Store, arguments: argparse.Namespace) -> None:
    build = read_build(source)
    detectors = detectors_of(build)
    linked(source, scratch, *([detectors.index] if detectors.index else []))
    shards = prepared(source, scratch, build, arguments.megabytes * 1e6)
    scan._warm_once(detectors=detectors, store=scratch)
    one_pass(scratch, *shards[0], detectors)
    watch, runs = Stopwatch(), []
    for title, owner, name in FUNCTIONS:
        setattr(owner, name, watch.wrap(title, getattr(owner, name)))
    for _ in range(arguments.runs):
        watch.seconds.clear()
        floor, size, written = 0.0, 0, []
        for shard in shards:
            with watch.block("the rest"):
                written.append(one_pass(scratch, *shard, detectors))
            started = time.process_time()
            size += copy_text(scratch.path(written[-1].name), Path(scratch.path("copy.parquet")))
            floor += time.process_time() - started
        runs.append((watch.seconds.total(), floor, dict(watch.seconds), size, written))
    report(runs, [part.digest for part in build.tables["data"]])


def report(runs: list[Run], released: list[str]) -> None:
    seconds, floor, split, size, written = min(runs, key=lambda run: run[0] / run[1])
    print(f"{size / 1e6:.0f} MB of text in {sum(part.rows for part in written):,} documents, {len(written)} shards")
    print(f"read and written as Parquet {floor:7.2f} CPU s, {size / 1e6 / floor:6.1f} MB per CPU second")
    print(f"the release pass            {seconds:7.2f} CPU s, {size / 1e6 / seconds:6.1f} MB per CPU second")
    print(f"ratio                       {seconds / floor:7.2f}   (all runs: {[f'{r[0] / r[1]:.2f}' for r in runs]})")
    for name, taken in sorted(split.items(), key=lambda item: -item[1]):
        print(f"  {name:26}{taken:7.2f} CPU s  {taken / floor:5.2f} of the floor")
    same = [part.digest for part in written] == released[: len(written)]
    print("the bytes are those of the workspace's release" if same else "THE BYTES ARE NOT THOSE OF THE RELEASE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", help="a workspace that `starsmith build` made")
    parser.add_argument("--megabytes", type=float, default=300.0, help="stop after this much text (default: 300)")
    parser.add_argument("--runs", type=int, default=3, help="of which the best ratio counts (default: 3)")
    arguments = parser.parse_args()
    pin_to_one_core()
    source = open_store(arguments.workspace, create=False)
    with tempfile.TemporaryDirectory() as folder:
        compare(source, Store(folder), arguments)


if __name__ == "__main__":
    main()
