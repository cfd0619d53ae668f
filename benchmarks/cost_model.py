"""What a build costs at sizes that nobody here has built: from measured rates to hours, bytes, objects and money.

    python benchmarks/cost_model.py [--core-hour 0.04] [--shard-documents 50000] [--spark 3.4] [--utilisation 0.8]
    python benchmarks/cost_model.py --write docs/scale.md

Prints the tables of `docs/scale.md`. What stands under RATES and TABLES was measured, by the command beside it; what
stands under SCENARIOS is published or, where it says so, assumed; what is printed is computed from these by
multiplication. Sorting grows a little faster, by two fifths from 10^7 to 10^10 rows; the model leaves it out.
"""

import argparse
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HOUR = 3600.0
TB = 1e12


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A corpus: documents, bytes of them, origins."""

    name: str
    documents: float
    bytes: float
    origins: float


SCENARIOS = (
    # The mean size is that of the 17 repositories of benchmarks/README.md; the origins are as many as The Stack v2's.
    Scenario(name="10^9 files, 7.1 TB", documents=1e9, bytes=7.1e12, origins=3.5e7),
    # Published: bytes, repositories. Files: the order of magnitude that its paper gives.
    Scenario(name="The Stack v2, 67.5 TB", documents=3e9, bytes=67.5e12, origins=1.04e8),
    # Published: bytes, repositories. The number of files is not; 10^10 is assumed.
    Scenario(name="The Stack v3, 114 TB", documents=1e10, bytes=114e12, origins=2.24e8),
)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Processor seconds on one core per 10^6 documents and per GB of them."""

    documents: float
    gigabytes: float = 0.0


RATES = {
    # benchmarks/README.md. Collect: the floor for bytes (`git cat-file` and Parquet, 6.05 s for 432 MB); for documents
    # the rest of what a build takes before it annotates, and 6.6 s for the commit times of 59,518.
    "collect": Rate(documents=383, gigabytes=14),
    # 33 µs a content for licences, 52.4 MB a second for the rest.
    "annotate": Rate(documents=33, gigabytes=19.1),
    # The release pass, 7.00 s for 270 MB that are left of 432: scans with reading and decoding for them, and the rest.
    "scan": Rate(documents=0, gigabytes=6.1),
    "release": Rate(documents=0, gigabytes=10.1),
    # python benchmarks/decisions_at_scale.py FOLDER --documents 10000000 --engine local
    "licences and facts": Rate(documents=11.7),
    "exact and filters": Rate(documents=5.5),
    "near": Rate(documents=21.4),
    "ledger": Rate(documents=13.2),
}
SHUFFLED = {
    # The same with --engine spark: bytes that tasks wrote for others, per document. At 10^6 they were 863, 466, 209 and
    # 616: the smallest tables Spark sends to every executor whole.
    "licences and facts": 1007,
    "exact and filters": 530,
    "near": 231,
    "ledger": 837,
}
SPARK = 3.4
"""Processor time of queries on Spark as a multiple of that on DuckDB at 10^7 documents (the same command): 1,746 s of
517 s. At 10^6 it was 5.6, where starting tasks is still most of it."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A table: rows and bytes on disk per document, bytes per byte of the documents, and its files in each shard.

    One that is not cut by shard has none.
    """

    rows: float
    document: float = 0.0
    byte: float = 0.0
    origin: float = 0.0
    files: int = 1


