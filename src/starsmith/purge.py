"""Purge: what has left a corpus goes from its workspace too, so that nothing can bring it back.

After a build that leaves it out, content is still in older releases, in table files that no build refers to, and
perhaps in deltas between older releases. All of that is deleted, and receipts that were given are given again with the
word that it was. Names and paths stay in the receipts and in the list alone.

No section of the paper. What a disk keeps of deleted files, and copies elsewhere, are beyond this module.
"""

import io
import zipfile
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from starsmith.govern.delta import KEY, ROWS, row_keys
from starsmith.govern.receipt import load
from starsmith.govern.release_folder import MANIFEST, opened, read_manifest
from starsmith.removal import RECEIPT_NAME, RECEIPTS, write_receipt
from starsmith.storage import Located, Store
from starsmith.workspace import BuildRecord, collect_garbage


@dataclass(frozen=True, kw_only=True, slots=True)
class Purged:
    """What was deleted: releases by name, and all files with their bytes. `receipts` are those given again."""

    releases: tuple[str, ...]
    files: int
    bytes: int
    receipts: tuple[str, ...]


def purge(store: Store, record: BuildRecord) -> Purged:
    """Delete everything but what the last build consists of, its release, the receipts and the list."""
    current = str(record.release)
    old = sorted({name.split("/")[1] for name in store.names("releases")} - {current.rpartition("/")[2]})
    gone = [name for name in store.names("releases") if name.split("/")[1] in old]
    gone += _stale_deltas(store, current)
    size = sum(store.each(lambda name: store.size(name) or 0, gone))
    for name in old:
        _delete_release(store, f"releases/{name}")
    for name in gone:
        if name.startswith(f"{RECEIPTS}/"):
            store.delete(name)
    files, more = collect_garbage(store, record)
    store.clear_spool()
    return Purged(releases=tuple(old), files=len(gone) + files, bytes=size + more, receipts=tuple(_give_again(store)))


def _delete_release(store: Store, release: str) -> None:
    # First what makes it a release: if we are killed now, the rest is garbage and known for it.
    if store.exists(f"{release}/{MANIFEST}"):
        store.delete(f"{release}/{MANIFEST}")
    store.delete_folder(release)


def _stale_deltas(store: Store, release: str) -> list[str]:
    """Return the deltas that carry a row which the current release does not hold."""
    deltas = [name for name in store.names(RECEIPTS) if name.endswith(".delta.zip")]
    carried = {name: _carried(store.file(name)) for name in deltas}
    if not any(len(keys) for keys in carried.values()):
        return []
    kept = _kept(store.file(release))
    return [name for name, keys in carried.items() if not pc.all(pc.is_in(keys, value_set=kept), min_count=0).as_py()]


def _carried(delta: Located) -> pa.ChunkedArray:
    with zipfile.ZipFile(opened(delta)) as archive:
        if ROWS not in archive.namelist():
            return pa.chunked_array([], pa.large_string())
        with pq.ParquetFile(io.BytesIO(archive.read(ROWS))) as file:
            return row_keys(file.read(columns=list(KEY)))


def _kept(release: Located) -> pa.Array:
    keys = []
    for name in sorted(read_manifest(release).data_files):
        with pq.ParquetFile(opened(release / name)) as file:
            keys += row_keys(file.read(columns=list(KEY))).chunks
    return pa.chunked_array(keys, pa.large_string()).combine_chunks()


def _give_again(store: Store) -> list[str]:
    """Write every receipt that does not yet say so anew, with the word that what it tells of was deleted."""
    given = []
    for name in store.names(RECEIPTS):
        if RECEIPT_NAME.fullmatch(name):
            receipt = load(store.file(name))
            if not receipt.purged:
                given.append(write_receipt(store, replace(receipt, purged=True)))
                store.delete(name)
    return given
