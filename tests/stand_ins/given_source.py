"""A source whose documents are given, in place of repositories."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from starsmith.document import Origin, RawDocument
from starsmith.settings import CollectSettings
from starsmith.sources import PathRange


@dataclass(frozen=True)
class GivenSource:
    """Hands over its documents, and can neither be looked for nor described."""

    documents: tuple[RawDocument, ...] = ()

    def locate(self) -> list[str]:
        raise NotImplementedError

    def describe(self, location: str, *, shard_documents: int) -> Origin:
        raise NotImplementedError

    def times(self, origin: Origin) -> dict[bytes, int]:
        return {each.path: each.committed_at for each in self.documents if each.committed_at is not None}

    def read(
        self, origin: Origin, part: PathRange, settings: CollectSettings, times: Mapping[bytes, int] | None = None
    ) -> Iterator[RawDocument]:
        for each in self.documents:
            if each.path in part:
                known = each.committed_at if times is None else times.get(each.path)
                yield replace(each, committed_at=known)
