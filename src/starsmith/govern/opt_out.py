"""The opt-out list of a workspace: who asked to be left out, and which origins and contents that means.

A request names an owner, a repository, a place (the beginning of a URL) or an object by its SWHID, with former names
as aliases. It holds for what is there today and for what a later build finds. The list is private: it lies in the
workspace under `opt_outs/`, to be read by its owner alone, and no release, card, report or log says more than how many
requests there are.

Section 6 of the paper tells of opt-outs; the rules of matching are Starsmith's and stand in `opt_out_names`. This
module removes nothing: collect leaves out what it says.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from starsmith.document import ID_BYTES, content_id, parse_swhid
from starsmith.errors import StarsmithError, StoreFault
from starsmith.govern.opt_out_names import (
    REGISTRIES,
    Named,
    folded,
    names_of,
    owner_name,
    package_place,
    place_key,
    place_of,
    repository_name,
)
from starsmith.govern.opt_out_spelling import KINDS, MOST_CHARS, checked_name, checked_note
from starsmith.storage import Store, sealed, unsealed

REQUESTS_FILE: Final = "opt_outs/requests.json"
CONTENTS_FILE: Final = "opt_outs/contents.parquet"
FORMAT: Final = 1
CONTENTS: Final = pa.schema([pa.field("content_id", pa.binary(ID_BYTES), nullable=False)])
"""The contents that have left with their origins; one row each, sorted."""

_EMPTY_CONTENT: Final = content_id(b"")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request to be left out. `kind` is one of KINDS; `added` is the time in ISO 8601, UTC, to the second.

    `checked` makes one from what a person wrote; a request in any other spelling means the same.
    """

    kind: str
    value: str
    aliases: tuple[str, ...] = ()
    note: str = ""
    added: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.value, *self.aliases)


def checked(request: Request) -> Request:
    """Return a request in the form in which it is kept: trimmed, in Unicode's composed form, dated.

    Raises StarsmithError that says what was found and expected; it does not repeat what holds a credential.
    """
    if request.kind not in KINDS:
        raise StarsmithError(f"{request.kind!r} is no kind of request; expected {', '.join(KINDS)}.")
    if request.kind == "swhid" and request.aliases:
        raise StarsmithError("A SWHID has no former names; make a request for each SWHID.")
    value = checked_name(request.kind, request.value)
    aliases = dict.fromkeys(checked_name(request.kind, alias) for alias in request.aliases)
    aliases.pop(value, None)
    return Request(
        kind=request.kind,
        value=value,
        aliases=tuple(aliases),
        note=checked_note(request.note),
        added=request.added or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def identity(request: Request) -> tuple[str, str]:
    """Return what two spellings of the same request have in common: they are kept as one."""
    if request.kind == "origin":
        return request.kind, place_key(place_of(request.value) or (request.value,))
    if request.kind == "swhid":
        return request.kind, request.value
    return request.kind, folded(_name_key(request.kind, request.value))


def _name_key(kind: str, name: str) -> str:
    name = name.strip().rstrip("/")
    if kind == "owner":
        return owner_name(name)
    owner, _, last = name.rpartition("/")
    return repository_name(owner, last)


@dataclass(frozen=True, slots=True)
class _Index:
    """Numbers of requests by what they are looked up by. Names stand in both forms, as spelled and case folded."""

    owners: dict[str, list[int]] = field(default_factory=dict)
    repositories: dict[str, list[int]] = field(default_factory=dict)
    folded_owners: dict[str, list[int]] = field(default_factory=dict)
    folded_repositories: dict[str, list[int]] = field(default_factory=dict)
    places: dict[str, list[int]] = field(default_factory=dict)
    objects: dict[tuple[str, bytes], list[int]] = field(default_factory=dict)

    def add(self, number: int, kind: str, name: str) -> None:
        if kind == "swhid":
            self.objects.setdefault(parse_swhid(name), []).append(number)
        elif kind == "origin":
            parts = place_of(name)
            self.places.setdefault(place_key(parts) if parts else name, []).append(number)
        else:
            self._add_name(number, kind, name)

    def _add_name(self, number: int, kind: str, name: str) -> None:
        exact, anyhow = (
            (self.owners, self.folded_owners) if kind == "owner" else (self.repositories, self.folded_repositories)
        )
        key = _name_key(kind, name)
        exact.setdefault(key, []).append(number)
        anyhow.setdefault(folded(key), []).append(number)
        registry, _, package = name.partition("/")
        if kind == "repository" and registry.lower() in REGISTRIES:
            place = folded(package_place(registry.lower(), package))
            self.places.setdefault(place, []).append(number)

    def find(self, origin: Named) -> set[int]:
        """Return the numbers of all requests that name an origin."""
        names = names_of(origin)
        owners = self.folded_owners if names.ignores_case else self.owners
        repositories = self.folded_repositories if names.ignores_case else self.repositories
        found: set[int] = set()
        for index, keys in ((owners, names.owners), (repositories, names.repositories), (self.places, names.places)):
            if index:
                for key in keys:
                    found.update(index.get(key, ()))
        if self.objects:
            ids = (("ori", origin.origin_id), ("rev", origin.revision_id), ("dir", origin.directory_id))
            for kind, identifier in ids:
                if identifier is not None:
                    found.update(self.objects.get((kind, identifier), ()))
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class OptOuts:
    """All requests in the order in which they were added, and the 20-byte ids of contents known to have left.

    `contents` holds what `recorded` says and the contents that a request names.
    """

    requests: tuple[Request, ...] = ()
    recorded: frozenset[bytes] = frozenset()
    contents: frozenset[bytes] = field(init=False, default=frozenset())
    _index: _Index = field(init=False, repr=False, compare=False, default_factory=_Index)

    def __post_init__(self) -> None:
        for number, request in enumerate(self.requests):
            for name in request.names:
                self._index.add(number, request.kind, name)
        asked = {identifier for kind, identifier in self._index.objects if kind == "cnt"}
        object.__setattr__(self, "contents", self.recorded | asked)

    def matching(self, origin: Named) -> tuple[Request, ...]:
        """Return the requests that name an origin, in the order in which they were added.

        A request for a content names no origin: its documents are told by `contents`.
        """
        return tuple(self.requests[number] for number in sorted(self._index.find(origin))) if self.requests else ()

    def is_left(self, origin: Named) -> bool:
        """Whether any request names an origin."""
        return bool(self.requests) and bool(self._index.find(origin))


def read(store: Store) -> OptOuts:
    """Return the list of a workspace, empty if nobody has asked.

    Raises StarsmithError if a file of it is damaged: what is not known to be the whole list must not pass for it.
    """
    return OptOuts(requests=_read_requests(store), recorded=_read_contents(store))


def _read_requests(store: Store) -> tuple[Request, ...]:
    if not store.exists(REQUESTS_FILE):
        return ()
    try:
        plain = unsealed(store.read(REQUESTS_FILE))
        if plain["format"] != FORMAT:
            raise ValueError(f"it has format {plain['format']!r}, not {FORMAT}")
        return tuple(_request(each) for each in plain["requests"])
    except StoreFault:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, StarsmithError) as error:
        raise _damaged(store, REQUESTS_FILE, error) from error