TABLES = {
    # Parts of the build of the 17 repositories, 59,518 documents, 432 MB: python benchmarks/distributions.py
    # WORKSPACE; bands, pairs and what decides are those of decisions_at_scale.py at 10^6.
    "contents": Kind(rows=0.949, byte=0.2385),
    "documents": Kind(rows=1, document=70.9),
    "folders": Kind(rows=1.38, document=6.4),
    "commit_times": Kind(rows=0.61, document=7.9, files=0),
    "texts": Kind(rows=0.949, document=54.5),
    "annotations": Kind(rows=0.998, document=43.0),
    "licence_statements": Kind(rows=0.0036, document=0.8),
    "shingles": Kind(rows=0.92, byte=0.266),
    "bands": Kind(rows=0, document=397),
    "origins": Kind(rows=0, origin=107, files=0),
    "shard_origins": Kind(rows=0, origin=140, files=2),
    "licences": Kind(rows=1, document=23.8),
    "facts": Kind(rows=1, document=115.9),
    "dropped": Kind(rows=0.254, document=7.6, files=7),
    "near_candidates": Kind(rows=0.81, document=20.8),
    "near_pairs": Kind(rows=1.87, document=27, files=0),
    "near_members": Kind(rows=0.209, document=10.5, files=0),
    "group_members": Kind(rows=0.209, document=10.5, files=0),
    "group_buckets": Kind(rows=1.87, document=10.4, files=0),
    "near": Kind(rows=0.209, document=8.7, files=0),
    "scan_wanted": Kind(rows=0.747, document=16.3),
    "scans": Kind(rows=0.747, document=17.6),
    "findings": Kind(rows=0.051, document=1.4),
    "benchmark_matches": Kind(rows=0, document=0),
    "ledger": Kind(rows=1, document=59.3),
    "sums": Kind(rows=0.06, document=3, files=2),
    "marks": Kind(rows=0.03, document=0.7, files=2),
    "released": Kind(rows=0.747, document=72.1),
    "data": Kind(rows=0.747, byte=0.127),
    "ids": Kind(rows=0, document=62.8),
}
IN_BUCKETS = 0.209
"""Share of the documents whose shingle set is read."""
BANDS, RANGE_KEYS, CANDIDATE_COLUMNS = 36, 40 << 20, 2.0
"""Shared buckets are looked for by a task for each range of the keys of each band (`near_ranges`); each task reads two
columns of all candidates, 2 bytes each, and its band of all shards."""
READS_PER_ROW = 5
"""A single row takes three requests, and two more for its part."""
REQUEST_SECONDS, AT_ONCE, READ_BYTES = 0.02, 16, 2e8
"""Assumed: how long an object store takes to answer, and what a core reads of it in a second. A task has 16 requests on
their way at once (`Store.each`)."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage reads and writes, each table as often as it is read. Columns that it leaves out count too."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    source: float = 0.0
    """Bytes read from where documents come from, per byte of them: assumed to be packed as well as contents are."""


STAGES = (
    Stage(
        name="collect", reads=(), writes=("contents", "documents", "folders", "commit_times", "origins"), source=0.24
    ),
    Stage(
        name="annotate",
        reads=("contents", "documents"),
        writes=("texts", "annotations", "licence_statements", "shingles", "bands"),
    ),
    Stage(
        name="licences and facts",
        reads=(
            *("documents", "documents", "documents", "folders", "licence_statements", "texts", "texts", "texts"),
            *("annotations", "licences", "origins", "shard_origins", "shard_origins", "facts"),
        ),
        writes=("licences", "facts", "shard_origins"),
    ),
    Stage(
        name="exact and filters",
        reads=("facts",) * 6 + ("dropped",) * 2,
        writes=("dropped",),
    ),
    Stage(
        name="scan",
        reads=("facts", "facts", "contents", "scan_wanted", "scans"),
        writes=("scan_wanted", "scans", "findings", "benchmark_matches"),
    ),
    Stage(
        name="near",
        reads=(
            "facts",
            "facts",
            "near_pairs",
            "near_pairs",
            "near_members",
            "group_members",
            "group_buckets",
        ),
        writes=("near_candidates", "near_pairs", "near_members", "group_members", "group_buckets", "near"),
    ),
    Stage(
        name="ledger",
        reads=("facts",) * 4 + ("ledger",) * 5 + ("dropped", "near", "near"),
        writes=("ledger", "sums", "marks"),
    ),
    Stage(
        name="release",
        reads=("contents", "released", "findings", "facts", "ledger", "marks"),
        writes=("released", "data", "ids"),
    ),
)
QUERIES = frozenset(SHUFFLED)

RECORDS_PER_SHARD = 4
"""Collect, annotate, scan and release write a record for each shard; a query writes one in all."""
READS_PER_PART = 4
"""Requests to read a part: its size, its footer, and its columns in two ranges. A row group of contents is one more."""
ROW_GROUP = 8 << 20
UPLOAD = 8 << 20
"""Larger parts are sent in pieces of this size, each a request."""
PART_IN_DRIVER, PART_IN_RECORD = 461.0, 268.0
"""Bytes that a part takes in the driver's memory, and in build.json: 11,641 parts of a build of 10^6 documents."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Assumptions, in US dollars: what clouds list for rented machines and storage, without discounts."""

    core_hour: float = 0.04
    put_million: float = 5.0
    get_million: float = 0.4
    tb_month: float = 23.0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one stage takes."""

    stage: str
    core_hours: float
    read: float
    shuffled: float
    written: float
    objects: float
    puts: float
    gets: float

    def dollars(self, prices: Prices) -> float:
        requests = self.puts * prices.put_million / 1e6 + self.gets * prices.get_million / 1e6
        return self.core_hours * prices.core_hour + requests


@dataclass(frozen=True, kw_only=True)
class Model:
    """A scenario under a few choices. `utilisation` is the share of rented core time in which a core has work."""

    scenario: Scenario
    shard_documents: int
    spark: float
    utilisation: float

    @property
    def shards(self) -> float:
        return self.scenario.documents / self.shard_documents

    def size(self, name: str) -> float:
        """Return the bytes of a table on disk."""
        kind, scenario = TABLES[name], self.scenario
        return kind.document * scenario.documents + kind.byte * scenario.bytes + kind.origin * scenario.origins

    def parts(self, name: str) -> float:
        # A table that is not cut by shard is a part for each task or query that makes it.
        return self.shards * TABLES[name].files or min(self.shards, 1000)

    def costs(self) -> Iterator[Cost]:
        for stage in STAGES:
            read = sum(map(self.size, stage.reads)) + stage.source * self.scenario.bytes
            if stage.name == "near":
                read += self._ranges() * (self.size("bands") + BANDS * CANDIDATE_COLUMNS * self._candidates())
                read += IN_BUCKETS * self.size("shingles")
            written = sum(map(self.size, stage.writes))
            objects = sum(map(self.parts, stage.writes))
            yield Cost(
                stage=stage.name,
                core_hours=self._core_hours(stage.name) + (self._waiting(read) if stage.name == "near" else 0.0),
                read=read,
                shuffled=SHUFFLED.get(stage.name, 0.0) * self.scenario.documents,
                written=written,
                objects=objects,
                puts=objects + written / UPLOAD + (0 if stage.name in QUERIES else self.shards),
                gets=self._gets(stage),
            )

    def _candidates(self) -> float:
        return TABLES["near_candidates"].rows * self.scenario.documents

    def _ranges(self) -> int:
        """Return into how many ranges the keys of a band are divided."""
        return math.ceil(self._candidates() / RANGE_KEYS)

    def _gets(self, stage: Stage) -> float:
        gets = READS_PER_PART * sum(map(self.parts, stage.reads))
        if stage.name == "near":
            members = IN_BUCKETS * self.scenario.documents
            gets += (READS_PER_PART + READS_PER_ROW) * BANDS * self._ranges() * self.shards + READS_PER_ROW * members
        return gets + stage.reads.count("contents") * self.scenario.bytes / ROW_GROUP

    def _waiting(self, read: float) -> float:
        """Return the hours that cores wait for single rows and for what near-duplicates read beside them."""
        rows = READS_PER_ROW * (IN_BUCKETS * self.scenario.documents + BANDS * self._ranges() * self.shards)
        return (rows * REQUEST_SECONDS / AT_ONCE + read / READ_BYTES) / HOUR / self.utilisation

    def _core_hours(self, stage: str) -> float:
        rate = RATES[stage]
        seconds = rate.documents * self.scenario.documents / 1e6 + rate.gigabytes * self.scenario.bytes / 1e9
        return seconds * (self.spark if stage in QUERIES else 1.0) / HOUR / self.utilisation


def stage_table(model: Model, prices: Prices) -> str:
    """Return what each stage takes as a table in Markdown."""
    lines = ["| stage | core-hours | read, TB | shuffled, TB | written, TB | objects, 10^6 | requests, 10^6 | $ |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|--:|")
    costs = list(model.costs())
    total = Cost(
        stage="**all**",
        **{
            name: sum(getattr(cost, name) for cost in costs)
            for name in ("core_hours", "read", "shuffled", "written", "objects", "puts", "gets")
        },
    )
    for cost in [*costs, total]:
        requests = (cost.puts + cost.gets) / 1e6
        lines.append(
            f"| {cost.stage} | {cost.core_hours:,.0f} | {cost.read / TB:,.1f} | {cost.shuffled / TB:,.2f} | "
            f"{cost.written / TB:,.1f} | {cost.objects / 1e6:,.2f} | {requests:,.1f} | {cost.dollars(prices):,.0f} |"
        )
    return "\n".join(lines)


def size_table(models: list[Model]) -> str:
    """Return rows and bytes of the tables, one column per scenario."""
    names = [f"{each.scenario.name}: rows, 10^9 | TB" for each in models]
    lines = [f"| table | {' | '.join(names)} |", "|---" + "|--:" * (2 * len(models)) + "|"]
    for name, kind in TABLES.items():
        if max(each.size(name) for each in models) > 1e10:
            cells = [
                f"{kind.rows * each.scenario.documents / 1e9:,.2f} | {each.size(name) / TB:,.2f}" for each in models
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    total = [f" | {sum(map(each.size, TABLES)) / TB:,.1f}" for each in models]
    return "\n".join([*lines, f"| all | {' | '.join(total)} |"])


def driver_table(scenarios: tuple[Scenario, ...], options: argparse.Namespace) -> str:
    """Return what the driver has to hold, for two sizes of shards."""
    lines = ["| corpus | documents a shard | shards | parts, 10^6 | driver's memory for them, GB | build.json, GB |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for scenario in scenarios:
        for documents in (4000, options.shard_documents):
            model = Model(
                scenario=scenario, shard_documents=documents, spark=options.spark, utilisation=options.utilisation
            )
            parts = sum(map(model.parts, TABLES))
            shown = f"{parts / 1e6:,.1f} | {parts * PART_IN_DRIVER / 1e9:,.1f} | {parts * PART_IN_RECORD / 1e9:,.1f}"
            lines.append(f"| {scenario.name} | {documents:,} | {model.shards:,.0f} | {shown} |")
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Something that one process holds: bytes for each of `per` many things, of which there are so many."""

    what: str
    where: str
    size: float
    per: str
    share: float = 1.0

    def held(self, scenario: Scenario) -> float:
        return self.size * self.share * getattr(scenario, self.per)


