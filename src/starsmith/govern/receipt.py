"""Receipts: what was removed from a release because somebody asked, for that somebody to keep.

A receipt tells of one request and of nobody else's: which origins and documents left, which release replaced which, and
which of its files changed, by their digests. Whoever holds it and the release can check it (`verification`); nothing
else is needed, and nothing in it says where anything lies on the machine that wrote it. The requester's note is private
and stays out.

No section of the paper. This module reads no workspace and removes nothing.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from starsmith.collect import is_owned
from starsmith.document import file_name_of, origin_id, parse_swhid
from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.govern.foreign_json import SHA256, Fields, parse, read_file
from starsmith.govern.foreign_text import counted
from starsmith.govern.opt_out import OptOuts, Request
from starsmith.govern.opt_out_spelling import KINDS
from starsmith.govern.release_folder import FILE
from starsmith.storage import Located, to_json

FORMAT: Final = 1
LARGEST: Final = 1 << 30
"""Bytes of a receipt: 200 per document, so five million documents of one requester."""

RULES: Final = {
    "own": "What lay in the origins that the request names left. A copy of a content in another origin may stay.",
    "every": "What lay in the origins that the request names left, and every copy of its contents elsewhere, but for "
    "empty files and the texts of licences, which are nobody's.",
}
"""What leaves, by the recipe's rule for copies."""
CONTENT_RULE: Final = "Every copy of the content that the request names left, wherever it lay."

