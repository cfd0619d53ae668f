"""Decisions: the stages of a profile in their order, and the ledger that holds every verdict.

Which stage follows which belongs to the profile; what a stage asks stands in `decide`, `near`, `scan` and `curate`.
"""

import pyarrow as pa

from starsmith import decide as stages
from starsmith import licences, near, scan, summary
from starsmith.builder import Builder
from starsmith.curate import exact_duplicates
from starsmith.curate.language_data import EXCLUDED_PAIRS
from starsmith.detectors import Detectors
from starsmith.engines import Query
from starsmith.ledger import COUNTS, COUNTS_QUERY, DROPS, LEDGER, LEDGER_QUERY, check_sums
from starsmith.recipe import Recipe
from starsmith.released import MARKS
from starsmith.table import Table, union


def decide(builder: Builder, recipe: Recipe, detectors: Detectors) -> None:
    """Give every document of a build one verdict; what would be kept is scanned with `detectors`."""
    builder.begin("licences")
    licences.resolve(builder, recipe)
    facts = builder.query(stages.FACTS_QUERY)
    builder.query(
        Query(
            name="conflicts",
            text=exact_duplicates.conflict_query(recipe.exact_duplicates),
            schema=stages.CONFLICTS,
            key=["content_id"],
            by="content_id",
            base="facts",
        )
    )
    builder.end(documents_in=facts.rows)
    dropped: list[Table] = []
    for stage in recipe.order:
        builder.begin(stage)
        alive = facts.rows - sum(table.rows for table in dropped)
        drops = _drops(builder, recipe, stage, dropped, detectors)
        dropped.append(drops)
        builder.end(documents_in=alive, dropped=_reasons(builder, drops))
    _ledger(builder, facts, dropped)


def _drops(builder: Builder, recipe: Recipe, stage: str, earlier: list[Table], detectors: Detectors) -> Table:
    if stage == "scan":
        return _scan_drops(builder, recipe, earlier, detectors)
    dropped = _all(earlier)
    if stage == "near":
        return near.drops(builder, recipe.near_duplicates, dropped)
    compiled = stages.SQL_STAGES[stage]
    extra: dict[str, Table | pa.Table] = {"dropped": dropped, "facts": builder.tables["facts"]}
    for name in compiled.needs:
        extra[name] = _excluded_pairs() if name == "excluded_pairs" else builder.tables[name]
    return builder.sql(compiled.compiled(recipe), **extra)


def _scan_drops(builder: Builder, recipe: Recipe, earlier: list[Table], detectors: Detectors) -> Table:
    """Scan what would be kept, and again what would be kept in the place of what was found bad.

    Where near-duplicates are decided later they are decided here too, as they would be by now: only their winners are
    scanned. What falls lets others of its cluster come back, so both take turns until nothing unscanned is kept.
    """
    tables, near_follows = builder.tables, recipe.order.index("scan") < recipe.order.index("near")
    tables |= scan.nothing()
    known = scan.earlier(builder.store)
    bad: list[Table] = []
    clusters: Table | None = None
    while True:
        behind = [_provisionally_near(builder, recipe, [*earlier, *bad])] if near_follows else []
        extra = {"clusters": clusters, "bad": bad[0]} if clusters is not None else {}
        query = scan.wanted_query(stages.ALIVE, clusters=clusters is not None)
        dropped = _all([*earlier, *bad, *behind])
        wanted = builder.sql(query, facts=tables["facts"], dropped=dropped, scans=tables["scans"], **extra)
        clusters = tables["near"] if near_follows else None
        if wanted.rows:
            scan.run(builder, detectors, wanted, known=known)
        found = builder.sql(
            scan.drops_query(stages.ALIVE), facts=tables["facts"], dropped=_all(earlier), scans=tables["scans"]
        )
        if not near_follows or found.rows == sum(table.rows for table in bad):
            return found
        bad = [found]


def _provisionally_near(builder: Builder, recipe: Recipe, dropped: list[Table]) -> Table:
    builder.begin("near")
    drops = near.drops(builder, recipe.near_duplicates, _all(dropped))
    builder.begin("scan")
    return drops


def _all(drops: list[Table]) -> Table:
    """Return all drops as one table; stages that dropped nothing leave no trace in what follows."""
    some = [table for table in drops if table.rows]
    return union("dropped", some) if some else Table(name="dropped", schema=DROPS, parts=())


def _reasons(builder: Builder, drops: Table) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in drops.read(builder.store, ["reason"])["reason"].value_counts().to_pylist():
        counts[item["values"]] = item["counts"]
    return dict(sorted(counts.items()))


def _ledger(builder: Builder, facts: Table, dropped: list[Table]) -> None:
    """Put all verdicts together and hold them against what was collected."""
    builder.begin("ledger")
    order = ["origin_id", "path", "document_id"]
    query = Query(name="ledger", text=LEDGER_QUERY, schema=LEDGER, key=order, partition_by="shard", per_shard=True)
    ledger = builder.sql(query, facts=facts, dropped=_all(dropped))
    for each in summary.COUNTED:
        builder.query(each)
    counts_query = Query(name="counts", text=COUNTS_QUERY, schema=COUNTS, key=["stage", "verdict"])
    counts = builder.query(counts_query).read(builder.store)
    kept = sum(row["documents"] for row in counts.to_pylist() if row["verdict"] == "keep")
    check_sums(
        collected=builder.tables["documents"].rows,
        dropped={table.name: table.rows for table in dropped},
        ledger=ledger.rows,
        kept=kept,
    )
    for each in (*summary.PER_SHARD, *summary.ALL, *MARKS):
        if each not in summary.COUNTED:
            builder.query(each)
    builder.end(documents_in=ledger.rows)


def _excluded_pairs() -> pa.Table:
    """Return the pairs of filter 9 as a table that a query can join."""
    pairs = sorted(EXCLUDED_PAIRS)
    return pa.table({"language": [pair[0] for pair in pairs], "extension": [pair[1] for pair in pairs]})
