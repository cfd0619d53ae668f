"""Look-up: the time of one question of each kind to a finished workspace, beside DuckDB on the same Parquet files.

    python benchmarks/look_up.py WORKSPACE [--questions 15]

Every question is asked anew, with nothing kept from the one before; the time of starting Python is not in it. DuckDB is
asked for the rows that a document's story is made of, with one filter on each table, in a connection that is open.
"""

import argparse
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from starsmith.document import ORIGINS, swhid
from starsmith.govern.answers import Answer
from starsmith.govern.look_up import LookUp
from starsmith.ledger import LEDGER
from starsmith.release import DATA
from starsmith.storage import Store
from starsmith.workspace import BuildRecord, read_build

Question = Callable[[LookUp], Answer]
STORY = ("documents", "ledger", "annotations", "licences", "facts", "released")
SNIPPET_LINES = 25


def questions(store: Store, build: BuildRecord, count: int) -> Iterator[tuple[str, list[Question]]]:
    """Yield the kinds of questions with `count` of each, drawn at random but always the same."""
    chance = random.Random(1)
    ledger = build.table("ledger", LEDGER).read(store).to_pylist()
    origins = build.table("origins", ORIGINS).read(store).to_pylist()
    names = {row["origin_id"]: row["repo_name"] for row in origins}
    by_verdict = defaultdict(list)
    for row in ledger:
        by_verdict[row["verdict"]].append(row)
    for verdict, rows in sorted(by_verdict.items()):
        few = chance.sample(rows, min(count, len(rows)))
        yield f"owner/repo:path, {verdict}", [ask(f"{names[row['origin_id']]}:{row['path']}") for row in few]
    contents = [row["content_id"] for row in ledger if row["content_id"]]
    yield "SWHID of a content", [ask(swhid("cnt", each)) for each in chance.sample(contents, count)]
    yield "owner/repo", [ask(row["repo_name"]) for row in chance.sample(origins, min(count, len(origins)))]
    texts = build.table("data", DATA).read(store, ["content"])["content"].to_pylist()
    long = [text for text in texts if text.count("\n") > 2 * SNIPPET_LINES]
    parts = ["\n".join(text.split("\n")[SNIPPET_LINES : 2 * SNIPPET_LINES]) for text in chance.sample(long, count)]
    yield f"snippet, {SNIPPET_LINES} lines of a document", [show(part) for part in parts]
    strange = [" ".join(f"w{chance.randrange(10**9)}" for _ in range(300)) for _ in range(count)]
    yield "snippet, like nothing", [show(text) for text in strange]


def ask(target: str) -> Question:
    return lambda look_up: look_up.target(target)


def show(text: str) -> Question:
    return lambda look_up: look_up.snippet(text.encode())


def timed(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - started)


def report(store: Store, name: str, asked: Sequence[Question]) -> None:
    times = [timed(lambda each=each: each(LookUp(store)).words()) for each in asked]
    print(f"{name:45} {len(times):4} asked  median {statistics.median(times):7.1f} ms  worst {max(times):7.1f} ms")


def report_peer(store: Store, build: BuildRecord, count: int) -> None:
    connection = duckdb.connect()
    parts = {name: [store.path(part.name) for part in build.tables[name]] for name in STORY}
    ids = [row["document_id"] for row in build.table("ledger", LEDGER).read(store, ["document_id"]).to_pylist()]

    def rows(identifier: bytes) -> None:
        for files in parts.values():
            connection.execute("SELECT * FROM read_parquet(?) WHERE document_id = ?", [files, identifier]).fetchall()

    times = [timed(lambda each=each: rows(each)) for each in random.Random(1).sample(ids, count)]
    print(f"{'DuckDB, the rows of one document':45} {len(times):4} asked  median {statistics.median(times):7.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--questions", type=int, default=15, help="of each kind")
    arguments = parser.parse_args()
    store = Store(str(arguments.workspace.absolute()))
    build = read_build(store)
    print(f"{sum(part.rows for part in build.tables['documents']):,} documents in {arguments.workspace.name}")
    LookUp(store).snippet(b"one two three four five six")  # loads the compiled kernels
    for name, asked in questions(store, build, arguments.questions):
        report(store, name, asked)
    report_peer(store, build, arguments.questions)


if __name__ == "__main__":
    main()