_WHAT_IT_IS: Final = (
    "A receipt is a JSON file that `starsmith opt-out apply` writes, one for each request, into the folder receipts of "
    "a workspace; give it first, and then the folder of the release."
)
_KEY_DIGITS: Final = 16
_ID: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}")
_SWHID: Final = re.compile(r"swh:1:cnt:[0-9a-f]{40}")
_HEX_ID: Final = re.compile(r"[0-9a-f]{40}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_NAME: Final = re.compile(r"[0-9a-f]{1,64}")
_DELTA: Final = re.compile(r"[0-9a-f-]{1,100}\.delta\.zip")


@dataclass(frozen=True, kw_only=True, slots=True)
class RemovedOrigin:
    """An origin that left, with the names and ids (hex) by which a request can name it."""

    url: str
    owner: str
    name: str
    source: str
    revision: str | None
    directory: str | None

    @property
    def origin_id(self) -> bytes:
        return origin_id(self.url)

    @property
    def revision_id(self) -> bytes | None:
        return None if self.revision is None else bytes.fromhex(self.revision)

    @property
    def directory_id(self) -> bytes | None:
        return None if self.directory is None else bytes.fromhex(self.directory)


@dataclass(frozen=True, kw_only=True, slots=True)
class RemovedDocument:
    """A document that left. `released`: it was in the old release; `elsewhere`: another origin's copy is in the new.

    `swhid` is None where the content was never taken in.
    """

    origin_url: str
    path: str
    swhid: str | None
    released: bool
    elsewhere: bool = False

    @property
    def is_owned(self) -> bool:
        """Whether its content is anybody's: every copy of it leaves, where the rule is that every copy does."""
        return self.swhid is not None and is_owned(parse_swhid(self.swhid)[1], file_name_of(self.path))


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedRelease:
    """A release by the name of its folder and the SHA-256 of its manifest."""

    name: str
    manifest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangedFile:
    """A file of a release that changed, appeared or vanished: its SHA-256 before and after, None where it is not."""

    file: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedDelta:
    """The delta between the two releases, by its SHA-256."""

    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What one request removed. `before` is None if there was no release; `time` is ISO 8601 in UTC.

    `returned` counts the documents that only the new release has, copies of what left most of all. `purged` says
    whether everything was also deleted from the workspace, older releases included.
    """

    request: Request
    rule: str
    time: str
    before: NamedRelease | None
    after: NamedRelease
    origins: tuple[RemovedOrigin, ...]
    documents: tuple[RemovedDocument, ...]
    returned: int
    shards: tuple[ChangedFile, ...]
    delta: NamedDelta | None
    purged: bool

    @property
    def key(self) -> str:
        return request_key(self.request, self.rule)

    @property
    def id(self) -> str:
        """What the receipt is called: which request it is of, and a digest of all that it says."""
        return f"{self.key}-{hashlib.sha256(to_json(self._said())).hexdigest()[:32]}"

    @property
    def contents_everywhere(self) -> set[str]:
        """The contents that no document may have any more, wherever it comes from."""
        if names_content(self.request):
            return {self.request.value}
        if self.rule == "own":
            return set()
        urls = {origin.url for origin in self.origins}
        own = (each for each in self.documents if each.origin_url in urls and each.is_owned)
        return {each.swhid for each in own if each.swhid is not None}

    @property
    def rule_words(self) -> str:
        return CONTENT_RULE if names_content(self.request) else RULES[self.rule]

    @property
    def counts(self) -> dict[str, int]:
        return {
            "origins": len(self.origins),
            "documents": len(self.documents),
            "released": sum(document.released for document in self.documents),
            "elsewhere": sum(document.elsewhere for document in self.documents),
            "returned": self.returned,
            "files": len(self.shards),
        }

    def words(self) -> str:
        """Return in a sentence what the request did."""
        counts = self.counts
        if not self.origins and not self.documents:
            if self.before is None:
                return "There was no release before; what the request names is not in this one."
            return "Nothing that the request names was there to leave."
        return (
            f"{counted(counts['origins'], 'origin')} and {counted(counts['documents'], 'document')} left, "
            f"{counts['released']:,} of which were in the release."
        )

    def dumps(self) -> bytes:
        """Return the receipt as JSON; `loads` gives it back."""
        return to_json({"id": self.id, **self._said()})

    def _said(self) -> dict[str, Any]:
        request = self.request
        return {
            "format": FORMAT,
            "request": {"kind": request.kind, "value": request.value, "aliases": list(request.aliases)},
            "rule": self.rule,
            "rule_words": self.rule_words,
            "words": self.words(),
            "counts": self.counts,
            "time": self.time,
            "before": None if self.before is None else asdict(self.before),
            "after": asdict(self.after),
            "origins": [asdict(origin) for origin in self.origins],
            "documents": [asdict(document) for document in self.documents],
            "shards": [asdict(shard) for shard in self.shards],
            "delta": None if self.delta is None else asdict(self.delta),
            "purged": self.purged,
        }


def request_key(request: Request, rule: str) -> str:
    """Return what tells a request under a rule from every other; its note and date do not matter."""
    return fingerprint([request.kind, request.value, sorted(request.aliases), rule])[:_KEY_DIGITS]


def names_content(request: Request) -> bool:
    """Whether a request is for a content, wherever it lies, and not for an origin."""
    return request.kind == "swhid" and request.value.startswith("swh:1:cnt:")


def load(path: Located) -> Receipt:
    """Return the receipt in a file.

    Raises StarsmithError for what is no receipt, or one that was changed after it was written.
    """
    return loads(read_file(path, most=LARGEST, what="receipt"), name=str(path))


def loads(data: bytes, *, name: str) -> Receipt:
    """Return the receipt that is in JSON in `data`; `name` is what errors call it.

    Raises StarsmithError as `load` does.
    """
    where = f"The receipt {name}"
    fields = _fields(data, name)
    if (found := fields.number("format")) != FORMAT:
        raise StarsmithError(f"{where} is of format {found}; this version of Starsmith reads {FORMAT}.")
    receipt = _receipt(fields)
    if fields.text("id", _ID) != receipt.id or data != receipt.dumps():
        raise StarsmithError(f"{where} was changed after it was written: its id does not follow from what it says.")
    if contradiction := _contradiction(receipt):
        raise StarsmithError(f"{where} contradicts itself: {contradiction}.")
    return receipt


def _fields(data: bytes, name: str) -> Fields:
    """Return the members of a receipt; whoever gave another file is told what one is."""
    try:
        fields = parse(data, f"The receipt {name}")
    except StarsmithError as error:
        raise StarsmithError(f"{name} is no receipt: it is not one JSON object. {_WHAT_IT_IS}") from error
    if missing := sorted({"format", "id", "request"} - fields.members.keys()):
        raise StarsmithError(f"{name} is no receipt: it has no {missing[0]!r}. {_WHAT_IT_IS}")
    return fields


def _receipt(fields: Fields) -> Receipt:
    before, delta = fields.fields_or_none("before"), fields.fields_or_none("delta")
    return Receipt(
        request=read_request(fields.fields("request")),
        rule=fields.choice("rule", RULES),
        time=fields.text("time", _TIME),
        before=None if before is None else read_named_release(before),
        after=read_named_release(fields.fields("after")),
        origins=tuple(map(read_origin, fields.objects("origins"))),
        documents=tuple(map(read_document, fields.objects("documents"))),
        returned=fields.fields("counts").number("returned"),
        shards=tuple(map(_shard, fields.objects("shards"))),
        delta=None if delta is None else _delta(delta),
        purged=fields.flag("purged"),
    )


def read_request(fields: Fields) -> Request:
    """Return the request of a receipt."""
    kind, aliases = fields.choice("kind", KINDS), fields.texts("aliases")
    return Request(kind=kind, value=fields.text("value"), aliases=aliases)


def read_named_release(fields: Fields) -> NamedRelease:
    """Return a release that a receipt names."""
    return NamedRelease(name=fields.text("name", _NAME), manifest=fields.text("manifest", SHA256))


def _delta(fields: Fields) -> NamedDelta:
    return NamedDelta(file=fields.text("file", _DELTA), sha256=fields.text("sha256", SHA256))


def read_origin(fields: Fields) -> RemovedOrigin:
    """Return an origin of a receipt."""
    names = {name: fields.text(name) for name in ("url", "owner", "name", "source")}
    ids = {name: fields.text_or_none(name, _HEX_ID) for name in ("revision", "directory")}
    return RemovedOrigin(**names, **ids)  # type: ignore[arg-type]


def read_document(fields: Fields) -> RemovedDocument:
    """Return a document of a receipt."""
    return RemovedDocument(
        origin_url=fields.text("origin_url"),
        path=fields.text("path"),
        swhid=fields.text_or_none("swhid", _SWHID),
        released=fields.flag("released"),
        elsewhere=fields.flag("elsewhere"),
    )


def _shard(fields: Fields) -> ChangedFile:
    return ChangedFile(
        file=fields.text("file", FILE),
        before=fields.text_or_none("before", SHA256),
        after=fields.text_or_none("after", SHA256),
    )


def _contradiction(receipt: Receipt) -> str | None:
    """Say what in a receipt cannot be, so that documents of somebody else do not pass for those of a request."""
    return next(_contradictions(receipt), None)


def _contradictions(receipt: Receipt) -> Iterator[str]:
    try:
        asked = OptOuts(requests=(replace(receipt.request, note="", added=""),))
    except StarsmithError as error:
        yield f"its request is none ({error})"
        return
    for origin in receipt.origins:
        if not asked.matching(origin):
            yield f"the request does not name the origin {origin.url}"
    urls = {origin.url for origin in receipt.origins}
    everywhere = receipt.contents_everywhere
    for document in receipt.documents:
        if document.origin_url not in urls and document.swhid not in everywhere:
            yield f"the request does not name {document.origin_url}, nor does the rule reach it"
        if document.elsewhere and document.swhid in everywhere:
            yield "its rule leaves no copies, and it says that there is one"
