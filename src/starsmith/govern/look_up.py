"""Look-up: what happened to a document, an origin, or a piece of code, and why.

Answers come from the tables of the latest build alone; no content is read but the one that is asked about. A snippet
is answered by signature: the documents that share most of its shingles.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.ipc

from starsmith.curate import encoding
from starsmith.curate.filters import Filter, filters
from starsmith.curate.licence_decision import LICENCES
from starsmith.decide import FACTS
from starsmith.document import (
    ANNOTATIONS,
    BANDS,
    DOCUMENTS,
    ID_BYTES,
    ORIGINS,
    SHINGLES,
    TEXTS,
    content_id,
    parse_swhid,
    swhid,
)
from starsmith.errors import StarsmithError
from starsmith.govern.answers import Answer, DocumentStory, OriginStory, Similar, SnippetStory
from starsmith.ledger import LEDGER
from starsmith.recipe import Recipe, loads
from starsmith.release import RELEASED
from starsmith.storage import Store
from starsmith.table import Table
from starsmith.verdict import KEEP
from starsmith.workspace import read_build

MOST_DOCUMENTS = 20
"""Occurrences of one content that are told in full."""
MOST_SIMILAR = 10
_ID_COLUMNS = {"dir": "directory_id", "rev": "revision_id", "snp": "snapshot_id", "ori": "origin_id"}


class LookUp:
    """Questions to one workspace."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.build = read_build(store)
        self.recipe: Recipe = loads(self.build.recipe, base=Path(self.build.base), name="the recipe of the last build")

    def target(self, text: str) -> Answer:
        """Answer for a SWHID, `owner/repo`, `owner/repo:path` or a file on disk.

        Raises StarsmithError if the workspace knows no such thing.
        """
        if text.startswith("swh:"):
            return self._by_swhid(text)
        if Path(text).is_file():
            return self.file(Path(text))
        name, colon, path = text.partition(":")
        origins = self._origins(pc.field("repo_name") == name)
        if not origins and (exact := self._origins(pc.field("url") == text)):
            return self._origin_answer(text, exact)
        if not origins:
            raise StarsmithError(
                f"{text!r} is not in this workspace{self._nearest_name(name)}, and no such file exists."
            )
        return self._by_path(text, origins, path) if colon else self._origin_answer(text, origins)

    def _nearest_name(self, name: str) -> str:
        from difflib import get_close_matches

        names = self.build.table("origins", ORIGINS).read(self.store, ["repo_name"])["repo_name"].to_pylist()
        close = get_close_matches(name, names, n=1)
        return f" (did you mean {close[0]}?)" if close else ""

    def _by_swhid(self, text: str) -> Answer:
        kind, identifier = parse_swhid(text)
        if kind == "cnt":
            return self._by_content(text, identifier)
        origins = self._origins(pc.field(_ID_COLUMNS[kind]) == pa.scalar(identifier, pa.binary(ID_BYTES)))
        if not origins:
            raise StarsmithError(f"{text} is not in this workspace: no origin was collected at it.")
        return self._origin_answer(text, origins)

    def _by_content(self, text: str, identifier: bytes) -> Answer:
        documents = self._rows(
            "documents", DOCUMENTS, pc.field("content_id") == pa.scalar(identifier, pa.binary(ID_BYTES))
        )
        if not documents:
            raise StarsmithError(f"{text} is not in this workspace: no collected document has these bytes.")
        return Answer(target=text, documents=tuple(self._stories(documents)), occurrences=len(documents))

    def _by_path(self, text: str, origins: list[dict[str, Any]], path: str) -> Answer:
        ids = pa.array([origin["origin_id"] for origin in origins], pa.binary(ID_BYTES))
        wanted = (pc.field("path") == path.removeprefix("/")) & pc.field("origin_id").isin(ids)
        documents = self._rows("documents", DOCUMENTS, wanted)
        if not documents:
            raise StarsmithError(f"{origins[0]['repo_name']} was collected, but has no path {path!r}.")
        return Answer(target=text, documents=tuple(self._stories(documents)), occurrences=len(documents))

    def file(self, path: Path) -> Answer:
        """Answer for the bytes of a file on disk, or for what is most like it."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StarsmithError(f"{path} cannot be read: {error.strerror}.") from error
        return self._by_bytes(str(path), content)

    def snippet(self, content: bytes) -> Answer:
        """Answer for a piece of code: the same bytes if they are there, else what is most like it."""
        if not content.strip():
            raise StarsmithError("There is nothing on standard input. Pipe a piece of code into `starsmith why W -`.")
        return self._by_bytes("-", content)

    def _by_bytes(self, target: str, content: bytes) -> Answer:
        identifier = content_id(content)
        same = self._rows("documents", DOCUMENTS, pc.field("content_id") == pa.scalar(identifier, pa.binary(ID_BYTES)))
        if same:
            return Answer(target=target, documents=tuple(self._stories(same)), occurrences=len(same))
        return Answer(target=target, snippet=self._similar(content))

    def _origin_answer(self, text: str, origins: list[dict[str, Any]]) -> Answer:
        return Answer(target=text, origins=tuple(self._origin_story(origin) for origin in origins))

    def _origin_story(self, origin: dict[str, Any]) -> OriginStory:
        wanted = pc.field("origin_id") == pa.scalar(origin["origin_id"], pa.binary(ID_BYTES))
        ledger = self._dataset("ledger", LEDGER).to_table(columns=["verdict", "length"], filter=wanted)
        groups = ledger.group_by("verdict").aggregate([("length", "count"), ("length", "sum")]).to_pylist()
        counts = {row["verdict"]: (row["length_count"], row["length_sum"]) for row in groups}
        return OriginStory(
            repo_name=origin["repo_name"],
            url=origin["url"],
            source=origin["source"],
            revision=swhid("rev", origin["revision_id"]) if origin["revision_id"] else None,
            directory=swhid("dir", origin["directory_id"]) if origin["directory_id"] else None,
            error=origin["error"],
            verdicts=dict(sorted(counts.items(), key=lambda item: (item[0] != KEEP, -item[1][0], item[0]))),
        )

    def _stories(self, documents: list[dict[str, Any]]) -> Iterator[DocumentStory]:
        for document in documents[:MOST_DOCUMENTS]:
            yield self._story(document)

    def _story(self, document: dict[str, Any]) -> DocumentStory:
        """Tell one document: every table is asked for its one row."""
        wanted = pc.field("document_id") == pa.scalar(document["document_id"], pa.binary(ID_BYTES))
        shard = document["shard"]
        (ledger,) = self._rows("ledger", LEDGER, wanted, shard=shard)
        (facts,) = self._rows("facts", FACTS, wanted)
        (origin,) = self._origins(pc.field("origin_id") == pa.scalar(document["origin_id"], pa.binary(ID_BYTES)))
        annotations = self._rows("annotations", ANNOTATIONS, wanted, shard=shard)
        licences = self._rows("licences", LICENCES, wanted)
        same_content = pc.field("content_id") == pa.scalar(document["content_id"], pa.binary(ID_BYTES))
        texts = self._rows("texts", TEXTS, same_content, shard=shard) if document["content_id"] else []
        return DocumentStory(
            document=document,
            origin=origin,
            text=texts[0] if texts else {},
            annotation=annotations[0] if annotations else {},
            licence=licences[0] if licences else {},
            checks=tuple(self._checks(facts)) if texts and not texts[0]["reason"] else (),
            verdict=ledger,
            winner=self._winner(ledger["winner_id"]),
            release=self._place(shard, document["document_id"]) if ledger["verdict"] == KEEP else None,
            order=self.recipe.order,
        )

    def _winner(self, identifier: bytes | None) -> dict[str, Any] | None:
        """Return path, name and verdict of the document that another was dropped for."""
        if identifier is None:
            return None
        wanted = pc.field("document_id") == pa.scalar(identifier, pa.binary(ID_BYTES))
        rows = self._rows("ledger", LEDGER, wanted)
        origins = self._origins(pc.field("origin_id") == pa.scalar(rows[0]["origin_id"], pa.binary(ID_BYTES)))
        return rows[0] | {"repo_name": origins[0]["repo_name"]}

    def _checks(self, facts: dict[str, Any]) -> Iterator[tuple[Filter, Any]]:
        """Yield every filter that measures a number, with what it measured on this document."""
        for each in filters(self.recipe.filters):
            if each.column and each.applies_to(facts["language"]) and facts[each.column] is not None:
                yield each, facts[each.column]

    def _place(self, shard: str, document: bytes) -> tuple[str, int] | None:
        """Return the release file and row of a kept document, or None before the release stage."""
        if self.build.release is None:
            return None
        ids = self.build.table("released", RELEASED).of_shard(shard).read(self.store, ["document_id"])["document_id"]
        row = pc.index(ids, pa.scalar(document, pa.binary(ID_BYTES))).as_py()
        return f"{self.build.release}/data/{shard}.parquet", row

    def _similar(self, content: bytes) -> SnippetStory:
        from starsmith.curate import minhash

        decoded = encoding.decode(pa.array([content], pa.binary()))
        signed = minhash.sign(decoded.texts, self.recipe.near_duplicates)
        if not len(signed.signed):
            return SnippetStory(shingles=0, similar=())
        own = np.frombuffer(signed.shingles[0].as_buffer(), "<u4")
        found = [
            Similar(story=self._story(document), similarity=similarity, contained=contained)
            for document, similarity, contained in self._ranked(own, signed.band_keys[0])
        ]
        return SnippetStory(shingles=len(own), similar=tuple(found))

    def _ranked(
        self, own: np.ndarray[Any, Any], keys: np.ndarray[Any, Any]
    ) -> list[tuple[dict[str, Any], float, float]]:
        """Return (document, Jaccard, share of the snippet found in it) of the most similar contents."""
        candidates = self._candidates(own, keys)
        scored = []
        for (shard, identifier), shingles in candidates.items():
            common = len(np.intersect1d(own, shingles, assume_unique=True))
            if common:
                scored.append((common / len(own), common / (len(own) + len(shingles) - common), identifier, shard))
        ranked = []
        seen: set[bytes] = set()
        for contained, similarity, identifier, shard in sorted(
            scored, key=lambda row: (-row[0], -row[1], row[2], row[3])
        ):
            if identifier not in seen and len(seen) < MOST_SIMILAR:
                seen.add(identifier)
                wanted = pc.field("content_id") == pa.scalar(identifier, pa.binary(ID_BYTES))
                documents = self._rows("documents", DOCUMENTS, wanted, shard=shard)
                ranked.append((documents[0], similarity, contained))
        return ranked

    def _candidates(
        self, own: np.ndarray[Any, Any], keys: np.ndarray[Any, Any]
    ) -> dict[tuple[str, bytes], np.ndarray[Any, Any]]:
        """Return the shingle sets of contents that share a band with the snippet, by (shard, content id)."""
        bands = self._dataset("bands", BANDS).to_table(filter=pc.field("key").isin(pa.array(keys)))
        pairs = set(zip(bands["shard"].to_pylist(), bands["content_id"].to_pylist(), strict=True))
        found = {}
        for part in self.build.table("shingles", SHINGLES).parts:
            wanted = {identifier for shard, identifier in pairs if shard == part.shard}
            if wanted:
                for identifier, shingles in _shingles_of(self.store, part.name, wanted):
                    found[part.shard, identifier] = shingles
        return found

    def _origins(self, wanted: ds.Expression) -> list[dict[str, Any]]:
        return self._rows("origins", ORIGINS, wanted)

    def _rows(
        self, name: str, schema: pa.Schema, wanted: ds.Expression, *, shard: str | None = None
    ) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._dataset(name, schema, shard=shard).to_table(filter=wanted).to_pylist()
        return rows

    def _dataset(self, name: str, schema: pa.Schema, *, shard: str | None = None) -> ds.Dataset:
        table: Table = self.build.table(name, schema)
        return (table if shard is None else table.of_shard(shard)).dataset(self.store)


def _shingles_of(store: Store, name: str, wanted: Iterable[bytes]) -> Iterator[tuple[bytes, np.ndarray[Any, Any]]]:
    ids = set(wanted)
    with store.map(name) as file, pa.ipc.open_file(file) as reader:
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            for row, identifier in enumerate(batch["content_id"].to_pylist()):
                if identifier in ids:
                    yield identifier, np.frombuffer(batch["shingles"][row].as_buffer(), "<u4")