def _request(plain: Mapping[str, Any]) -> Request:
    request = Request(**{**plain, "aliases": tuple(plain["aliases"])})
    if not all(isinstance(text, str) for text in (*request.names, request.note, request.added)) or not request.added:
        raise ValueError("a member of a request is no text")
    # Whatever is kept has been checked; a name that fails now is not the one that was written.
    if checked(request) != request:
        raise ValueError("a request is not as it was written")
    return request


def _read_contents(store: Store) -> frozenset[bytes]:
    if not store.exists(CONTENTS_FILE):
        return frozenset()
    try:
        table = pq.read_table(store.open(CONTENTS_FILE), page_checksum_verification=True)
        return frozenset(table.cast(CONTENTS)["content_id"].to_pylist())
    except (pa.ArrowException, OSError, ValueError) as error:
        if said := store.fault(error):
            raise StoreFault(said) from error
        raise _damaged(store, CONTENTS_FILE, error) from error


def _damaged(store: Store, name: str, error: Exception) -> StarsmithError:
    reason = str(error).partition("\n")[0].rstrip(".")
    return StarsmithError(
        f"The opt-out list {store.path(name)} is damaged: {reason}. Nothing is built without it. "
        "Bring it back from a copy, or remove it and import the requests again."
    )


def add(store: Store, request: Request) -> bool:
    """Put one request on the list; return whether that changed anything.

    One that is there already gets its new aliases and note. Raises StarsmithError for a malformed request.
    """
    return add_all(store, [request])[0]


def add_all(store: Store, requests: Sequence[Request]) -> list[bool]:
    """Put requests on the list, written once; return for each whether it changed anything.

    Raises StarsmithError for a malformed one; none is added then.
    """
    return put(store, [checked(request) for request in requests])


def put(store: Store, requests: Sequence[Request]) -> list[bool]:
    """Put requests on the list that `checked` has given; otherwise like `add_all`."""
    listed = {identity(each): each for each in read(store).requests}
    changes = [_merge(listed, request) for request in requests]
    if any(changes):
        plain = {"format": FORMAT, "requests": [asdict(each) for each in listed.values()]}
        store.write(REQUESTS_FILE, sealed(plain), private=True)
    return changes


def _merge(listed: dict[tuple[str, str], Request], request: Request) -> bool:
    key = identity(request)
    known = listed.setdefault(key, request)
    if known is request:
        return True
    # A spelling in other letters may be another name on a host that tells case apart.
    names = request.names if request.kind in ("owner", "repository") else request.aliases
    aliases = tuple(name for name in dict.fromkeys((*known.aliases, *names)) if name != known.value)
    note = known.note if request.note in known.note else "; ".join(filter(None, (known.note, request.note)))
    listed[key] = replace(known, aliases=aliases, note=note[:MOST_CHARS].rstrip())
    return listed[key] != known


def record_contents(store: Store, ids: Iterable[bytes]) -> bool:
    """Add contents that have left with their origins to those that are kept out; return whether there were new ones.

    The empty content stays out of it: it is nobody's.
    """
    known = _read_contents(store)
    together = known | set(ids) - {_EMPTY_CONTENT}
    if together == known:
        return False
    table = pa.table([pa.array(sorted(together), CONTENTS.field(0).type)], schema=CONTENTS)
    sink = BytesIO()
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_page_checksum=True)
    store.write(CONTENTS_FILE, sink.getvalue(), private=True)
    return True
