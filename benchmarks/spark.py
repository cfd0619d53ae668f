"""What Spark costs: the same recipe on both engines, and the one task that finds connected components.

    python benchmarks/spark.py overhead recipe.toml --scratch FOLDER
    python benchmarks/spark.py components --scratch FOLDER --rows 1e6 1e7

`overhead` builds a recipe from nothing with two local workers, on Spark `local[2]`, and on one and two executors of
their own; it prints processor time, time on the wall, peak memory and what Spark shuffled, and holds all builds to one
release. `components` prints the peak memory of the task by the number of its rows.
"""

import argparse
import json
import pickle
import resource
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import process_tree
import pyarrow as pa

from starsmith import near
from starsmith.curate import near_duplicates
from starsmith.storage import Store
from starsmith.table import Table, write_part

SPARK = ["--engine", "spark", "--spark-conf", "spark.executor.memory=1g"]
ENGINES = {
    "local, 2 workers": ["--workers", "2"],
    "Spark local[2]": [*SPARK, "--spark-master", "local[2]"],
    "Spark, 1 executor of 1 core": [*SPARK, "--spark-master", "local-cluster[1,1,1024]"],
    "Spark, 2 executors of 1 core": [*SPARK, "--spark-master", "local-cluster[2,1,1024]"],
}
CLUSTER = 4
"""Documents in a bucket of the generated ones."""


def overhead(recipe: Path, scratch: Path, cores: frozenset[int], times: int) -> None:
    """Build on every engine in turn, `times` times; print a row for each build."""
    print("| engine | processor s | against local | on the wall s | all processes MB | shuffled MB |")
    print("|---|---|---|---|---|---|")
    releases = set()
    for _ in range(times):
        own = 0.0
        for name, options in ENGINES.items():
            workspace = scratch / "workspace"
            shutil.rmtree(workspace, ignore_errors=True)
            command = [sys.executable, "-m", "starsmith", "build", str(recipe), "--workspace", str(workspace), "--json"]
            used = process_tree.run([*command, *options], cores=cores)
            done = json.loads(used.output)
            releases.add(Path(done["release"]).name)
            shuffled = sum(stage["moved"].get("shuffle_written", 0) for stage in done["stages"]) / 1e6
            own = own or used.cpu
            numbers = f"{used.cpu:.1f} | {used.cpu / own:.1f}× | {used.wall:.1f} | {used.tree:.0f} | {shuffled:.1f}"
            print(f"| {name} | {numbers} |", flush=True)
    print("EQUAL" if len(releases) == 1 else f"DIFFERENT: {sorted(releases)}")


def components(scratch: Path, rows: list[float], per: int) -> None:
    """Print a row for each size; each is measured in a process of its own."""
    print("| rows | documents | peak MB | bytes a row | processor s |")
    print("|---|---|---|---|---|")
    for count in rows:
        folder = scratch / "components"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for step in ("make", "measure"):
            command = [sys.executable, __file__, step, "--scratch", str(folder), "--rows", str(int(count))]
            print(process_tree.run([*command, "--per", str(per)], cores=frozenset({0})).output, end="", flush=True)
        shutil.rmtree(folder)


def make(folder: Path, rows: int, per: int) -> None:
    """Write members in buckets of CLUSTER, each in `per` of them, as the tables that the task reads."""
    store, total = Store(str(folder)), rows // per
    ids, numbers = random_ids(total, seed=1), np.arange(total)
    shards = pa.array([f"{number % 200:016x}" for number in range(total)])
    zeros = np.zeros(total, np.int64)
    columns = [numbers, ids, shards, random_ids(total, seed=2), zeros, zeros + 500, numbers]
    members = pa.table(columns, schema=near.MEMBERS)
    found = []
    for band in range(per):
        pairs = pa.table([ids, zeros, np.full(total, band, np.int32), numbers // CLUSTER], schema=near.PAIRS)
        mixed = pairs.take(pa.array(np.random.default_rng(band).permutation(total)))
        found.append(write_part(store, "near_pairs", near.PAIRS, [mixed], shard=f"{band:06d}"))
    member_parts = (write_part(store, "near_members", near.MEMBERS, [members]),)
    tables = (
        Table(name="near_members", schema=near.MEMBERS, parts=member_parts),
        Table(name="near_pairs", schema=near.PAIRS, parts=tuple(found)),
    )
    (folder / "tables.pickle").write_bytes(pickle.dumps(tables))


def random_ids(count: int, *, seed: int) -> pa.Array:
    data = np.random.default_rng(seed).bytes(count * 20)
    return pa.Array.from_buffers(pa.binary(20), count, [None, pa.py_buffer(data)])


def measure(folder: Path) -> None:
    """Run the task on the tables of `make`."""
    members, pairs = pickle.loads((folder / "tables.pickle").read_bytes())  # noqa: S301 (made by `make`)
    # Compiled beforehand, as in a worker that has done other work.
    near_duplicates.components(np.zeros(1, np.int64), np.zeros(1, np.int64), 1)
    before = peak()
    started = time.process_time()
    near.GroupMembers(members=members, pairs=pairs)(Store(str(folder)), attempt=0, progress=lambda count: None)
    grown = peak() - before
    used = f"{peak() / 1e6:.0f} | {grown / pairs.rows:.0f} | {time.process_time() - started:.1f}"
    print(f"| {pairs.rows:,} | {members.rows:,} | {used} |")


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("overhead", "components", "make", "measure"))
    parser.add_argument("recipe", type=Path, nargs="?", help="the recipe to build, for overhead")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder to work in")
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6, 1e7], help="sizes, for components")
    parser.add_argument("--per", type=int, default=10, help="buckets that each document is in")
    parser.add_argument("--cores", default="0,1", help="cores to use, for overhead")
    parser.add_argument("--times", type=int, default=1, help="how often each engine builds")
    given = parser.parse_args()
    if given.what == "overhead":
        overhead(given.recipe, given.scratch, frozenset(map(int, given.cores.split(","))), given.times)
    elif given.what == "components":
        components(given.scratch, given.rows, given.per)
    elif given.what == "make":
        make(given.scratch, int(given.rows[0]), given.per)
    else:
        measure(given.scratch)


if __name__ == "__main__":
    main()
