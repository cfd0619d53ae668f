"""Decisions on narrow tables: time, memory, spill and shuffle of each stage, on either engine, and that both agree.

    python benchmarks/decisions_at_scale.py FOLDER --documents 100000 1000000 --engine local spark [--memory 2GB]
    python benchmarks/decisions_at_scale.py FOLDER --figure docs/scale.svg

For each size `narrow_tables.py` makes the tables. All decisions but the scan of contents run on them as in a build;
then one owner with about a thousandth of the documents leaves and all is decided again, as `opt-out apply` does after
it has collected the owner's shard anew. Every run is a process of its own in a fresh workspace. What it measured is
added to FOLDER/results.json, from which `--figure` draws.

Time is on the wall, processor time that of all processes. Memory is the largest sum of resident sizes of all processes
of the run, sampled. Spill is what lay in DuckDB's folder at most, or what Spark says its tasks spilled to disk;
shuffled bytes are what Spark's tasks wrote for others to fetch.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from growth_figure import draw
from narrow_tables import Corpus, Shard, generate, origin_rows
from process_tree import processor_seconds, resident_mb

from starsmith import decisions, recipe, scan
from starsmith.builder import Builder
from starsmith.detectors import detectors_of
from starsmith.document import CONTENTS, ORIGINS
from starsmith.engines import Engine, SparkOptions, local
from starsmith.progress import Quiet
from starsmith.storage import Store
from starsmith.table import Table, write_part
from starsmith.workspace import BuildRecord, open_store, write_build

MASTER = "local-cluster[2,1,2048]"
SHARE = 0.001
SAMPLE_SECONDS = 0.25
STAGES = ("errors", "repository", "licence", "filters", "exact", "near")
RECIPE = '[[source]]\nkind = "git"\npath = "none"\n'


@dataclass(kw_only=True)
class Child:
    """What runs in a process of its own: the decisions on one corpus, and those after a removal."""

    folder: Path
    documents: int
    engine_name: str
    memory: str
    windows: list[tuple[str, float, float]] = field(default_factory=list)

    def run(self) -> dict[str, object]:
        # Contents are not there, so they cannot be scanned.
        recipe.PROFILES["narrow"] = replace(recipe.PROFILES[recipe.DEFAULT_PROFILE], order=STAGES)
        asked = replace(recipe.loads(RECIPE, base=self.folder), profile="narrow")
        store = open_store(self.folder / "workspace", create=True)
        corpus = Corpus(documents=self.documents)
        tables = generate(store, corpus, workers=1)
        with closing(self._engine(store)) as engine:
            return self._run(store, engine, asked, corpus, tables)

    def _run(
        self, store: Store, engine: Engine, asked: recipe.Recipe, corpus: Corpus, tables: dict[str, Table]
    ) -> dict[str, object]:
        first = self._decide(store, engine, asked, tables, prefix="")
        write_build(store, self._record(first, engine))
        leaving = self._departed(store, corpus, tables)
        second = self._decide(store, engine, asked, leaving, prefix="removal: ")
        counts = {name: table.rows for name, table in first.tables.items()}
        return {
            "windows": self.windows,
            "digest": digest(first),
            "digest after removal": digest(second),
            "rows": counts,
            "bytes": {name: sum(part.bytes for part in table.parts) for name, table in first.tables.items()},
            "parts": {name: len(table.parts) for name, table in first.tables.items()},
            "verdicts": {report.name: report.dropped for report in first.reports},
            "counts": {report.name: report.counts for report in first.reports},
        }

    def _engine(self, store: Store) -> Engine:
        if self.engine_name == "local":
            local.SQL_MEMORY = self.memory
            return local.LocalEngine(workers=2, spill=str(self.folder / "spill"))
        from starsmith.engines.spark import SparkEngine

        events = self.folder / "events"
        events.mkdir(exist_ok=True)
        conf = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": events.as_uri()}
        # Else the log is compressed, and read by nothing but Spark.
        conf |= {"spark.eventLog.compress": "false", "spark.eventLog.rolling.enabled": "false"}
        options = SparkOptions(master=MASTER, conf=conf)
        return SparkEngine.start(options, store=store, witness="workspace.json", spill=str(self.folder / "spill"))

    def _decide(
        self, store: Store, engine: Engine, asked: recipe.Recipe, tables: dict[str, Table], *, prefix: str
    ) -> Builder:
        builder = Timed(store=store, engine=engine, reporter=Quiet(), tables=dict(tables))
        builder.windows, builder.prefix = self.windows, prefix
        builder.tables |= scan.nothing() | {"contents": Table(name="contents", schema=CONTENTS, parts=())}
        decisions.decide(builder, asked, detectors_of(builder, asked))
        return builder

    def _departed(self, store: Store, corpus: Corpus, tables: dict[str, Table]) -> dict[str, Table]:
        """Return the tables without one owner, whose shards are made again."""
        origins = corpus.origins()
        sizes = origins.starts[1:] - origins.starts[:-1]
        owners = [sum(sizes[origins.owners == number]) for number in range(int(origins.owners[-1]) + 1)]
        leaving = min(range(len(owners)), key=lambda number: abs(owners[number] - SHARE * corpus.documents))
        gone = frozenset(origin for origin in range(len(sizes)) if origins.owners[origin] == leaving)
        made = {
            shard.name: shard.write(store)
            for first, last in origins.shards()
            if gone & set(range(first, last))
            for shard in [Shard(corpus=corpus, origins=origins, first=first, last=last, without=gone)]
        }
        rest = {
            name: replace(table, parts=tuple(made.get(part.shard, {}).get(name, part) for part in table.parts))
            for name, table in tables.items()
        }
        part = write_part(store, "origins", ORIGINS, [origin_rows(corpus, origins, gone)])
        return rest | {"origins": Table(name="origins", schema=ORIGINS, parts=(part,))}

    def _record(self, builder: Builder, engine: Engine) -> BuildRecord:
        return BuildRecord(
            recipe=RECIPE,
            base=str(self.folder),
            profile="narrow",
            engine=engine.name,
            workers=engine.workers,
            until="decide",
            stages=tuple(builder.reports),
            tables={name: table.parts for name, table in builder.tables.items()},
            records=tuple(sorted(set(builder.records))),
            release=None,
            versions={},
        )


class Timed(Builder):
    """A builder that notes when each stage began and ended."""

    windows: list[tuple[str, float, float]]
    prefix: str
    began: float

    def begin(self, stage: str) -> None:
        super().begin(stage)
        self.began = time.time()

    def end(self, *, documents_in: int, dropped: dict[str, int] | None = None) -> None:
        super().end(documents_in=documents_in, dropped=dropped)
        self.windows.append((self.prefix + self.reports[-1].name, self.began, time.time()))


def digest(builder: Builder) -> str:
    """Return a digest of every row of every table: names, schemas and digests of parts."""
    rows = sorted((name, table.digest) for name, table in builder.tables.items())
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


class Watch:
    """Samples a process and its descendants, and the bytes below a folder, until it is stopped."""

    def __init__(self, root: int, spill: Path) -> None:
        self.samples: list[tuple[float, float, float, float]] = []
        self.cpu: dict[int, float] = {}
        self._root, self._spill, self._stopped = root, spill, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            self.cpu |= processor_seconds(self._root)
            spilled = bytes_below(self._spill) / 1e6
            self.samples.append((time.time(), resident_mb(self._root), spilled, sum(self.cpu.values())))

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def most(self, column: int, start: float, end: float) -> float:
        return max((each[column] for each in self.samples if start <= each[0] <= end), default=0.0)

    def used(self, start: float, end: float) -> float:
        """Return the processor time between two moments, as far as samples tell."""
        before = [each[3] for each in self.samples if each[0] <= start]
        until = [each[3] for each in self.samples if each[0] <= end]
        return (until[-1] if until else 0.0) - (before[-1] if before else 0.0)


def bytes_below(folder: Path) -> int:
    """Return the bytes of all files below a folder, from which files and folders may go meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(place, name)).st_size
    return total


