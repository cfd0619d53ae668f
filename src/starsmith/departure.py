"""Departures: which origins and documents of the last build the requests are about that have no receipt yet.

They are looked up in the build's own tables before the next build leaves them out, and written to a draft, since after
it no table knows them any more. No section of the paper. Nothing is removed here.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from starsmith.collect import LEFT_REASON, is_owned
from starsmith.document import DOCUMENTS, ID_BYTES, ORIGINS, file_name_of, parse_swhid, swhid
from starsmith.govern.foreign_json import SHA256, parse
from starsmith.govern.opt_out import OptOuts, Request
from starsmith.govern.receipt import (
    RULES,
    NamedRelease,
    RemovedDocument,
    RemovedOrigin,
    names_content,
    read_document,
    read_named_release,
    read_origin,
    read_request,
    request_key,
)
from starsmith.govern.release_folder import FILE
from starsmith.ledger import LEDGER
from starsmith.part_file import reading
from starsmith.storage import Store, to_json
from starsmith.table import Table
from starsmith.verdict import KEEP
from starsmith.workspace import BUILD_FILE, BuildRecord

DRAFT_FILE: Final = "receipts/draft.json"
_ID = pa.binary(ID_BYTES)
_SHARD_ORIGINS: Final = pa.schema([DOCUMENTS.field("shard"), DOCUMENTS.field("origin_id")])
_REMOVED: Final = ("document_id", "origin_id", "path", "content_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class Departure:
    """What one request is about."""

    request: Request
    rule: str
    origins: tuple[RemovedOrigin, ...] = ()
    documents: tuple[RemovedDocument, ...] = ()

    @property
    def key(self) -> str:
        return request_key(self.request, self.rule)

    def with_earlier(self, earlier: "Departure") -> "Departure":
        """Return the departure with what a draft knew of it and the tables no longer do."""
        urls = {origin.url for origin in self.origins}
        places = {(document.origin_url, document.path) for document in self.documents}
        origins = [origin for origin in earlier.origins if origin.url not in urls]
        documents = [each for each in earlier.documents if (each.origin_url, each.path) not in places]
        return replace(self, origins=(*self.origins, *origins), documents=(*self.documents, *documents))


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What leaves with the next build. `build` is the SHA-256 of the record of the build it was drafted after.

    `before` is the release that is to be replaced, with the SHA-256 of its `files`; None if there is none. `time` is
    that of the receipts, so that a run that goes on from a draft writes the same ones.
    """

    time: str
    build: str | None
    before: NamedRelease | None
    files: Mapping[str, str]
    departures: tuple[Departure, ...]

    def write(self, store: Store) -> None:
        plain = {
            "time": self.time,
            "build": self.build,
            "before": None if self.before is None else asdict(self.before),
            "files": dict(self.files),
            "departures": [asdict(each) for each in self.departures],
        }
        store.write(DRAFT_FILE, to_json(plain), private=True)


def read_draft(store: Store) -> Draft | None:
    """Return the draft that a killed run has left, or None.

    Raises StarsmithError if it is damaged: only it still knows what left.
    """
    if not store.exists(DRAFT_FILE):
        return None
    fields = parse(store.read(DRAFT_FILE), f"The draft {store.path(DRAFT_FILE)}")
    before, files = fields.fields_or_none("before"), fields.fields("files")
    return Draft(
        time=fields.text("time"),
        build=fields.text_or_none("build", SHA256),
        before=None if before is None else read_named_release(before),
        files={name: files.text(name, SHA256) for name in files.members if FILE.fullmatch(name)},
        departures=tuple(
            Departure(
                request=read_request(each.fields("request")),
                rule=each.choice("rule", RULES),
                origins=tuple(map(read_origin, each.objects("origins"))),
                documents=tuple(map(read_document, each.objects("documents"))),
            )
            for each in fields.objects("departures")
        ),
    )


def build_digest(store: Store) -> str | None:
    """Return the SHA-256 of the record of the last build, None if there is none."""
    return hashlib.sha256(store.read(BUILD_FILE)).hexdigest() if store.exists(BUILD_FILE) else None


