"""The build, in the paper's order: collect, annotate, decide, release.

Every step is either done, with a record that says so, or done now. This module says which step feeds which; what a
step does stands in its own module.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from starsmith import __version__, annotate, collect, decisions, detectors, release
from starsmith.annotate import AnnotateSettings, AnnotateShard
from starsmith.annotate_rows import STAGE, Earlier
from starsmith.builder import Builder
from starsmith.collect_plan import CollectPlan, FromSources, Left, Supply
from starsmith.curate import redact
from starsmith.detectors import Detectors
from starsmith.document import (
    ANNOTATIONS,
    BANDS,
    LICENCE_STATEMENTS,
    SHINGLES,
    TEXTS,
)
from starsmith.fingerprint import fingerprint
from starsmith.govern import cards, opt_out
from starsmith.job import Work
from starsmith.recipe import Recipe, dumps
from starsmith.recollect import FromTables
from starsmith.release import DATA, IDS, EmptyShard, ReleaseShard
from starsmith.released import RELEASED_QUERY
from starsmith.table import Part
from starsmith.workspace import BuildRecord, last_build

STAGES = ("collect", "annotate", "decide", "release")


@dataclass(kw_only=True, slots=True)
class Pipeline:
    """One build of one recipe. `until` names the last stage to run.

    With `stored`, the record of the last build, its tables take the place of the sources, which are not opened.
    Collect sets `left`, the counts of what was asked to be left out.
    """

    recipe: Recipe
    builder: Builder
    workers: int
    until: str = STAGES[-1]
    notes: list[str] = field(default_factory=list)
    release: str | None = None
    detectors: Detectors | None = None
    stored: BuildRecord | None = None
    left: Left = field(default_factory=Left)
    collect_version: int = collect.VERSION

    def run(self) -> BuildRecord:
        """Build up to `until` and return the record of it."""
        if self.until in ("decide", "release"):
            # Before any work: a benchmark that is missing or a clamd that is down is told at once.
            self.detectors = self._detectors()
        for stage in STAGES[: STAGES.index(self.until) + 1]:
            steps: dict[str, Callable[[], None]] = {
                "collect": self.collect,
                "annotate": self.annotate,
                "decide": self.decide,
                "release": self.publish,
            }
            steps[stage]()
        return self.record()

    def _detectors(self) -> Detectors:
        if self.stored is None:
            return detectors.detectors_of(self.builder, self.recipe)
        return detectors.detectors_of_build(self.builder, self.recipe, self.stored)

    def collect(self) -> None:
        """Read every origin; write its contents once per shard and a row per occurrence."""
        builder, recipe = self.builder, self.recipe
        if self.stored is None:
            supply: Supply = FromSources(builder, recipe, workers=self.workers)
        else:
            supply = FromTables(builder, recipe, self.stored)
        self.collect_version = supply.version
        opt_outs = opt_out.read(builder.store)
        notes, self.left = CollectPlan(builder=builder, recipe=recipe, supply=supply, opt_outs=opt_outs).run()
        self.notes += notes

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
        earlier = self._annotated_before(settings)
        contents = {part.shard: part for part in builder.tables["contents"].parts}
        works: list[tuple[str, Work]] = [
            (
                annotate.key(part, contents[part.shard], settings),
                AnnotateShard(
                    documents=part, contents=contents[part.shard], settings=settings, earlier=earlier.get(part.shard)
                ),
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
        builder.map(STAGE, works, schemas, total=documents)
        builder.end(documents_in=documents)

    def _annotated_before(self, settings: AnnotateSettings) -> dict[str, Earlier]:
        """Return by shard what the last build read of the shards that have changed since."""
        last = self.stored or last_build(self.builder.store)
        if last is None:
            return {}
        contents = {part.shard: part for part in last.tables.get("contents", ())}
        documents = {part for part in last.tables.get("documents", ()) if part.shard in contents}
        return {
            part.shard: Earlier(documents=part, fingerprint=annotate.key(part, contents[part.shard], settings))
            for part in documents - set(self.builder.tables["documents"].parts)
        }

    def decide(self) -> None:
        """Give every document one verdict."""
        assert self.detectors is not None, "they are found before the first stage"
        decisions.decide(self.builder, self.recipe, self.detectors)

    def publish(self) -> None:
        """Read the survivors once more and write the release."""
        builder, settings = self.builder, self.recipe.release
        builder.begin("release")
        released = builder.query(RELEASED_QUERY)
        contents = {part.shard: part for part in builder.tables["contents"].parts}
        findings: dict[str, tuple[Part, ...]] = {}
        for part in builder.tables["findings"].parts:
            findings[part.shard] = (*findings.get(part.shard, ()), part)
        works: list[tuple[str, Work]] = [
            (
                self._release_key(part, findings.get(part.shard, ())),
                ReleaseShard(
                    released=part,
                    contents=contents[part.shard],
                    findings=findings.get(part.shard, ()),
                    compression_level=settings.compression_level,
                    ids_only=settings.ids_only,
                ),
            )
            for part in released.parts
        ]
        if not works:
            empty = EmptyShard(compression_level=settings.compression_level, ids_only=settings.ids_only)
            works = [(fingerprint([release.VERSION, annotate.versions(), settings]), empty)]
        builder.map("release", works, {"data": DATA, "ids": IDS}, total=released.rows)
        if not builder.plan:
            self.release = cards.publish(builder, self.recipe, versions=self.versions())
        builder.end(documents_in=released.rows)

    def _release_key(self, released: Part, findings: tuple[Part, ...]) -> str:
        found = [part.digest for part in findings if part.rows]
        own = [release.VERSION, annotate.versions(), redact.DETECTOR_VERSION, self.recipe.release]
        return fingerprint([*own, released.shard, released.digest, found])

    def versions(self) -> dict[str, str]:
        """Return the versions of everything that determines a byte of the release."""
        own = {"starsmith": __version__, "collect": str(self.collect_version), "release": str(release.VERSION)}
        return own | annotate.versions() | (self.detectors.versions() if self.detectors else {})

    def record(self) -> BuildRecord:
        builder = self.builder
        return BuildRecord(
            recipe=dumps(self.recipe),
            base=str(self.recipe.base),
            profile=self.recipe.profile,
            engine=builder.engine.name,
            workers=self.workers,
            executors=builder.engine.executors,
            until=self.until,
            stages=tuple(builder.reports),
            tables={name: table.parts for name, table in builder.tables.items()},
            records=tuple(sorted(set(builder.records))),
            release=self.release,
            versions=self.versions(),
            notes=tuple(self.notes),
        )
