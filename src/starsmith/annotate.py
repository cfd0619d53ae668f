"""Annotate: the second pass over content. It reads each content once and computes everything cheap about it.

Encoding, text statistics, licence statements, MinHash bands and shingle sets belong to a content; language and the
generated flag to a content under a file name; the vendored flag to a path. What each of them means stands in the
module of `curate` that computes it. Nothing is judged here and no threshold is read: changing one annotates nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from starsmith.annotate_rows import Annotated, Earlier, Named, Names, names_of, packed_bands, taken_over, together
from starsmith.curate import encoding, language, licence, minhash, text_stats
from starsmith.curate.characters import UNICODE_VERSION
from starsmith.curate.licence_statements import rules_version, statements_of
from starsmith.document import ANNOTATIONS, BANDS, ID_BYTES, LICENCE_STATEMENTS, SHINGLES, TEXTS
from starsmith.fingerprint import fingerprint
from starsmith.isolation import Isolated
from starsmith.job import Outcome, Progress
from starsmith.part_file import PartFile
from starsmith.settings import LanguageSettings, LicenceSettings, NearDuplicateSettings
from starsmith.storage import Store
from starsmith.table import Part, write_mapped_part, write_part

VERSION = 2
_BATCH_BYTES = 4 << 20
_HTML_EXTENSIONS = frozenset({"html", "htm", "xhtml"})


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotateSettings:
    """The part of a recipe that annotations depend on."""

    language: LanguageSettings
    licence: LicenceSettings
    near_duplicates: NearDuplicateSettings
    hex_spaces: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotateShard:
    """Annotate the contents of one shard under the names its documents give them.

    What an `earlier` build found is taken over where it is what would be found again. It changes no byte of the result.
    """

    documents: Part
    contents: Part
    settings: AnnotateSettings
    earlier: Earlier | None = None

    def __str__(self) -> str:
        return f"shard {self.documents.shard}"

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        with PartFile(store, self.contents) as file:
            contents = file.read(["content_id"])["content_id"].to_pylist()
        named = names_of(store, self.documents)
        names = {identifier: named.get(identifier, []) for identifier in contents}
        known = taken_over(store, self.earlier, names, self.settings.language)
        progress(known.annotations.num_rows)
        done = [known]
        for annotated in self._batches(store, names, known.texts["content_id"], careful=attempt > 0):
            done.append(annotated)
            progress(annotated.annotations.num_rows)
        whole = together(done, names)
        shard = self.documents.shard
        parts = {
            "texts": write_part(store, "texts", TEXTS, [whole.texts], shard=shard),
            "annotations": write_part(store, "annotations", ANNOTATIONS, [whole.annotations], shard=shard),
            "bands": write_mapped_part(store, "bands", BANDS, packed_bands([whole.bands]), shard=shard),
            "licence_statements": write_part(
                store, "licence_statements", LICENCE_STATEMENTS, [whole.statements], shard=shard
            ),
            "shingles": write_mapped_part(store, "shingles", SHINGLES, whole.shingles, shard=shard),
        }
        counts = {"documents": parts["annotations"].rows, "contents": parts["texts"].rows}
        return Outcome(parts={name: (part,) for name, part in parts.items()}, counts=counts, final=whole.stalled == 0)

    def _batches(self, store: Store, names: Names, known: pa.ChunkedArray, *, careful: bool) -> Iterator[Annotated]:
        """Annotate all contents but the known ones; nothing is started where nothing is left."""
        shard = self.documents.shard
        function = partial(annotate_batch, shard=shard, names=names, settings=self.settings)
        isolated = Isolated(
            function, partial(poisoned, shard=shard, names=names), partial(warm, settings=self.settings)
        )
        try:
            for batch in _content_batches(store, self.contents, known):
                if careful:
                    yield from isolated.results(batch)
                else:
                    _warm_once(self.settings)
                    yield from isolated.trusting(batch)
        finally:
            isolated.close()


def _content_batches(store: Store, contents: Part, known: pa.ChunkedArray) -> Iterator[pa.RecordBatch]:
    """Yield the contents of a part but the known ones in batches of a few megabytes, each with at least one row."""
    with PartFile(store, contents) as file:
        for group in range(file.row_groups):
            if len(known) and _all_in(file.read_group(group, ["content_id"])["content_id"], known):
                continue
            rows = file.read_group(group, ["content_id", "content"])
            for batch in _without(rows, known).to_batches():
                step = max(1, batch.num_rows * _BATCH_BYTES // max(batch.nbytes, 1))
                for start in range(0, batch.num_rows, step):
                    yield batch.slice(start, step)


def _all_in(ids: pa.ChunkedArray, known: pa.ChunkedArray) -> bool:
    return bool(pc.all(pc.is_in(ids, value_set=known)).as_py())


def _without(rows: pa.Table, known: pa.ChunkedArray) -> pa.Table:
    if not len(known):
        return rows
    return rows.filter(pc.invert(pc.is_in(rows["content_id"], value_set=known))).combine_chunks()


def annotate_batch(batch: pa.RecordBatch, *, shard: str, names: Names, settings: AnnotateSettings) -> Annotated:
    """Annotate contents (columns `content_id`, `content`); the result of a row depends on that row and its names."""
    ids: list[bytes] = batch["content_id"].to_pylist()
    decoded = encoding.decode(batch["content"])
    named = [names.get(identifier, []) for identifier in ids]
    languages = _Languages.of(named, decoded.texts, settings.language)
    html = np.fromiter((languages.is_html(row) for row in range(len(ids))), np.bool_, len(ids))
    stats = text_stats.measure(decoded.texts, html=html, hex_spaces=settings.hex_spaces)
    signed = minhash.sign(decoded.texts, settings.near_duplicates)
    headers = licence.header_statements(decoded.texts) if settings.licence.headers else [None] * len(ids)
    return Annotated(
        texts=_texts(shard, batch, decoded, stats, signed, headers),
        annotations=languages.rows(ids),
        bands=signed.band_keys,
        shingles=_shingles(batch["content_id"], signed),
        statements=_statements(named, decoded, settings.licence),
    )


@dataclass(kw_only=True, slots=True)
class _Languages:
    """Language and flags of every (content, file name) of a batch."""

    named: Sequence[Sequence[Named]]
    found: dict[tuple[int, str], tuple[language.Language, bool]] = field(default_factory=dict)
    first_name_only: bool = False

    @classmethod
    def of(
        cls, named: Sequence[Sequence[Named]], texts: pa.LargeBinaryArray, settings: LanguageSettings
    ) -> "_Languages":
        languages = cls(named=named, first_name_only=settings.name == "first")
        pairs = list(
            dict.fromkeys((row, languages.name(row, each)) for row, group in enumerate(named) for each in group)
        )
        rows = [row for row, _ in pairs]
        file_names = [name for _, name in pairs]
        chosen = texts.take(pa.array(rows, pa.int64())) if rows != list(range(len(texts))) else texts
        detected = language.LanguageDetector().detect(file_names, chosen)
        generated = [language.is_generated(name, text.as_py()) for name, text in zip(file_names, chosen, strict=True)]
        languages.found = dict(zip(pairs, zip(detected, generated, strict=True), strict=True))
        return languages

    def name(self, row: int, named: Named) -> str:
        return min(each.file_name for each in self.named[row]) if self.first_name_only else named.file_name

    def is_html(self, row: int) -> bool:
        """Whether any name of the content makes it HTML, so that its visible text is worth measuring."""
        return any(self.found[row, self.name(row, each)][0].name == "HTML" for each in self.named[row])

    def rows(self, ids: Sequence[bytes]) -> pa.Table:
        columns: list[list[Any]] = [[], [], [], [], [], []]
        for row, group in enumerate(self.named):
            for each in group:
                found, generated = self.found[row, self.name(row, each)]
                values = (
                    each.document_id,
                    ids[row],
                    found.name,
                    found.method,
                    language.is_vendor(each.path),
                    generated,
                )
                for column, value in zip(columns, values, strict=True):
                    column.append(value)
        return pa.table(columns, schema=ANNOTATIONS)


def _texts(
    shard: str, batch: pa.RecordBatch, decoded: Any, stats: pa.RecordBatch, signed: Any, headers: Sequence[Any]
) -> pa.Table:
    """Put the content-dependent columns together; a content that is no text has nulls beside its reason."""
    missing = pa.array([reason is not None for reason in decoded.reasons.to_pylist()])
    columns: dict[str, Any] = {name: stats[name] for name in stats.schema.names}
    columns["num_shingles"] = pa.array(signed.num_shingles, pa.int64())
    columns["shingle_row"] = pa.nulls(batch.num_rows, pa.int64())
    columns = {name: _null_where(missing, column) for name, column in columns.items()}
    columns["shard"] = pa.repeat(pa.scalar(shard), batch.num_rows)
    columns["content_id"] = batch["content_id"]
    columns["reason"], columns["detail"] = decoded.reasons, decoded.details
    columns["src_encoding"] = decoded.encodings
    columns["licence"] = pa.array([each.expression if each else None for each in headers], pa.string())
    columns["licence_method"] = pa.array([each.kind if each else None for each in headers], pa.string())
    return pa.table({name: columns[name] for name in TEXTS.names}, schema=TEXTS)


def _null_where(mask: pa.Array, column: pa.Array) -> pa.Array:
    return pc.if_else(mask, pa.scalar(None, column.type), column)


def _shingles(ids: pa.Array, signed: Any) -> pa.Table:
    rows = pa.array(signed.signed)
    return pa.table([ids.take(rows), signed.shingles.take(rows)], schema=SHINGLES)


def _statements(named: Sequence[Sequence[Named]], decoded: Any, settings: LicenceSettings) -> pa.Table:
    """Every licence stated by a licence file, manifest or readme, once per document that is one."""
    rows = []
    for row, group in enumerate(named):
        for each in group:
            if licence.candidate_kind(each.file_name) is None:
                continue
            text = decoded.texts[row].as_py().decode()
            for statement in statements_of(each.file_name, text, settings):
                rows.append(
                    {
                        "origin_id": each.origin_id,
                        "folder": each.licence_scope,
                        "document_id": each.document_id,
                        "path": each.path,
                        "kind": statement.kind,
                        "expression": statement.expression,
                        "score": statement.score,
                    }
                )
    return pa.Table.from_pylist(rows, schema=LICENCE_STATEMENTS)


def poisoned(batch: pa.RecordBatch, answer: str, detail: str, *, shard: str, names: Names) -> Annotated:
    """Return the annotations of one content that could not be annotated: a reason and nothing else."""
    identifier = batch["content_id"][0].as_py()
    text = {"shard": shard, "content_id": identifier, "reason": f"error.{answer}", "detail": detail}
    rows = [{"document_id": each.document_id, "content_id": identifier} for each in names.get(identifier, [])]
    return Annotated(
        texts=pa.Table.from_pylist([text], schema=TEXTS),
        annotations=pa.Table.from_pylist(rows, schema=ANNOTATIONS),
        bands=np.zeros((0, 0), np.int64),
        shingles=SHINGLES.empty_table(),
        statements=LICENCE_STATEMENTS.empty_table(),
        stalled=int(answer == "stalled"),
    )


def warm(settings: AnnotateSettings) -> None:
    """Load every compiled kernel and table on one small text."""
    ids = pa.array([bytes(ID_BYTES)], pa.binary(ID_BYTES))
    content = pa.array([b"# SPDX-License-Identifier: MIT\nprint('a b c d e f g h')\n"], pa.binary())
    named = Named(
        document_id=bytes(ID_BYTES), origin_id=bytes(ID_BYTES), path="a.py", file_name="a.py", licence_scope=""
    )
    batch = pa.RecordBatch.from_arrays([ids, content], names=["content_id", "content"])
    annotate_batch(batch, shard="", names={bytes(ID_BYTES): [named]}, settings=settings)


# Loading compiled kernels takes seconds once in a process, which no document should be charged for.
_warm_once = cache(warm)


def signature_settings(settings: NearDuplicateSettings) -> NearDuplicateSettings:
    """Return the settings with all that does not enter a signature at its default: changing that signs nothing."""
    plain = NearDuplicateSettings()
    return replace(settings, threshold=plain.threshold, verify=plain.verify, across_languages=plain.across_languages)


def detection_settings(settings: LicenceSettings) -> LicenceSettings:
    """Return the settings with all that does not enter detection at its default."""
    plain = LicenceSettings()
    return replace(settings, no_licence=plain.no_licence, propagation=plain.propagation, expressions=plain.expressions)


def key(documents: Part, contents: Part, settings: AnnotateSettings) -> str:
    """Return the fingerprint of the annotations of a shard."""
    return fingerprint([versions(), documents.digest, contents.digest, settings])


def versions() -> dict[str, str]:
    """Return the versions of what annotations depend on, for fingerprints and the manifest."""
    return {
        "annotate": str(VERSION),
        "pyarrow": pa.__version__,
        "encoding": f"{encoding.VERSION}+chardet-{_chardet_version()}",
        "language": language.LANGUAGE_VERSION,
        "licence": rules_version(),
        "unicode": UNICODE_VERSION,
    }


@cache
def _chardet_version() -> str:
    # Looked up in the files of the installation, which takes a millisecond.
    return version("chardet")
