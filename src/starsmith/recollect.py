"""Recollect: a build whose sources are the tables of the last build. No repository, archive or path is opened.

Whoever asks to leave must be able to, also when the repositories are long gone. A shard that changes is made from the
documents, contents and folders that were collected before, and is byte for byte what reading its origins again would
give. What is not in the tables cannot be had from them: a content that was left out stays out until the sources are
read again. No section of the paper.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from starsmith.builder import Builder
from starsmith.collect import BATCH_BYTES, LEFT_REASON, CommitTimes, collected_outcome, left_outcome
from starsmith.collect_plan import Held, Planned, held_key, times_key
from starsmith.document import COMMIT_TIMES, CONTENTS, DOCUMENTS, FOLDERS, ORIGINS, Origin, RawDocument
from starsmith.errors import StarsmithError
from starsmith.job import Outcome, Progress, Work
from starsmith.origins import ORIGIN_STATES, Found, errors, twice
from starsmith.part_file import PartFile, reading
from starsmith.recipe import Recipe, loads
from starsmith.settings import CollectSettings
from starsmith.shard import Located, Shard, plan
from starsmith.sources import PathRange
from starsmith.storage import Store
from starsmith.table import Part, Table, read_record, write_part
from starsmith.workspace import BuildRecord

_IDS = DOCUMENTS.field("content_id").type


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSource:
    """Where an origin comes from that is known from tables alone. It cannot be read again."""

    def locate(self) -> list[str]:
        return []

    def describe(self, location: str, *, shard_documents: int) -> Origin:
        raise RuntimeError("an origin of the last build is not described again")

    def times(self, origin: Origin) -> dict[bytes, int]:
        raise RuntimeError("an origin of the last build has no history")

    def read(
        self, origin: Origin, part: PathRange, settings: CollectSettings, times: Mapping[bytes, int] | None = None
    ) -> Iterator[RawDocument]:
        raise RuntimeError("an origin of the last build is not read again")


def stored_origins(store: Store, record: BuildRecord) -> list[Located]:
    """Return the origins of a build in order, from its tables `origins` and `states`.

    Raises StarsmithError for a build that was made before there was such a table.
    """
    states = {row["origin_id"]: row for row in record.table("states", ORIGIN_STATES).read(store).to_pylist()}
    rows = _plain_times(record.table("origins", ORIGINS).read(store)).to_pylist()
    return [Located(source=StoredSource(), origin=_origin(row | states[row["origin_id"]])) for row in rows]


def _plain_times(origins: pa.Table) -> pa.Table:
    """Return the rows with times as the microseconds that an Origin holds."""
    fields = [pa.field(each.name, pa.int64()) if pa.types.is_timestamp(each.type) else each for each in origins.schema]
    return origins.cast(pa.schema(fields))


def _origin(row: dict[str, Any]) -> Origin:
    known = {name: row[name] for name in Origin.__dataclass_fields__ if name in row}
    return Origin(**(known | {"location": "", "cuts": tuple(row["cuts"])}))


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSlice:
    """A range of one origin's paths, as the shard of an earlier build holds it."""

    origin_id: bytes
    documents: Part
    contents: Part
    folders: Part