def shuffled(events: Path) -> Iterator[tuple[float, float, float]]:
    """Yield (time, MB written for others, MB spilled to disk) of every task in Spark's event log."""
    for path in events.iterdir():
        with path.open(encoding="utf-8") as file:
            for line in file:
                if '"SparkListenerTaskEnd"' not in line:
                    continue
                event = json.loads(line)
                metrics = event.get("Task Metrics") or {}
                wrote = metrics.get("Shuffle Write Metrics", {}).get("Shuffle Bytes Written", 0)
                yield event["Task Info"]["Finish Time"] / 1e3, wrote / 1e6, metrics.get("Disk Bytes Spilled", 0) / 1e6


def measure(folder: Path, documents: int, engine: str, memory: str) -> dict[str, object]:
    """Run the decisions on a fresh copy of the generated tables."""
    made = folder / f"tables-{documents}"
    generate(open_store(made, create=True), Corpus(documents=documents), workers=2)
    run = folder / f"run-{documents}-{engine}"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    # Parts are never changed in place.
    subprocess.run(["cp", "-al", str(made), str(run / "workspace")], check=True)
    command = [sys.executable, __file__, str(run), "--child", engine, "--documents", str(documents), "--memory", memory]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watch = Watch(process.pid, run / "spill")
        output, _ = process.communicate()
        watch.stop()
    if process.returncode:
        raise SystemExit(f"{engine} failed on {documents} documents")
    found = json.loads(output.splitlines()[-1])
    tasks = list(shuffled(run / "events")) if engine == "spark" else []
    found["stages"] = [stage(watch, tasks, *window) for window in found.pop("windows")]
    found |= {
        "documents": documents,
        "engine": engine,
        "cpu": round(sum(watch.cpu.values()), 1),
        "rss": round(max(each[1] for each in watch.samples)),
    }
    shutil.rmtree(run)
    return found