LIMITS = (
    # Python objects of one origin, counted by tracemalloc over 20,000.
    Limit(what="origins, while shards are planned", where="driver", size=925, per="origins"),
    # Two columns of ORIGINS in Arrow.
    Limit(what="what origins declare", where="driver", size=30, per="origins"),
    # docs/decisions/0010-skew.md: 136 bytes for each document and bucket; 111,357 of 59,518 documents.
    Limit(
        what="documents in shared buckets, for connected components",
        where="a task",
        size=136,
        per="documents",
        share=1.87,
    ),
)
MEMORY = 16e9


def limit_table(scenarios: tuple[Scenario, ...]) -> str:
    """Return what one process has to hold, and where that passes MEMORY."""
    names = " | ".join(f"{scenario.name}: GB" for scenario in scenarios)
    lines = [f"| what one process holds | where | bytes | {names} | {MEMORY / 1e9:.0f} GB are reached at |"]
    lines.append("|---|---|--:" + "|--:" * len(scenarios) + "|---|")
    for limit in LIMITS:
        held = " | ".join(f"{limit.held(scenario) / 1e9:,.0f}" for scenario in scenarios)
        most = MEMORY / (limit.size * limit.share)
        reached = f"{most:.1e} {limit.per}"
        lines.append(f"| {limit.what} | {limit.where} | {limit.size:,.0f} | {held} | {reached} |")
    return "\n".join(lines)


