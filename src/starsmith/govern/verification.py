"""Verification: whether a release is what a receipt says, for a third party who has the two and nothing else.

Both are foreign. Nothing in the receipt is followed; the release's own manifest says which files belong to it, and
every one of them is held against it. Of the rows only the columns are read that say whose they are.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from starsmith.errors import StarsmithError, StoreFault
from starsmith.govern.foreign_text import shortened
from starsmith.govern.receipt import Receipt, names_content
from starsmith.govern.release_folder import (
    MANIFEST,
    WITHDRAWN,
    Manifest,
    names_in,
    opened,
    read_manifest,
    sha256_of,
)
from starsmith.storage import Located, StoredFile

_SHOWN: Final = 5
_MOST_ROWS: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at: whether it holds, and what was found in words."""

    name: str
    holds: bool
    words: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What a receipt and a release say together."""

    receipt: str
    release: str
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        checks = [
            {"check": each.name, "holds": each.holds, "words": each.words, "details": list(each.details)}
            for each in self.checks
        ]
        return {"verified": self.holds, "receipt": self.receipt, "release": self.release, "checks": checks}

    def words(self) -> str:
        """Return what a person reads."""
        lines = [f"{'yes' if check.holds else 'NO ':<4} {check.words}" for check in self.checks]
        lines.append("Verified." if self.holds else "Not verified.")
        return "\n".join(lines)


def verify(receipt: Receipt, release: Located) -> Verification:
    """Hold a release folder against a receipt.

    Raises StarsmithError where there is no release to look at, or a file of it cannot be read.
    """
    manifest = read_manifest(release)
    is_after = manifest.digest == receipt.after.manifest
    checks = (
        _which(receipt, manifest),
        _whole(release, manifest),
        *_shards(receipt, manifest, is_after=is_after),
        _gone(receipt, release, manifest, is_after=is_after),
    )
    return Verification(receipt=receipt.id, release=manifest.digest, checks=checks)


def _which(receipt: Receipt, manifest: Manifest) -> Check:
    if manifest.digest == receipt.after.manifest:
        return Check(name="release", holds=True, words="It is the release that the receipt names.")
    if receipt.before is not None and manifest.digest == receipt.before.manifest:
        return Check(name="release", holds=False, words="It is the release that was withdrawn.")
    words = "It is another release than the receipt names; what follows is said of this one."
    return Check(name="release", holds=True, words=words)


def _whole(release: Located, manifest: Manifest) -> Check:
    listed = manifest.files
    found = set(names_in(release)) - {MANIFEST, WITHDRAWN}
    digests = {name: sha256_of(release / name) for name in sorted(listed)}
    wrong = [f"{name} is missing" for name, digest in digests.items() if digest is None]
    wrong += [
        f"{name} has another digest" for name, digest in digests.items() if digest not in (None, listed[name].sha256)
    ]
    wrong += [f"{shortened(name)} is not in the manifest" for name in sorted(found - listed.keys())]
    if wrong:
        words = f"{len(wrong):,} files are not as the manifest says: {_list(wrong)}."
        return Check(name="files", holds=False, words=words, details=tuple(wrong))
    return Check(name="files", holds=True, words=f"All {len(listed):,} files are as the manifest says, and no other.")


def _shards(receipt: Receipt, manifest: Manifest, *, is_after: bool) -> Iterator[Check]:
    """Hold the files that changed against the manifest; another release may have changed them again."""
    if not is_after:
        return
    wrong = []
    for shard in receipt.shards:
        listed = manifest.files.get(shard.file)
        if (None if listed is None else listed.sha256) != shard.after:
            wrong.append(f"{shard.file} is not as the receipt says")
    if wrong:
        yield Check(name="shards", holds=False, words=f"{_list(wrong)}.", details=tuple(wrong))
    else:
        words = f"The {len(receipt.shards):,} files that changed are as the receipt says."
        yield Check(name="shards", holds=True, words=words)


def _gone(receipt: Receipt, release: Located, manifest: Manifest, *, is_after: bool) -> Check:
    """Look for what left. In a later release a copy may have come with a new origin, where the rule allows copies."""
    everywhere = receipt.contents_everywhere
    origins = {origin.url for origin in receipt.origins}
    swhids = {document.swhid: document.elsewhere for document in receipt.documents if document.swhid is not None}
    found = find_rows(release, manifest, origins=origins, swhids=swhids)
    wrong = [f"{shortened(url)} has {count:,} rows" for url, count in found.origins.items()]
    wrong += [f"{shortened(url)} has a list of files" for url in sorted(found.listed - found.origins.keys())]
    copies = {swhid for swhid in found.swhids if swhid in everywhere or (is_after and not swhids[swhid])}
    wrong += [f"{swhid} is there" for swhid in sorted(copies)]
    if wrong:
        words = f"What left is in this release: {_list(wrong)}."
        return Check(name="documents", holds=False, words=words, details=tuple(wrong))
    words = f"None of the {len(receipt.documents):,} documents that left is in it, and nothing of their origins."
    if names_content(receipt.request):
        words = "The content that left is not in it."
    if found.swhids:
        words += f" {len(found.swhids):,} of their contents are in it from other origins, which the rule allows."
    return Check(name="documents", holds=True, words=words)


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundRows:
    """Rows of some origins by URL, those `listed` in the variant without contents, and contents from other origins."""

    origins: dict[str, int]
    listed: set[str]
    swhids: set[str]

    @property
    def urls(self) -> set[str]:
        return self.origins.keys() | self.listed


def find_rows(
    folder: Located,
    manifest: Manifest,
    *,
    origins: Iterable[str],
    swhids: Iterable[str],
    files: Collection[str] | None = None,
) -> FoundRows:
    """Look through a release for the rows of some origins and, from any other origin, of some contents.

    With `files` no others are looked through. Raises StarsmithError for a file that is no table of a release.
    """
    urls, contents = pa.array(sorted(origins), pa.string()), pa.array(sorted(swhids), pa.string())
    found = FoundRows(origins={}, listed=set(), swhids=set())
    for name in sorted(manifest.files if files is None else manifest.files.keys() & files):
        if name.endswith(".parquet") and (folder / name).is_file():
            try:
                _search(folder / name, urls, contents, found, is_data=name.startswith("data/"))
            except (pa.ArrowException, OSError, KeyError, ValueError) as error:
                if isinstance(folder, StoredFile) and (said := folder.store.fault(error)):
                    raise StoreFault(said) from error
                words = str(error).partition("\n")[0]
                raise StarsmithError(f"{folder / name} cannot be read: {words}") from error
    return found


def _search(path: Located, urls: pa.Array, contents: pa.Array, found: FoundRows, *, is_data: bool) -> None:
    with pq.ParquetFile(opened(path)) as file:
        columns = ["origin_url", "swhid"] if is_data else ["repo_url", _content_ids_of(file)]
        for batch in file.iter_batches(batch_size=_MOST_ROWS, columns=columns):
            own = np.asarray(pc.is_in(batch.column(0), value_set=urls), np.bool_)
            for url in batch.column(0).filter(pa.array(own)).value_counts().to_pylist():
                if is_data:
                    found.origins[url["values"]] = found.origins.get(url["values"], 0) + url["counts"]
                else:
                    found.listed.add(url["values"])
            there, row = (batch.column(1), np.arange(len(own))) if is_data else _flat(batch.column(1))
            is_other = pc.and_(pc.is_in(there, value_set=contents), pa.array(~own[row]))
            found.swhids.update(there.filter(is_other).unique().to_pylist())


def _content_ids_of(file: Any) -> str:
    """Return the path of the content ids in the list of files of a repository."""
    names = [file.schema.column(number).path for number in range(len(file.schema))]
    return str(next(name for name in names if name.startswith("files.") and name.endswith(".content_id")))


def _flat(files: pa.ListArray) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Return the SWHIDs in a column of lists of files, and which row each is of."""
    ids = pc.list_flatten(files).field("content_id")
    swhids = pc.binary_join_element_wise("swh:1:cnt:", ids, "")
    return swhids, np.asarray(pc.list_parent_indices(files), np.int64)


def _list(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