def stage(
    watch: Watch, tasks: list[tuple[float, float, float]], name: str, start: float, end: float
) -> dict[str, object]:
    own = [task for task in tasks if start <= task[0] <= end]
    spilled = sum(task[2] for task in own) if tasks else watch.most(2, start, end)
    return {
        "name": name,
        "wall": round(end - start, 2),
        "cpu": round(watch.used(start, end), 1),
        "rss": round(watch.most(1, start, end)),
        "spilled": round(spilled, 1),
        "shuffled": round(sum(task[1] for task in own), 1),
    }


GROUPS = {
    "licences and facts": ("licences",),
    "exact and filters": ("errors", "repository", "licence", "filters", "exact"),
    "near": ("near",),
    "ledger": ("ledger",),
    "removal": tuple(f"removal: {name}" for name in ("licences", *STAGES, "ledger")),
}


def grouped(found: dict) -> dict[str, dict[str, float]]:
    """Return what groups of stages took together: sums, and peaks of memory and spill."""
    groups = {}
    for name, members in GROUPS.items():
        own = [each for each in found["stages"] if each["name"] in members]
        sums = {column: sum(each[column] for each in own) for column in ("wall", "cpu", "shuffled")}
        groups[name] = sums | {column: max(each[column] for each in own) for column in ("rss", "spilled")}
    return groups


def table(results: list[dict]) -> str:
    """Return what was measured as a table in Markdown, and whether the engines agree."""
    lines = ["| documents | engine | stages | wall s | CPU s | all processes, MB | spilled, MB | shuffled, MB |"]
    lines.append("|--:|---|---|--:|--:|--:|--:|--:|")
    for found in sorted(results, key=lambda each: (each["documents"], each["engine"])):
        for name, each in grouped(found).items():
            times = f"{each['wall']:,.0f} | {each['cpu']:,.1f}"
            shown = f"{times} | {each['rss']:,} | {each['spilled']:,.0f} | {each['shuffled']:,.0f}"
            lines.append(f"| {found['documents']:,} | {found['engine']} | {name} | {shown} |")
        all_of_it = f"all, start included | | {found['cpu']} | {found['rss']:,} | | |"
        lines.append(f"| {found['documents']:,} | {found['engine']} | {all_of_it}")
    for documents in sorted({found["documents"] for found in results}):
        digests = {(f["digest"], f["digest after removal"]) for f in results if f["documents"] == documents}
        engines = sorted(found["engine"] for found in results if found["documents"] == documents)
        same = "EQUAL" if len(digests) == 1 else "DIFFERENT"
        lines.append(f"\n{documents:,}: {', '.join(engines)}: {same} {digests}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, nargs="*", default=[])
    parser.add_argument("--engine", nargs="*", choices=("local", "spark"), default=["local", "spark"])
    parser.add_argument("--memory", default="2GB", help="DuckDB's limit")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--figure", type=Path, help="draw what was measured so far")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    if options.child:
        child = Child(folder=folder, documents=options.documents[0], engine_name=options.child, memory=options.memory)
        print(json.dumps(child.run()))
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    results: list[dict] = json.loads(path.read_text()) if path.exists() else []
    for documents in options.documents:
        for engine in options.engine:
            found = measure(folder, documents, engine, options.memory)
            results = [each for each in results if (each["documents"], each["engine"]) != (documents, engine)] + [found]
            path.write_text(json.dumps(results, indent=1))
    print(table(results))
    if options.figure:
        lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for found in sorted(results, key=lambda each: each["documents"]):
            for name, each in grouped(found).items():
                lines.setdefault((found["engine"], name), []).append((found["documents"], each["cpu"]))
        options.figure.write_text(draw(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
