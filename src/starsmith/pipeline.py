"""The build, in the paper's order: collect, annotate, decide, release.

Every step is either done, with a record that says so, or done now. This module says which step feeds which; what a
step does stands in its own module.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from starsmith import __version__, annotate, collect, decisions, release
from starsmith.annotate import AnnotateSettings, AnnotateShard
from starsmith.builder import Builder
from starsmith.collect import CollectShard, CommitTimes
from starsmith.curate import redact
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
from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.govern import cards
from starsmith.job import Work
from starsmith.origins import Found, find, origins_table, read_metadata
from starsmith.recipe import Recipe, dumps
from starsmith.release import DATA, IDS, RELEASED_QUERY, ReleaseShard
from starsmith.scan import Detectors
from starsmith.shard import Shard, plan
from starsmith.table import Part
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
    detectors: Detectors | None = None

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
        self.detectors = decisions.decide(self.builder, self.recipe)

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
        own = {"starsmith": __version__, "collect": str(collect.VERSION), "release": str(release.VERSION)}
        return own | annotate.versions() | (self.detectors.versions() if self.detectors else {})

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
