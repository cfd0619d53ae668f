"""The plan of collect: which shards there are, under which fingerprints, and what of them has left.

The result of a shard depends on its origins and settings (its *base* fingerprint) and on those contents of its
documents that have left. Which these are is known once the shard was ever read: its documents keep the ids of their
contents, also of those that left. So a request touches the shards that hold what is asked for, and no other.

This module reads no content. Where origins come from is the business of a `Supply`: their sources, or the tables of the
last build (`recollect.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from starsmith import collect
from starsmith.builder import Builder, WouldRun
from starsmith.collect import LEFT_CONTENTS, CollectShard, CommitTimes, LeftContents
from starsmith.document import COMMIT_TIMES, CONTENTS, DOCUMENTS, FOLDERS, ORIGINS, Origin
from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.govern import opt_out
from starsmith.govern.opt_out import OptOuts
from starsmith.job import Work
from starsmith.origins import ORIGIN_STATES, Found, find, origins_table, read_metadata, states_table
from starsmith.part_file import reading
from starsmith.recipe import Recipe
from starsmith.settings import CollectSettings
from starsmith.shard import Located, Shard, plan
from starsmith.storage import Store
from starsmith.table import Part, Record, Table, read_record

_STAGE = "collect"
_INDEX = "collect ids"
"""Records by base fingerprint that say where the documents of a shard lie of which something has left."""

Held = dict[str, frozenset[bytes] | None]
"""By the name of a shard, those contents of its documents that have left; None where its documents are not known."""


Planned = tuple[Shard, str]
"""A shard and its base fingerprint."""


class Supply(Protocol):
    """Where the origins of a build come from."""

    version: int
    """The version of collect by which their documents are, or were, taken in."""

    def find(self, is_left: Callable[[Origin], bool]) -> Found:
        """Return the origins, those that have left apart."""
        ...

    def origins(self, found: Found) -> pa.Table:
        """Return the ORIGINS rows of the origins found."""
        ...

    def prepare(self, found: Found) -> None:
        """Do what has to be done once for origins that lie in several shards."""
        ...

    def left_contents(self, item: Located) -> Work:
        """Return the work that finds the contents of an origin that has left."""
        ...

    def held(self, planned: Sequence[Planned], left: frozenset[bytes]) -> Held:
        """Return, for each shard, which of the contents that have left its documents have."""
        ...

    def work(self, shard: Shard, left: tuple[bytes, ...]) -> Work:
        """Return the work that makes a shard without the given contents."""
        ...

    def later_notes(self) -> list[str]:
        """Return what is to be told once the shards are planned."""
        ...


class FromSources:
    """The sources that a recipe names."""

    version = collect.VERSION

    def __init__(self, builder: Builder, recipe: Recipe, *, workers: int) -> None:
        self.builder = builder
        self.recipe = recipe
        self.workers = workers
        self._times: dict[str, Part] = {}

    def find(self, is_left: Callable[[Origin], bool]) -> Found:
        return find(self.recipe, self.builder.reporter, workers=self.workers, is_left=is_left)

    def origins(self, found: Found) -> pa.Table:
        return origins_table(found.located, read_metadata(self.recipe))

    def prepare(self, found: Found) -> None:
        """Walk the history of every origin that several shards read once for all of them."""
        cut = [item for item in found.located if item.origin.cuts]
        works: list[tuple[str, Work]] = [(times_key(item.origin), CommitTimes(located=item)) for item in cut]
        tables = self.builder.map("commit times", works, {"commit_times": COMMIT_TIMES}, total=len(works))
        self._times = {item.origin.url: part for item, part in zip(cut, tables["commit_times"].parts, strict=True)}

    def left_contents(self, item: Located) -> Work:
        return LeftContents(located=item, settings=self.recipe.collect)

    def held(self, planned: Sequence[Planned], left: frozenset[bytes]) -> Held:
        if not left:
            return {shard.name: frozenset() for shard, _ in planned}
        store = self.builder.store
        parts = {shard.name: _known_documents(store, base) for shard, base in planned}
        found = ids_held(store, [part for part in parts.values() if part is not None], left)
        return {name: None if part is None else found.get(name, frozenset()) for name, part in parts.items()}

    def work(self, shard: Shard, left: tuple[bytes, ...]) -> Work:
        urls = [slice_.located.origin.url for slice_ in shard.slices]
        times = {url: self._times[url] for url in urls if url in self._times}
        return CollectShard(shard=shard, settings=self.recipe.collect, times=times, left=left)

    def later_notes(self) -> list[str]:
        return []


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """What has left a build, as counts. `origins` are those that were found and set aside by this run: a build from
    the tables of one without them finds none. `documents` have the reason `optout.content`."""

    requests: int = 0
    origins: int = 0
    documents: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectPlan:
    """Collect for one build."""

    builder: Builder
    recipe: Recipe
    supply: Supply
    opt_outs: OptOuts

    def run(self) -> tuple[tuple[str, ...], Left]:
        """Find the origins, make the shards that are not there yet; return notes, which name nobody who left.

        Raises StarsmithError where there is nothing to collect and nobody has asked to be left out.
        """
        found = self.supply.find(self.opt_outs.is_left)
        self.builder.begin("collect")
        # Before any work: a mistake in the user's file is told at once.
        rows = self.supply.origins(found)
        self.supply.prepare(found)
        documents = self._shards(found, self._left_contents(found))
        self.builder.put("origins", ORIGINS, rows)
        self.builder.put("states", ORIGIN_STATES, states_table(found.located))
        if documents.rows == 0 and not self.opt_outs.requests:
            problems = f" {len(found.notes)} could not be read, the first: {found.notes[0]}" if found.notes else ""
            raise StarsmithError(f"The sources of the recipe hold no document.{problems}")
        self.builder.end(documents_in=documents.rows)
        counts = self.builder.reports[-1].counts
        left = Left(requests=len(self.opt_outs.requests), origins=len(found.left), documents=counts.get("left", 0))
        return (*found.notes, *self.supply.later_notes()), left

    def _left_contents(self, found: Found) -> frozenset[bytes]:
        """Return the contents that may not be taken in; under the rule `every`, take note of those to come out now."""
        if self.recipe.opt_out.copies == "own":
            return OptOuts(requests=self.opt_outs.requests).contents
        gone = [item for item in found.left if item.origin.documents]
        if not gone:
            return self.opt_outs.contents
        collecting = [collect.VERSION, pa.__version__, self.recipe.collect]
        works = [
            (fingerprint([*collecting, item.origin.url, item.origin.state]), self.supply.left_contents(item))
            for item in gone
        ]
        total = sum(item.origin.documents for item in gone)
        table = self.builder.map("left contents", works, {"left_contents": LEFT_CONTENTS}, total=total)["left_contents"]
        ids = frozenset(table.read(self.builder.store)["content_id"].to_pylist())
        if not self.builder.plan:
            opt_out.record_contents(self.builder.store, ids)
        return self.opt_outs.contents | ids

    def _shards(self, found: Found, left: frozenset[bytes]) -> Table:
        """Make every shard once, under the fingerprint of its origins and of what it holds that has left."""
        builder, supply = self.builder, self.supply
        shards = plan(found.located, documents=self.recipe.shards.documents)
        planned = [(shard, base_key(shard, self.recipe.collect, supply.version)) for shard in shards]
        held = supply.held(planned, left)
        unknown = {shard.name: base for shard, base in planned if held[shard.name] is None}
        if unknown and builder.plan:
            raise WouldRun("collect", len(unknown), len(planned))
        every = tuple(sorted(left))
        by_all = fingerprint(every) if unknown else ""
        works: list[tuple[str, Work]] = []
        for shard, base in planned:
            ids = held[shard.name]
            key = fingerprint([base, by_all]) if ids is None else held_key(base, ids)
            works.append((key, supply.work(shard, every if ids is None else tuple(sorted(ids)))))
        total = sum(item.origin.documents for item in found.located)
        schemas = {"documents": DOCUMENTS, "contents": CONTENTS, "folders": FOLDERS}
        documents = builder.map(_STAGE, works, schemas, total=total)["documents"]
        held |= _settled(builder, unknown, by_all, documents, left)
        _write_index(builder, planned, held, documents)
        return documents


def base_key(shard: Shard, settings: CollectSettings, version: int) -> str:
    """Return the fingerprint of a shard of which nothing has left."""
    slices = [
        [slice_.located.origin.url, slice_.located.origin.state, slice_.part.start, slice_.part.stop]
        for slice_ in shard.slices
    ]
    return fingerprint([version, pa.__version__, shard.name, slices, settings])


def held_key(base: str, held: frozenset[bytes]) -> str:
    """Return the fingerprint of a shard of which the contents `held` have left."""
    return fingerprint([base, sorted(held)]) if held else base


def times_key(origin: Origin) -> str:
    """Return the fingerprint of the commit times of an origin."""
    return fingerprint([collect.VERSION, pa.__version__, origin.url, origin.state])


def ids_held(store: Store, parts: Sequence[Part], left: frozenset[bytes]) -> dict[str, frozenset[bytes]]:
    """Return by shard which of the contents that have left the documents of some parts have; no shard without one."""
    documents = Table(name="documents", schema=DOCUMENTS, parts=tuple(parts))
    leaves = pc.field("content_id").isin(pa.array(sorted(left), LEFT_CONTENTS.field(0).type))
    with reading(store, parts):
        rows = documents.dataset(store).to_table(columns=["shard", "content_id"], filter=leaves)
    found: dict[str, set[bytes]] = {}
    for shard, identifier in zip(rows["shard"].to_pylist(), rows["content_id"].to_pylist(), strict=True):
        found.setdefault(shard, set()).add(identifier)
    return {shard: frozenset(ids) for shard, ids in found.items()}


def _known_documents(store: Store, base: str) -> Part | None:
    """Return the documents of a shard as it was collected before, whatever had left it then."""
    record = read_record(store, _STAGE, base) or read_record(store, _INDEX, base)
    return record.outputs["documents"][0] if record is not None else None


def _settled(builder: Builder, unknown: dict[str, str], by_all: str, documents: Table, left: frozenset[bytes]) -> Held:
    """Give the shards that were read for the first time the fingerprint that a later build looks for."""
    if not unknown:
        return {}
    store = builder.store
    parts = {part.shard: part for part in documents.parts if part.shard in unknown}
    found = ids_held(store, tuple(parts.values()), left)
    renamed = {}
    for shard, base in unknown.items():
        record = read_record(store, _STAGE, fingerprint([base, by_all]))
        assert record is not None, "it has just been made"
        held = found.get(shard, frozenset())
        final = replace(record, fingerprint=held_key(base, held))
        final.write(store)
        if held:
            _index(base, parts[shard]).write(store)
        store.delete(record.name)
        renamed[record.name] = final.name
    builder.records = [renamed.get(name, name) for name in builder.records]
    return {shard: found.get(shard, frozenset()) for shard in unknown}


def _write_index(builder: Builder, planned: Sequence[Planned], held: Held, documents: Table) -> None:
    """Keep for every shard of which something has left where its ids are found: its base was not recorded itself."""
    for (shard, base), part in zip(planned, documents.parts, strict=True):
        if held[shard.name]:
            record = _index(base, part)
            if not builder.plan:
                record.write(builder.store)
            builder.records.append(record.name)


def _index(base: str, documents: Part) -> Record:
    return Record(stage=_INDEX, fingerprint=base, outputs={"documents": (documents,)}, seconds=0.0, counts={})
