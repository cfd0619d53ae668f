"""Removal: what a build takes away because somebody asked, told before and proven after.

Before anything changes a draft says which documents each request without a receipt is about (`departure`). After the
build that leaves them out there is a delta, the old release is marked withdrawn, and each request gets a receipt; then
the draft goes. Whoever is killed in between leaves a draft, and the next build goes on from it.

Section 6 of the paper tells of opt-outs; the rest is Starsmith's. What leaves is decided by collect; the order of all
this is the business of `build`.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from starsmith.departure import DRAFT_FILE, Departure, Draft, build_digest, find_departures, read_draft
from starsmith.document import parse_swhid, swhid
from starsmith.errors import StarsmithError, StoreFault
from starsmith.govern.delta import Changes, write_delta
from starsmith.govern.opt_out import Request, read
from starsmith.govern.receipt import ChangedFile, NamedDelta, NamedRelease, Receipt, load, request_key
from starsmith.govern.release_folder import MANIFEST, WITHDRAWN, Manifest, read_manifest, sha256_of
from starsmith.govern.verification import FoundRows, find_rows
from starsmith.part_file import reading
from starsmith.released import RELEASED
from starsmith.storage import Located, Store, to_json
from starsmith.table import Table
from starsmith.workspace import BUILD_FILE, BuildRecord, read_build

RECEIPTS: Final = "receipts"
RECEIPT_NAME: Final = re.compile(rf"{RECEIPTS}/([0-9a-f]{{16}})-[0-9a-f]{{32}}\.json")
_COUNTS: Final = ("origins", "documents", "released", "returned", "files")
_WHOSE: Final = pa.schema([RELEASED.field("url"), RELEASED.field("content_id")])
_NO_CHANGES: Final = Changes(copied=0, inserted=0, arrived=0, left=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What is left of a removal: the names of its receipts in the workspace, of its delta, and counts of all of it."""

    receipts: tuple[str, ...] = ()
    delta: str | None = None
    before: str | None = None
    origins: int = 0
    documents: int = 0
    released: int = 0
    returned: int = 0
    files: int = 0

    def joined(self, earlier: "Proof") -> "Proof":
        """Return both proofs as one: that of a run that was killed, and that of the run after it."""
        if not earlier.receipts:
            return self
        if not self.receipts:
            return earlier
        counts = {name: getattr(self, name) + getattr(earlier, name) for name in _COUNTS}
        return replace(self, receipts=earlier.receipts + self.receipts, **counts)

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints: counts and names of files, no name of anybody."""
        return {
            "applied": len(self.receipts),
            "origins": self.origins,
            "documents": self.documents,
            "released": self.released,
            "returned": self.returned,
            "files": self.files,
            "withdrawn": self.before,
            "delta": self.delta,
            "receipts": list(self.receipts),
        }


def pending(store: Store, rule: str, record: BuildRecord | None) -> list[Request]:
    """Return the requests that have no receipt under a rule for copies, or name what is in the last build again."""
    given = _given(store)
    requests = read(store).requests
    known = [request for request in requests if request_key(request, rule) in given]
    try:
        again = {each.key for each in find_departures(store, record, known, rule, receipted={}) if each.documents}
    except StoreFault:
        raise
    except StarsmithError:
        # A table is damaged: the build that follows makes it anew, or ends and says so.
        again = set()
    return [request for request in requests if (key := request_key(request, rule)) not in given or key in again]


def _given(store: Store) -> dict[str, str]:
    """Return the name of a receipt for each key of a request that has one."""
    return {match[1]: name for name in store.names(RECEIPTS) if (match := RECEIPT_NAME.fullmatch(name))}


def withdrawn(store: Store) -> int:
    """Return how many releases of a workspace are marked as withdrawn."""
    return sum(name.endswith(f"/{WITHDRAWN}") for name in store.names("releases"))


def before(store: Store, rule: str) -> tuple[Draft | None, Proof]:
    """Say what the next build takes away, before it does: no draft if no request waits for a receipt.

    What a killed run has left undone is done first, and proven. Raises StarsmithError if the list or a draft is
    damaged.
    """
    _drop_given_again(store)
    draft, finished = read_draft(store), Proof()
    record = _last_build(store)
    if draft is not None and draft.build != build_digest(store) and record is not None and record.release is not None:
        draft, finished = None, after(store, record, draft)
    requests = pending(store, rule, record)
    if not requests:
        if draft is not None:
            store.delete(DRAFT_FILE)
        return None, finished
    receipted = _receipted(store, requests, rule)
    try:
        departures = find_departures(store, record, requests, rule, receipted=receipted)
    except StoreFault:
        raise
    except StarsmithError as error:
        raise StarsmithError(
            f"{error} It cannot be looked up what the opt-out list means here: remove {store.path(BUILD_FILE)} too, "
            "and the next build honours the list, but its receipts cannot say what left."
        ) from error
    drafted = _draft(store, record, departures, draft)
    drafted.write(store)
    return drafted, finished


def _drop_given_again(store: Store) -> None:
    """Delete the receipts that a killed purge had given again, with the word that it was one, and not yet deleted."""
    names = {name: match[1] for name in store.names(RECEIPTS) if (match := RECEIPT_NAME.fullmatch(name))}
    keys = Counter(names.values())
    for name in [name for name, key in names.items() if keys[key] > 1]:
        receipt = load(store.file(name))
        again = f"{RECEIPTS}/{replace(receipt, purged=True).id}.json"
        if again != name and again in names:
            store.delete(name)


def _receipted(store: Store, requests: Iterable[Request], rule: str) -> dict[str, Departure]:
    """Return what receipts under the rule `own` tell of, where by the rule of now every copy has to follow."""
    if rule == "own":
        return {}
    given, found = _given(store), {}
    for request in requests:
        if name := given.get(request_key(request, "own")):
            receipt = load(store.file(name))
            documents = tuple(replace(one, released=False, elsewhere=False) for one in receipt.documents)
            departure = Departure(request=request, rule=rule, origins=receipt.origins, documents=documents)
            found[departure.key] = departure
    return found


def _last_build(store: Store) -> BuildRecord | None:
    """Return the record of the last build, or None; a damaged one is written anew by the build that follows."""
    try:
        return read_build(store)
    except StoreFault:
        raise
    except StarsmithError:
        return None


def _draft(store: Store, record: BuildRecord | None, departures: Iterable[Departure], earlier: Draft | None) -> Draft:
    """Return the draft of a build, with what an earlier one says of the same requests.

    A build that stopped before its release has taken documents from the tables that a release still holds.
    """
    known = {each.key: each for each in earlier.departures} if earlier else {}
    together = tuple(each.with_earlier(known[each.key]) if each.key in known else each for each in departures)
    before, files = (earlier.before, earlier.files) if earlier else (None, {})
    if record is not None and record.release is not None and store.exists(f"{record.release}/{MANIFEST}"):
        before, manifest = _named(store, record.release)
        files = {name: file.sha256 for name, file in manifest.files.items()}
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Draft(time=time, build=build_digest(store), before=before, files=files, departures=together)


def _named(store: Store, release: str) -> tuple[NamedRelease, Manifest]:
    manifest = read_manifest(store.file(release))
    return NamedRelease(name=release.rpartition("/")[2], manifest=manifest.digest), manifest


def after(store: Store, record: BuildRecord, draft: Draft | None) -> Proof:
    """Prove what a build took away; with a build that stopped before its release the draft waits for the next.

    Raises StarsmithError, and proves nothing, if something that was to leave is still in the release.
    """
    if record.release is not None and store.exists(f"{record.release}/{WITHDRAWN}"):
        # The list has become shorter: what was withdrawn is the release again.
        store.delete(f"{record.release}/{WITHDRAWN}")
    if draft is None or record.release is None:
        return Proof()
    named, manifest = _named(store, record.release)
    receipts = _receipts(store, draft, record, named, manifest)
    delta, changes = _delta(store, draft, named)
    _withdraw(store, draft, receipts, named, manifest)
    receipts = [replace(each, delta=delta, returned=changes.arrived) for each in receipts]
    names = tuple(write_receipt(store, receipt) for receipt in receipts)
    store.delete(DRAFT_FILE)
    return _proof(receipts, names)


def _proof(receipts: list[Receipt], names: tuple[str, ...]) -> Proof:
    first = receipts[0]
    documents = {(each.origin_url, each.path): each.released for receipt in receipts for each in receipt.documents}
    replaced = first.before if first.before is not None and first.before != first.after and documents else None
    return Proof(
        receipts=names,
        delta=None if first.delta is None else f"{RECEIPTS}/{first.delta.file}",
        before=None if replaced is None else replaced.name,
        origins=len({origin.url for receipt in receipts for origin in receipt.origins}),
        documents=len(documents),
        released=sum(documents.values()),
        returned=first.returned,
        files=len(first.shards),
    )


def write_receipt(store: Store, receipt: Receipt) -> str:
    """Write a receipt; return its name in the workspace."""
    name = f"{RECEIPTS}/{receipt.id}.json"
    store.write(name, receipt.dumps(), private=True)
    return name


def _receipts(
    store: Store, draft: Draft, record: BuildRecord, named: NamedRelease, manifest: Manifest
) -> list[Receipt]:
    """Look through the new release for what was to leave; return the receipts, which say what has copies in it.

    Raises StarsmithError if any of it is still there.
    """
    shards = _changed_files(draft, manifest)
    found = _found(store, draft, record, named, manifest)
    receipts = [
        Receipt(
            request=each.request,
            rule=each.rule,
            time=draft.time,
            before=draft.before,
            after=named,
            origins=each.origins,
            documents=tuple(replace(one, elsewhere=one.swhid in found.swhids) for one in each.documents),
            returned=0,
            shards=shards,
            delta=None,
            purged=False,
        )
        for each in draft.departures
    ]
    if wrong := len(found.urls) + sum(len(receipt.contents_everywhere & found.swhids) for receipt in receipts):
        raise StarsmithError(
            f"The release {store.path(f'releases/{named.name}')} still holds {wrong:,} origins or contents that were "
            "to leave it. No receipt was written; please report this with the recipe."
        )
    return receipts


def _found(store: Store, draft: Draft, record: BuildRecord, named: NamedRelease, manifest: Manifest) -> FoundRows:
    """Look through the files that changed and, for all others, the table that they were made from.

    `opt-out verify` looks through every file.
    """
    origins = {origin.url for each in draft.departures for origin in each.origins}
    contents = {one.swhid for each in draft.departures for one in each.documents if one.swhid is not None}
    found = FoundRows(origins={}, listed=set(), swhids=set())
    if not origins and not contents:
        return found
    same = {name for name, file in manifest.files.items() if draft.files.get(name) == file.sha256}
    folder = store.file(f"releases/{named.name}")
    found = find_rows(folder, manifest, origins=origins, swhids=contents, files=manifest.files.keys() - same)
    if same:
        _find_released(store, record.table("released", _WHOSE), origins, contents, found)
    return found


def _find_released(store: Store, table: Table, origins: set[str], contents: set[str], found: FoundRows) -> None:
    """Look through the rows of a release in the tables, and add to what was found."""
    urls = pa.array(sorted(origins), pa.string())
    ids = pa.array(sorted(parse_swhid(each)[1] for each in contents), _WHOSE.field("content_id").type)
    own, same = pc.field("url").isin(urls), pc.field("content_id").isin(ids)
    with reading(store, table.parts):
        rows = table.dataset(store).to_table(filter=own | same)
    for url, content in zip(rows["url"].to_pylist(), rows["content_id"].to_pylist(), strict=True):
        if url in origins:
            found.origins[url] = found.origins.get(url, 0) + 1
        else:
            found.swhids.add(swhid("cnt", content))


def _changed_files(draft: Draft, manifest: Manifest) -> tuple[ChangedFile, ...]:
    after = {name: file.sha256 for name, file in manifest.files.items()}
    return tuple(
        ChangedFile(file=name, before=draft.files.get(name), after=after.get(name))
        for name in sorted(draft.files.keys() | after.keys())
        if draft.files.get(name) != after.get(name)
    )


def _delta(store: Store, draft: Draft, named: NamedRelease) -> tuple[NamedDelta | None, Changes]:
    """Write the delta from the old release to the new one, if they differ and the old one is there."""
    old = draft.before
    if old is None or old == named or not store.exists(f"releases/{old.name}/{MANIFEST}"):
        return None, _NO_CHANGES
    file_name = f"{old.name}-{named.name}.delta.zip"
    name = f"{RECEIPTS}/{file_name}"
    with store.spool() as file:
        changes = write_delta(store.file(f"releases/{old.name}"), store.file(f"releases/{named.name}"), file)
        store.publish(file, name, private=True)
    digest = sha256_of(store.file(name))
    assert digest is not None, "it was written just now"
    return NamedDelta(file=file_name, sha256=digest), changes


def _withdraw(store: Store, draft: Draft, receipts: Iterable[Receipt], named: NamedRelease, manifest: Manifest) -> None:
    """Mark the old release, and every other that holds what left."""
    receipts = list(receipts)
    documents = [document for each in receipts for document in each.documents]
    if not documents:
        return
    mark = to_json({"replaced_by": named.name, "time": receipts[0].time})
    origins = {origin.url for each in receipts for origin in each.origins}
    contents = {document.swhid for document in documents if document.swhid is not None and not document.elsewhere}
    clean = {file.sha256 for file in manifest.files.values()}
    for name in _releases(store):
        folder = f"releases/{name}"
        if name == named.name or store.exists(f"{folder}/{WITHDRAWN}"):
            continue
        is_old = draft.before is not None and name == draft.before.name
        if is_old or _holds(store.file(folder), origins, contents, clean):
            store.write(f"{folder}/{WITHDRAWN}", mark)


def _holds(folder: Located, origins: set[str], contents: set[str], clean: set[str]) -> bool:
    """Whether a release holds what left; files with a digest in `clean` are known not to."""
    try:
        manifest = read_manifest(folder)
        others = [name for name, file in manifest.files.items() if file.sha256 not in clean]
        found = find_rows(folder, manifest, origins=origins, swhids=contents, files=others)
    except StoreFault:
        raise
    except StarsmithError:
        # Nobody can say what a damaged release still holds, so nobody should use it.
        return True
    return bool(found.urls or found.swhids)


def _releases(store: Store) -> list[str]:
    """Return the names of all finished releases of a workspace."""
    names = store.names("releases")
    return [name.split("/")[1] for name in names if name.count("/") == 2 and name.endswith(f"/{MANIFEST}")]