def written(page: str, tables: dict[str, str]) -> str:
    """Return a page with each table between its markers."""
    for name, table in tables.items():
        begin, end = f"<!-- cost_model: {name} -->", "<!-- end -->"
        found = re.compile(rf"{re.escape(begin)}\n.*?{end}", re.DOTALL)
        if not found.search(page):
            raise SystemExit(f"The page has no place for {name!r}: expected {begin} … {end}.")
        page = found.sub(lambda _, whole=f"{begin}\n\n{table}\n\n{end}": whole, page)
    return page


def tables_of(options: argparse.Namespace) -> dict[str, str]:
    """Return every table by name."""
    choices = {"shard_documents": options.shard_documents, "spark": options.spark, "utilisation": options.utilisation}
    models = [Model(scenario=scenario, **choices) for scenario in SCENARIOS]
    prices = Prices(core_hour=options.core_hour)
    tables = {f"stages {number}": _scenario(model, prices) for number, model in enumerate(models, start=1)}
    tables["sizes"] = size_table(models)
    tables["driver"] = driver_table(SCENARIOS, options)
    tables["limits"] = limit_table(SCENARIOS)
    return tables


def _scenario(model: Model, prices: Prices) -> str:
    held = sum(map(model.size, TABLES)) / TB
    month = held * prices.tb_month
    return f"{stage_table(model, prices)}\n\n{held:,.0f} TB are kept: ${month:,.0f} a month."


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; its defaults are the choices of the page."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--core-hour", type=float, default=Prices.core_hour, help="dollars, assumed")
    found.add_argument("--shard-documents", type=int, default=50_000)
    found.add_argument("--spark", type=float, default=SPARK, help="processor time on Spark, times that on DuckDB")
    found.add_argument("--utilisation", type=float, default=0.8, help="share of rented time with work to do, assumed")
    found.add_argument("--write", type=Path, help="a page to put the tables into, between their markers")
    return found


def main() -> None:
    options = parser().parse_args()
    tables = tables_of(options)
    if options.write:
        options.write.write_text(written(options.write.read_text(encoding="utf-8"), tables), encoding="utf-8")
    else:
        print("\n\n".join(f"### {name}\n\n{table}" for name, table in tables.items()))


if __name__ == "__main__":
    main()
