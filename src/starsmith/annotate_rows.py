"""Rows of annotations: what was found in batches put together, and what of an earlier build is still true.

Annotations follow from a content and from the documents that have it (`Named`). Where a shard has lost documents, as
after an opt-out, nearly all of it was annotated before. Annotates nothing: `annotate` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from starsmith.document import ANNOTATIONS, BAND_BYTES, BANDS, ID_BYTES, LICENCE_STATEMENTS, SHINGLES, TEXTS
from starsmith.part_file import PartFile, read_mapped
from starsmith.settings import LanguageSettings
from starsmith.storage import Store
from starsmith.table import Part, Table, read_record

STAGE = "annotate"
_ENTRY_BYTES = 8 + 4
"""Of one key of a band: the key, and the row that has it."""
_ID = pa.binary(ID_BYTES)
_LIST_COLUMNS = ("content_id", "path", "file_name", "document_id", "origin_id", "licence_scope")


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """One of the documents that share one content: what the name-dependent annotations are computed from."""

    document_id: bytes
    origin_id: bytes
    path: str
    file_name: str
    licence_scope: str


Names = dict[bytes, list[Named]]
"""The documents of each content of a shard, in the order of the shard's documents."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotated:
    """The annotations of some contents. `stalled` counts rows that another run may annotate after all.

    Row n of `bands` has the keys of row n of `shingles`.
    """

    texts: pa.Table = field(default_factory=TEXTS.empty_table)
    annotations: pa.Table = field(default_factory=ANNOTATIONS.empty_table)
    bands: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    shingles: pa.Table = field(default_factory=SHINGLES.empty_table)
    statements: pa.Table = field(default_factory=LICENCE_STATEMENTS.empty_table)
    stalled: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """What a shard was before: its documents, and the fingerprint under which equal settings annotated them."""

    documents: Part
    fingerprint: str


def names_of(store: Store, documents: Part) -> Names:
    """Return the names of all contents that documents have; not each of them need have been taken in."""
    with PartFile(store, documents) as file:
        table = file.read(_LIST_COLUMNS)
    columns = [table[name].to_pylist() for name in _LIST_COLUMNS]
    names: Names = {}
    for content, path, file_name, document, origin, scope in zip(*columns, strict=True):
        if content is not None:
            named = Named(document_id=document, origin_id=origin, path=path, file_name=file_name, licence_scope=scope)
            names.setdefault(content, []).append(named)
    return names


def taken_over(store: Store, earlier: Earlier | None, names: Names, settings: LanguageSettings) -> Annotated:
    """Return what was found before in contents where it would be found again; nothing where no record of it is left."""
    record = None if earlier is None else read_record(store, STAGE, earlier.fingerprint)
    if earlier is None or record is None:
        return Annotated()
    parts = record.outputs
    texts = Table(name="texts", schema=TEXTS, parts=parts["texts"]).read(store)
    annotations = Table(name="annotations", schema=ANNOTATIONS, parts=parts["annotations"]).read(store)
    statements = Table(name="licence_statements", schema=LICENCE_STATEMENTS, parts=parts["licence_statements"])
    shingles = read_mapped(store, parts["shingles"][0], SHINGLES)
    html = annotations.filter(pc.equal(annotations["language"], "HTML"))["document_id"].to_pylist()
    comparison = _Comparison(
        before=names_of(store, earlier.documents), html=frozenset(html), first_name_only=settings.name == "first"
    )
    kept = [
        identifier
        for identifier in texts["content_id"].to_pylist()
        if identifier in names and comparison.are_equal(identifier, names[identifier])
    ]
    contents = pa.array(kept, _ID)
    documents = pa.array([each.document_id for identifier in kept for each in names[identifier]], _ID)
    signed = pc.is_in(shingles["content_id"], value_set=contents)
    return Annotated(
        texts=texts.filter(pc.is_in(texts["content_id"], value_set=contents)),
        annotations=annotations.filter(pc.is_in(annotations["document_id"], value_set=documents)),
        bands=unpacked_bands(read_mapped(store, parts["bands"][0], BANDS))[np.asarray(signed, np.bool_)],
        shingles=shingles.filter(signed),
        statements=_of_documents(statements.read(store), documents),
    )