@dataclass(frozen=True, kw_only=True, slots=True)
class RecollectShard:
    """Write the documents, contents and folders of a shard from those of earlier shards.

    The slices come in the order of the new shard, which is that of the earlier ones. `left` are the ids of contents
    that are not taken over, sorted.
    """

    name: str
    slices: tuple[StoredSlice, ...]
    left: tuple[bytes, ...]

    def __str__(self) -> str:
        return f"shard {self.name}"

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        runs = [list(run) for _, run in groupby(self.slices, key=lambda each: each.documents.name)]
        documents = [self._documents(store, run) for run in runs]
        batches = self._contents(store, runs, documents)
        contents = write_part(store, "contents", CONTENTS, batches, shard=self.name)
        rows = pa.concat_tables([DOCUMENTS.empty_table(), *documents])
        progress(rows.num_rows)
        return collected_outcome(store, self.name, rows, contents, self._folders(store, runs))

    def _documents(self, store: Store, run: list[StoredSlice]) -> pa.Table:
        """Return the documents of slices of one earlier shard as documents of this one."""
        rows = _of_origins(store, run[0].documents, DOCUMENTS, run)
        left = pc.is_in(rows["content_id"], value_set=pa.array(self.left, _IDS))
        leaving = pc.and_(left, pc.is_null(rows["reason"]))
        reasons = pc.if_else(leaving, pa.scalar(LEFT_REASON), rows["reason"])
        names = pa.repeat(pa.scalar(self.name), rows.num_rows)
        return _with(_with(rows, "shard", names), "reason", reasons)

    def _contents(
        self, store: Store, runs: list[list[StoredSlice]], documents: list[pa.Table]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the contents in the order in which the documents first mention them."""
        seen: set[bytes] = set()
        for run, rows in zip(runs, documents, strict=True):
            taken = rows.filter(pc.is_null(rows["reason"]))["content_id"].to_pylist()
            wanted = [identifier for identifier in dict.fromkeys(taken) if identifier not in seen]
            seen.update(wanted)
            yield from _batches(_in_order(store, run[0].contents, wanted))

    def _folders(self, store: Store, runs: list[list[StoredSlice]]) -> pa.Table:
        """Return the folders in order of origin; those of one origin are in order already."""
        tables = [_of_origins(store, run[0].folders, FOLDERS, run) for run in runs]
        rows = pa.concat_tables([FOLDERS.empty_table(), *tables])
        ids = rows["origin_id"].to_pylist()
        return rows.take(pa.array(sorted(range(len(ids)), key=ids.__getitem__), pa.int64()))


def _of_origins(store: Store, part: Part, schema: pa.Schema, slices: Iterable[StoredSlice]) -> pa.Table:
    rows = Table(name="", schema=schema, parts=(part,)).read(store)
    ids = pa.array([each.origin_id for each in slices], schema.field("origin_id").type)
    return rows.filter(pc.is_in(rows["origin_id"], value_set=ids))


def _with(rows: pa.Table, name: str, values: Any) -> pa.Table:
    position = rows.schema.get_field_index(name)
    return rows.set_column(position, rows.schema.field(position), values)


_Content = tuple[bytes, bytes, bytes]
"""A row of CONTENTS."""


def _in_order(store: Store, part: Part, wanted: list[bytes]) -> Iterator[_Content]:
    """Yield the wanted contents of a part in their order.

    Nearly all lie in that order already. Only what an origin that has left was the first to mention lies too early,
    and is held until its turn.
    """
    waiting: dict[bytes, _Content] = {}
    turn = iter(wanted)
    following = next(turn, None)
    for row in _wanted_rows(store, part, wanted):
        waiting[row[0]] = row
        while following in waiting:
            yield waiting.pop(following)
            following = next(turn, None)
    if following is not None:
        raise StarsmithError(
            f"{store.path(part.name)} lacks the content {following.hex()} that its documents name: it is damaged. "
            "Build again from the sources with `starsmith build`."
        )


def _wanted_rows(store: Store, part: Part, wanted: list[bytes]) -> Iterator[_Content]:
    ids = pa.array(wanted, _IDS)
    with PartFile(store, part) as file:
        for group in range(file.row_groups):
            rows = file.read_group(group, CONTENTS.names)
            rows = rows.filter(pc.is_in(rows["content_id"], value_set=ids))
            yield from zip(*(rows[name].to_pylist() for name in CONTENTS.names), strict=True)


def _batches(contents: Iterable[_Content]) -> Iterator[pa.RecordBatch]:
    pending: list[_Content] = []
    size = 0
    for row in contents:
        pending.append(row)
        size += len(row[2])
        if size >= BATCH_BYTES:
            yield _batch(pending)
            pending, size = [], 0
    yield _batch(pending)


def _batch(rows: list[_Content]) -> pa.RecordBatch:
    return pa.record_batch([[row[column] for row in rows] for column in range(len(CONTENTS))], schema=CONTENTS)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredLeftContents:
    """Find the ids of the contents of an origin that has left in the documents of the last build."""

    origin_id: bytes
    documents: tuple[Part, ...]

    def __str__(self) -> str:
        return "an origin that has left"

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        documents = Table(name="documents", schema=DOCUMENTS, parts=self.documents).dataset(store)
        own = pc.field("origin_id") == pa.scalar(self.origin_id, DOCUMENTS.field("origin_id").type)
        with reading(store, self.documents):
            rows = documents.to_table(
                columns=["content_id", "file_name"], filter=own & pc.field("content_id").is_valid()
            )
        progress(rows.num_rows)
        return left_outcome(store, zip(rows["content_id"].to_pylist(), rows["file_name"].to_pylist(), strict=True))


_Rows = dict[tuple[str, bytes], list[dict[str, Any]]]
"""Documents by shard and origin."""


class FromTables:
    """The tables of the last build as the sources of this one."""

    def __init__(self, builder: Builder, recipe: Recipe, record: BuildRecord) -> None:
        _check_recipe(recipe, record)
        self.builder = builder
        self.recipe = recipe
        self.record = record
        self.version = int(record.versions["collect"])
        self._stay_out = 0

    @cached_property
    def _origins(self) -> list[Located]:
        return stored_origins(self.builder.store, self.record)

    @cached_property
    def _stored(self) -> dict[tuple[str, bytes | None], tuple[str, StoredSlice]]:
        """The name of its shard and its rows, of every slice of the last build by URL and start."""
        parts = {
            name: {part.shard: part for part in self.record.table(name, schema).parts}
            for name, schema in (("documents", DOCUMENTS), ("contents", CONTENTS), ("folders", FOLDERS))
        }
        found = {}
        for shard in plan(self._origins, documents=self.recipe.shards.documents):
            own = {name: of_shard[shard.name] for name, of_shard in parts.items()}
            for each in shard.slices:
                origin = each.located.origin
                stored = StoredSlice(origin_id=origin.origin_id, **own)
                found[origin.url, each.part.start] = shard.name, stored
        return found

    def find(self, is_left: Callable[[Origin], bool]) -> Found:
        """Return the origins of the last build."""
        gone = {item.origin.url for item in self._origins if is_left(item.origin)}
        staying = [item for item in self._origins if item.origin.url not in gone]
        possible = {twice(item.origin.url) for item in staying}
        notes = [note for note in self.record.notes if note in possible] + errors(staying)
        left = tuple(item for item in self._origins if item.origin.url in gone)
        return Found(located=tuple(staying), notes=tuple(sorted(notes)), left=left)

    def origins(self, found: Found) -> pa.Table:
        """Return the ORIGINS rows as they were, so that no metadata file is needed."""
        rows = self.record.table("origins", ORIGINS).read(self.builder.store)
        ids = pa.array([item.origin.origin_id for item in found.located], ORIGINS.field("origin_id").type)
        return rows.filter(pc.is_in(rows["origin_id"], value_set=ids))

    def prepare(self, found: Found) -> None:
        """Keep the commit times that are known of origins in several shards. Nothing here needs them."""
        store, label = self.builder.store, "commit times"
        keys = {times_key(item.origin): item for item in found.located if item.origin.cuts}
        works: list[tuple[str, Work]] = [
            (key, CommitTimes(located=item)) for key, item in keys.items() if read_record(store, label, key)
        ]
        self.builder.map(label, works, {"commit_times": COMMIT_TIMES}, total=len(works))

    def left_contents(self, item: Located) -> Work:
        origin = item.origin
        slices = [self._stored[origin.url, start][1] for start in (None, *origin.cuts)]
        return StoredLeftContents(origin_id=origin.origin_id, documents=tuple(each.documents for each in slices))

    def held(self, planned: Sequence[Planned], left: frozenset[bytes]) -> Held:
        """Return, for each shard, which contents that have left its documents have.

        One that had left and need not have any more stays among them, unless the shard with it is there still.
        """
        leaving, gone = self._leaving(left)
        held: Held = {}
        for shard, base in planned:
            slices = [self._stored[each.located.origin.url, each.part.start] for each in shard.slices]
            now, lost = (
                frozenset(row["content_id"] for each in slices for row in rows.get((each[0], each[1].origin_id), ()))
                for rows in (leaving, gone)
            )
            if lost and read_record(self.builder.store, "collect", held_key(base, now)) is None:
                now |= lost
                self._stay_out += sum(len(gone.get((name, each.origin_id), ())) for name, each in slices)
            held[shard.name] = now
        return held

    def _leaving(self, left: frozenset[bytes]) -> tuple[_Rows, _Rows]:
        """Return the documents whose content has left, and those whose content had left but has no longer."""
        documents = self.record.table("documents", DOCUMENTS)
        leaves = pc.field("content_id").isin(pa.array(sorted(left), _IDS))
        columns = ["shard", "origin_id", "content_id", "reason"]
        with reading(self.builder.store, documents.parts):
            every = documents.dataset(self.builder.store)
            found = every.to_table(columns=columns, filter=leaves | (pc.field("reason") == LEFT_REASON))
        leaving: _Rows = {}
        gone: _Rows = {}
        for row in found.to_pylist():
            rows = leaving if row["content_id"] in left else gone
            rows.setdefault((row["shard"], row["origin_id"]), []).append(row)
        return leaving, gone

    def work(self, shard: Shard, left: tuple[bytes, ...]) -> Work:
        slices = [self._stored[each.located.origin.url, each.part.start][1] for each in shard.slices]
        return RecollectShard(name=shard.name, slices=tuple(slices), left=left)

    def later_notes(self) -> list[str]:
        """Return what is to be told once the shards are planned."""
        if not self._stay_out:
            return []
        note = (
            f"{self._stay_out} documents stay out although nobody asks for it any more: their contents can only be "
            "had from the sources again. Run `starsmith build` where the sources are."
        )
        return [note]


def _check_recipe(recipe: Recipe, record: BuildRecord) -> None:
    """Raise unless a recipe takes in and cuts as that of the last build did, for its tables were made so."""
    before = loads(record.recipe, base=Path(record.base), name="the recipe of the last build")
    if (recipe.collect, recipe.shards) != (before.collect, before.shards):
        raise StarsmithError(
            "The recipe takes in other documents than the last build did, or cuts them into other shards. "
            "Build again from the sources with `starsmith build`."
        )