def find_departures(
    store: Store,
    record: BuildRecord | None,
    requests: Sequence[Request],
    rule: str,
    *,
    receipted: Mapping[str, Departure],
) -> tuple[Departure, ...]:
    """Return for each request what it is about in the tables of the last build, as far as it has come.

    `receipted` says, by value of their requests' keys under `rule`, what receipts under another rule tell of: it left
    before, and its copies may have to follow.
    """
    # What a note says is between the requester and the keeper of the list.
    blank = [Departure(request=replace(request, note="", added=""), rule=rule) for request in requests]
    known = [each.with_earlier(receipted[each.key]) if each.key in receipted else each for each in blank]
    if not requests or record is None or not {"origins", "documents"} <= record.tables.keys():
        return tuple(known)
    return _Tables(store=store, record=record).departures(known, rule)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tables:
    """The tables of a build that say what lay where."""

    store: Store
    record: BuildRecord

    def departures(self, known: Sequence[Departure], rule: str) -> tuple[Departure, ...]:
        matched = self._matched([each.request for each in known])
        leaving = {origin.origin_id for found in matched for origin in found}
        left = self._documents("origin_id", leaving, self._shards(leaving))
        own = [left.of("origin_id", {origin.origin_id for origin in origins}) for origins in matched]
        contents = [_everywhere(each, found, rule) for each, found in zip(known, own, strict=True)]
        copies = self._documents("content_id", set().union(*contents), None)
        urls, kept = self._urls(), self._kept(left, copies)
        done = []
        for each, origins, found, everywhere in zip(known, matched, own, contents, strict=True):
            documents = _removed([found, copies.of("content_id", everywhere)], urls, kept)
            now = Departure(request=each.request, rule=rule, origins=origins, documents=documents)
            done.append(now.with_earlier(each))
        return tuple(done)

    def _matched(self, requests: Sequence[Request]) -> list[tuple[RemovedOrigin, ...]]:
        """Return the origins that each request names, in the order of the table."""
        asked = OptOuts(requests=tuple(requests))
        number = {request: place for place, request in enumerate(requests)}
        matched: list[list[RemovedOrigin]] = [[] for _ in requests]
        columns = ["url", "owner", "name", "source", "revision_id", "directory_id"]
        for row in self.record.table("origins", ORIGINS).read(self.store, columns).to_pylist():
            ids = {name: row.pop(f"{name}_id") for name in ("revision", "directory")}
            origin = RemovedOrigin(**row, **{name: value and value.hex() for name, value in ids.items()})
            for request in asked.matching(origin):
                matched[number[request]].append(origin)
        return [tuple(origins) for origins in matched]

    def _urls(self) -> dict[bytes, str]:
        rows = self.record.table("origins", ORIGINS).read(self.store, ["origin_id", "url"])
        return dict(zip(rows["origin_id"].to_pylist(), rows["url"].to_pylist(), strict=True))

    def _shards(self, origins: Collection[bytes]) -> set[str] | None:
        """Return the shards that some origins lie in; None where a build that stopped early has no table of them."""
        if "shard_origins" not in self.record.tables:
            return None
        table = self.record.table("shard_origins", _SHARD_ORIGINS)
        return set(_where(self.store, table, "origin_id", origins, ["shard"])["shard"].to_pylist())

    def _documents(self, column: str, values: Collection[bytes], shards: Collection[str] | None) -> "_Found":
        columns = ["document_id", "shard", "origin_id", "path", "content_id", "reason"]
        table = self.record.table("documents", DOCUMENTS)
        rows = _where(self.store, _within(table, shards), column, values, columns)
        # A content that has left stays in the tables as a row without it.
        there = pc.fill_null(pc.not_equal(rows["reason"], LEFT_REASON), True)
        return _Found(rows=rows.filter(there).drop_columns("reason"))

    def _kept(self, *found: "_Found") -> set[bytes]:
        """Return which documents are in the release of the build."""
        if self.record.release is None:
            return set()
        documents = {document for each in found for document in each.ids}
        ledger = _within(self.record.table("ledger", LEDGER), set().union(*(each.shards() for each in found)))
        rows = _where(self.store, ledger, "document_id", documents, ["document_id", "verdict"])
        return set(rows.filter(pc.equal(rows["verdict"], KEEP))["document_id"].to_pylist())


def _within(table: Table, shards: Collection[str] | None) -> Table:
    """Return the table with the rows of some shards, or as it is."""
    return table if shards is None else table.of_shards(frozenset(shards))


def _where(store: Store, table: Table, column: str, values: Collection[bytes], columns: list[str]) -> pa.Table:
    if not values:
        return pa.schema([table.schema.field(name) for name in columns]).empty_table()
    wanted = ds.field(column).isin(pa.array(sorted(values), _ID))
    with reading(store, table.parts):
        return table.dataset(store).to_table(columns=columns, filter=wanted)


def _everywhere(known: Departure, own: "_Found", rule: str) -> set[bytes]:
    """Return the contents of which a request takes every copy."""
    if names_content(known.request):
        return {parse_swhid(known.request.value)[1]}
    if rule == "own":
        return set()
    return own.contents() | {parse_swhid(each.swhid)[1] for each in known.documents if each.swhid and each.is_owned}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Rows of DOCUMENTS that have not left: id, shard, origin, path, content."""

    rows: pa.Table
    ids: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", self.rows["document_id"].to_pylist())

    def of(self, column: str, values: Collection[bytes]) -> "_Found":
        return _Found(rows=self.rows.filter(pc.is_in(self.rows[column], value_set=pa.array(sorted(values), _ID))))

    def shards(self) -> set[str]:
        return set(self.rows["shard"].to_pylist())

    def contents(self) -> set[bytes]:
        """Return the contents that leave wherever they lie, under the rule that takes every copy."""
        rows = zip(self.rows["content_id"].to_pylist(), self.rows["path"].to_pylist(), strict=True)
        return {content for content, path in rows if content and is_owned(content, file_name_of(path))}


def _removed(
    found: Sequence[_Found], urls: Mapping[bytes, str], kept: Collection[bytes]
) -> tuple[RemovedDocument, ...]:
    documents: dict[bytes, RemovedDocument] = {}
    for each in found:
        columns: list[list[Any]] = [each.rows[name].to_pylist() for name in _REMOVED]
        for document, origin, path, content in zip(*columns, strict=True):
            documents[document] = RemovedDocument(
                origin_url=urls[origin],
                path=path,
                swhid=None if content is None else swhid("cnt", content),
                released=document in kept,
            )
    return tuple(sorted(documents.values(), key=lambda each: (each.origin_url, each.path, each.swhid or "")))