def _of_documents(rows: pa.Table, documents: pa.Array) -> pa.Table:
    return rows.filter(pc.is_in(rows["document_id"], value_set=documents))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Comparison:
    """The names that contents had `before`, and those of the documents that were HTML."""

    before: Names
    html: frozenset[bytes]
    first_name_only: bool

    def are_equal(self, content: bytes, names: Sequence[Named]) -> bool:
        """Whether a content has the annotations it had: it may have lost names that say nothing of the others."""
        before = self.before.get(content, [])
        if names == before:
            return True
        if not set(names) <= set(before) or self._is_html(names) != self._is_html(before):
            return False
        return not self.first_name_only or _first(names) == _first(before)

    def _is_html(self, names: Sequence[Named]) -> bool:
        return any(each.document_id in self.html for each in names)


def _first(names: Sequence[Named]) -> str:
    return min(each.file_name for each in names)


def together(pieces: Sequence[Annotated], names: Names) -> Annotated:
    """Return the rows of all pieces in the order of the contents named, and within these of their documents."""
    ids = pa.array(list(names), _ID)
    documents = pa.array([each.document_id for named in names.values() for each in named], _ID)
    shingles = pa.concat_tables([piece.shingles for piece in pieces])
    bands = [piece.bands for piece in pieces if len(piece.bands)]
    order = _order(shingles["content_id"], ids)
    shingles = shingles.take(order)
    texts = pa.concat_tables([piece.texts for piece in pieces])
    annotations = pa.concat_tables([piece.annotations for piece in pieces])
    statements = pa.concat_tables([piece.statements for piece in pieces])
    return Annotated(
        texts=_with_shingle_rows(texts.take(_order(texts["content_id"], ids)), shingles),
        annotations=annotations.take(_order(annotations["document_id"], documents)),
        bands=np.concatenate(bands)[order] if bands else np.zeros((0, 0), np.int64),
        shingles=shingles,
        statements=statements.take(_order(statements["document_id"], documents)),
        stalled=sum(piece.stalled for piece in pieces),
    )


def _order(ids: pa.ChunkedArray, wanted: pa.Array) -> npt.NDArray[np.int64]:
    """Return the rows in the order of `wanted`; those of one id stay as they are."""
    return np.argsort(np.asarray(pc.index_in(ids, value_set=wanted), np.int64), kind="stable")


def _with_shingle_rows(texts: pa.Table, shingles: pa.Table) -> pa.Table:
    """Number the shingle sets within their shard."""
    rows = pc.index_in(texts["content_id"], value_set=shingles["content_id"]).cast(pa.int64())
    position = TEXTS.get_field_index("shingle_row")
    return texts.set_column(position, TEXTS.field(position), rows)


def packed_bands(batches: Sequence[npt.NDArray[np.int64]]) -> pa.Table:
    """Return the BANDS rows of a shard; row n of all batches together holds the keys of its n-th shingle set."""
    some = [keys for keys in batches if len(keys)]
    together = np.concatenate(some) if some else np.zeros((0, 0), np.int64)
    rows = []
    for band, keys in enumerate(together.T):
        order = np.argsort(keys, kind="stable")
        entries = keys[order].astype("<i8").tobytes() + order.astype("<u4").tobytes()
        rows.append({"band": band.to_bytes(BAND_BYTES, "little"), "entries": entries})
    return pa.Table.from_pylist(rows, schema=BANDS)


def unpacked_bands(rows: pa.Table) -> npt.NDArray[np.int64]:
    """Return the keys that `packed_bands` packed: a row for each shingle set, a column for each band."""
    columns = []
    for entries in rows["entries"].to_pylist():
        count = len(entries) // _ENTRY_BYTES
        keys = np.empty(count, np.int64)
        keys[np.frombuffer(entries, "<u4", count, 8 * count)] = np.frombuffer(entries, "<i8", count)
        columns.append(keys)
    return np.stack(columns, axis=1) if columns else np.zeros((0, 0), np.int64)
