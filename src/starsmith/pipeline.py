"""The build, in the paper's order: collect, annotate, decide, release.

Every step is either done, with a record that says so, or done now. This module says which step feeds which; what a
step does stands in its own module.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from starsmith import __version__, annotate, collect, decide, licences, near, release, summary
from starsmith.annotate import AnnotateSettings, AnnotateShard
from starsmith.builder import Builder
from starsmith.collect import CollectShard, CommitTimes
from starsmith.curate import exact_duplicates
from starsmith.curate.language_data import EXCLUDED_PAIRS
from starsmith.document import (
    ANNOTATIONS,
    BANDS,
    COMMIT_TIMES,
    CONTENTS,
    DOCUMENTS,
    FOLDERS,
    LICENCE_STATEMENTS,
    ORIGINS,
    SHINGLES,
    TEXTS,
)
from starsmith.engines import Query
from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.govern import cards
from starsmith.job import Work
from starsmith.ledger import COUNTS, COUNTS_QUERY, DROPS, LEDGER, LEDGER_QUERY, check_sums
from starsmith.origins import Found, find, origins_table, read_metadata
from starsmith.recipe import Recipe, dumps
from starsmith.release import DATA, IDS, RELEASED_QUERY, ReleaseShard
from starsmith.shard import Shard, plan
from starsmith.table import Part, Table, union
from starsmith.workspace import BuildRecord

STAGES = ("collect", "annotate", "decide", "release")


@dataclass(kw_only=True, slots=True)
class Pipeline:
    """One build of one recipe. `until` names the last stage to run."""

    recipe: Recipe
    builder: Builder
    workers: int
    until: str = STAGES[-1]
    notes: list[str] = field(default_factory=list)
    release: str | None = None

    def run(self) -> BuildRecord:
        """Build up to `until` and return the record of it."""
        found = find(self.recipe, self.builder.reporter, workers=self.workers)
        self.notes += found.notes
        for stage in STAGES[: STAGES.index(self.until) + 1]:
            steps: dict[str, Callable[[], None]] = {
                "collect": lambda: self.collect(found),
                "annotate": self.annotate,
                "decide": self.decide,
                "release": self.publish,
            }
            steps[stage]()
        return self.record()

    def collect(self, found: Found) -> None:
        """Read every origin; write its contents once per shard and a row per occurrence."""
        builder, recipe = self.builder, self.recipe
        builder.begin("collect")
        # Before any work: a mistake in the user's file is told at once.
        metadata = read_metadata(recipe)
        shards = plan(found.located, documents=recipe.shards.documents)
        times = self._commit_times(found)
        works: list[tuple[str, Work]] = [
            (
                self._collect_key(shard),
                CollectShard(shard=shard, settings=recipe.collect, times=_of_shard(times, shard)),
            )
            for shard in shards
        ]
        total = sum(item.origin.documents for item in found.located)
        schemas = {"documents": DOCUMENTS, "contents": CONTENTS, "folders": FOLDERS}
        documents = builder.map("collect", works, schemas, total=total)["documents"]
        builder.put("origins", ORIGINS, origins_table(found.located, metadata))
        if documents.rows == 0:
            problems = f" {len(self.notes)} could not be read, the first: {self.notes[0]}" if self.notes else ""
            raise StarsmithError(f"The sources of the recipe hold no document.{problems}")
        builder.end(documents_in=documents.rows)

    def _commit_times(self, found: Found) -> dict[str, Part]:
        """Walk the history of every origin that several shards read once for all of them; return the parts by URL."""
        cut = {item.origin.url: item for item in found.located if item.origin.cuts}
        works: list[tuple[str, Work]] = [
            (fingerprint([collect.VERSION, pa.__version__, url, item.origin.state]), CommitTimes(located=item))
            for url, item in cut.items()
        ]
        tables = self.builder.map("commit times", works, {"commit_times": COMMIT_TIMES}, total=len(works))
        return dict(zip(cut, tables["commit_times"].parts, strict=True))

    def _collect_key(self, shard: Shard) -> str:
        slices = [
            [slice_.located.origin.url, slice_.located.origin.state, slice_.part.start, slice_.part.stop]
            for slice_ in shard.slices
        ]
        return fingerprint([collect.VERSION, pa.__version__, shard.name, slices, self.recipe.collect])

    def annotate(self) -> None:
        """Read every content once more and compute all that is cheap about it."""
        builder, recipe = self.builder, self.recipe
        builder.begin("annotate")
        settings = AnnotateSettings(
            language=recipe.language,
            licence=annotate.detection_settings(recipe.licence),
            near_duplicates=annotate.signature_settings(recipe.near_duplicates),
            hex_spaces=recipe.filters.hex_spaces,
        )
        contents = {part.shard: part for part in builder.tables["contents"].parts}
        works: list[tuple[str, Work]] = [
            (
                fingerprint([annotate.versions(), part.digest, contents[part.shard].digest, settings]),
                AnnotateShard(documents=part, contents=contents[part.shard], settings=settings),
            )
            for part in builder.tables["documents"].parts
        ]
        schemas = {
            "texts": TEXTS,
            "annotations": ANNOTATIONS,
            "bands": BANDS,
            "shingles": SHINGLES,
            "licence_statements": LICENCE_STATEMENTS,
        }
        documents = builder.tables["documents"].rows
        builder.map("annotate", works, schemas, total=documents)
        builder.end(documents_in=documents)

    def decide(self) -> None:
        """Give every document one verdict."""
        builder, recipe = self.builder, self.recipe
        builder.begin("licences")
        licences.resolve(builder, recipe)
        facts = self._query(Query(name="facts", text=decide.FACTS_QUERY, schema=decide.FACTS, key=["document_id"]))
        self._query(
            Query(
                name="conflicts",
                text=exact_duplicates.conflict_query(recipe.exact_duplicates),
                schema=decide.CONFLICTS,
                key=["content_id"],
            )
        )
        builder.end(documents_in=facts.rows)
        dropped: list[Table] = []
        for stage in recipe.order:
            builder.begin(stage)
            alive = facts.rows - sum(table.rows for table in dropped)
            drops = self._decide_stage(stage, union("dropped", dropped) if dropped else _no_drops())
            dropped.append(drops)
            builder.end(documents_in=alive, dropped=self._reasons(drops))
        self._ledger(facts, dropped)

    def _decide_stage(self, stage: str, dropped: Table) -> Table:
        if stage == "near":
            return self._decide_near(dropped)
        compiled = decide.SQL_STAGES[stage]
        extra: dict[str, Table | pa.Table] = {"dropped": dropped, "facts": self.builder.tables["facts"]}
        for name in compiled.needs:
            extra[name] = _excluded_pairs() if name == "excluded_pairs" else self.builder.tables[name]
        return self.builder.sql(compiled.compiled(self.recipe), **extra)

    def _decide_near(self, dropped: Table) -> Table:
        """Near-duplicates among the documents still alive."""
        builder, settings = self.builder, self.recipe.near_duplicates
        tables = builder.tables
        members = builder.sql(near.members_query(settings, decide.ALIVE), facts=tables["facts"], dropped=dropped)
        shared = builder.sql(near.SHARED_BANDS_QUERY, bands=tables["bands"])
        buckets = builder.sql(near.BUCKETS_QUERY, near_members=members, shared_bands=shared)
        key = fingerprint([near.VERSION, pa.__version__, members.digest, buckets.digest])
        groups = builder.map(
            "near groups",
            [(key, near.GroupMembers(members=members, buckets=buckets))],
            {"group_members": near.MEMBERS, "group_buckets": near.BUCKETS},
            total=1,
        )
        shingles = tables["shingles"]
        works: list[tuple[str, Work]] = [
            (
                fingerprint([near.VERSION, pa.__version__, own.digest, pairs.digest, shingles.digest, settings]),
                near.DecideGroup(members=own, buckets=pairs, shingles=shingles, settings=settings),
            )
            for own, pairs in zip(groups["group_members"].parts, groups["group_buckets"].parts, strict=True)
        ]
        decided = builder.map("near duplicates", works, {"near": near.NEAR}, total=groups["group_members"].rows)
        return builder.sql(near.drops_query(settings), near=decided["near"])

    def _reasons(self, drops: Table) -> dict[str, int]:
        counts: dict[str, int] = {}
        for item in drops.read(self.builder.store, ["reason"])["reason"].value_counts().to_pylist():
            counts[item["values"]] = item["counts"]
        return dict(sorted(counts.items()))

    def _ledger(self, facts: Table, dropped: list[Table]) -> None:
        """Put all verdicts together and hold them against what was collected."""
        builder = self.builder
        builder.begin("ledger")
        order = ["origin_id", "path", "document_id"]
        query = Query(name="ledger", text=LEDGER_QUERY, schema=LEDGER, key=order, partition_by="shard")
        ledger = builder.sql(query, facts=facts, dropped=union("dropped", dropped))
        counts_query = Query(name="counts", text=COUNTS_QUERY, schema=COUNTS, key=["stage", "verdict"])
        counts = builder.sql(counts_query, ledger=ledger).read(builder.store)
        kept = sum(row["documents"] for row in counts.to_pylist() if row["verdict"] == "keep")
        check_sums(
            collected=builder.tables["documents"].rows,
            dropped={table.name: table.rows for table in dropped},
            ledger=ledger.rows,
            kept=kept,
        )
        for each in summary.ALL:
            self._query(each)
        builder.end(documents_in=ledger.rows)

    def publish(self) -> None:
        """Read the survivors once more and write the release."""
        builder, settings = self.builder, self.recipe.release
        builder.begin("release")
        released = self._query(RELEASED_QUERY)
        contents = {part.shard: part for part in builder.tables["contents"].parts}
        works: list[tuple[str, Work]] = [
            (
                fingerprint([release.VERSION, annotate.versions(), part.digest, settings, part.shard]),
                ReleaseShard(
                    released=part,
                    contents=contents[part.shard],
                    compression_level=settings.compression_level,
                    ids_only=settings.ids_only,
                ),
            )
            for part in released.parts
        ]
        builder.map("release", works, {"data": DATA, "ids": IDS}, total=released.rows)
        if not builder.plan:
            self.release = cards.publish(builder, self.recipe, versions=self.versions())
        builder.end(documents_in=released.rows)

    def _query(self, query: Query) -> Table:
        """Run a query over the tables of this build that it reads."""
        return self.builder.sql(query, **{name: self.builder.tables[name] for name in query.reads})

    def versions(self) -> dict[str, str]:
        """Return the versions of everything that determines a byte of the release."""
        own = {"starsmith": __version__, "collect": str(collect.VERSION), "release": str(release.VERSION)}
        return own | annotate.versions()

    def record(self) -> BuildRecord:
        builder = self.builder
        return BuildRecord(
            recipe=dumps(self.recipe),
            base=str(self.recipe.base),
            profile=self.recipe.profile,
            engine="local",
            workers=self.workers,
            until=self.until,
            stages=tuple(builder.reports),
            tables={name: table.parts for name, table in builder.tables.items()},
            records=tuple(sorted(set(builder.records))),
            release=self.release,
            versions=self.versions(),
            notes=tuple(self.notes),
        )


def _of_shard(times: dict[str, Part], shard: Shard) -> dict[str, Part]:
    urls = [slice_.located.origin.url for slice_ in shard.slices]
    return {url: times[url] for url in urls if url in times}


def _no_drops() -> Table:
    return Table(name="dropped", schema=DROPS, parts=())


def _excluded_pairs() -> pa.Table:
    """Return the pairs of filter 9 as a table that a query can join."""
    pairs = sorted(EXCLUDED_PAIRS)
    return pa.table({"language": [pair[0] for pair in pairs], "extension": [pair[1] for pair in pairs]})
