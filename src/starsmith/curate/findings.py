"""Where something stands that must not be published: kind and position, never the value.

Section 5 of the paper's data description names the kinds. Findings are the only evidence that is kept, so they hold
neither the value nor a digest of it: short values could be guessed back from a digest. What is found is the business
of `secrets` and `personal_data`, what is done about it that of `redact`.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from starsmith.curate.kernel import Indices, read_only

PRIVATE_KEY: Final = "private_key"
TOKEN: Final = "token:"  # noqa: S105
"""The beginning of the kind of every token whose issuer is known by its format, as in ``token:github``."""
PASSWORD: Final = "password"  # noqa: S105
KEY: Final = "key"
EMAIL: Final = "email"
IPV6: Final = "ipv6"
IPV4: Final = "ipv4"
NAME: Final = "name"
USER_NAME: Final = "username"

PRECEDENCE: Final = (PRIVATE_KEY, TOKEN, PASSWORD, KEY, EMAIL, IPV6, IPV4, NAME, USER_NAME)
"""Where findings overlap, the kind that stands first here stays; of one kind the one that begins first, then the
longer one."""

GROUPS: Final = ("emails", "ip_addresses", "keys", "passwords", "names")
"""The kinds as they are counted and reported: tokens and private keys are keys."""
_GROUP_OF: Final = {
    EMAIL: "emails",
    IPV4: "ip_addresses",
    IPV6: "ip_addresses",
    KEY: "keys",
    PRIVATE_KEY: "keys",
    PASSWORD: "passwords",
    NAME: "names",
}

_SCHEMA: Final = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
    ]
)


class Span(NamedTuple):
    """One finding: bytes [start, end) of the text in `row`."""

    row: int
    kind: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Findings in a batch of texts, sorted by row and start, none overlapping another.

    `row`, `start`, `end`: int64 arrays of one length, `kind` as long; `start` and `end` are byte offsets into the text.
    """

    row: Indices
    kind: tuple[str, ...]
    start: Indices
    end: Indices

    def __len__(self) -> int:
        return len(self.kind)

    def spans(self) -> list[Span]:
        """Return the findings one by one."""
        return list(map(Span, self.row.tolist(), self.kind, self.start.tolist(), self.end.tolist()))

    def to_batch(self) -> pa.RecordBatch:
        """Return the findings as Arrow columns row, kind, start, end."""
        columns = [pa.array(self.row), pa.array(self.kind, pa.string()), pa.array(self.start), pa.array(self.end)]
        return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def rank(kind: str) -> int:
    """Return the place of a kind in PRECEDENCE. Raises ValueError for a kind that is not known.

    >>> rank("token:github") < rank("password") < rank("email")
    True
    """
    return PRECEDENCE.index(TOKEN if kind.startswith(TOKEN) else kind)


def group_of(kind: str) -> str | None:
    """Return which of GROUPS a kind is counted under; None for one that is not replaced.

    >>> group_of("token:github"), group_of("username")
    ('keys', None)
    """
    return "keys" if kind.startswith(TOKEN) else _GROUP_OF.get(kind)


def resolve(spans: Iterable[Span]) -> Findings:
    """Return the spans in order, overlaps settled by PRECEDENCE.

    >>> resolve([Span(0, "email", 4, 9), Span(0, "password", 0, 5)]).spans()
    [Span(row=0, kind='password', start=0, end=5)]
    """
    by_row: dict[int, list[Span]] = {}
    for span in spans:
        by_row.setdefault(span.row, []).append(span)
    chosen = [span for row in sorted(by_row) for span in _without_overlaps(by_row[row])]
    return Findings(
        row=_column([span.row for span in chosen]),
        kind=tuple(span.kind for span in chosen),
        start=_column([span.start for span in chosen]),
        end=_column([span.end for span in chosen]),
    )


def _without_overlaps(spans: list[Span]) -> list[Span]:
    """Settle the overlaps in one row: one pass for each group of spans that touch, so that many spans cost little."""
    chosen: list[Span] = []
    group: list[Span] = []
    reach = -1
    for span in sorted(set(spans), key=lambda span: (span.start, span.end)):
        if span.start >= reach:
            chosen += _best(group)
            group = []
        group.append(span)
        reach = max(reach, span.end)
    return chosen + _best(group)


def _best(group: list[Span]) -> list[Span]:
    if len(group) < 2:
        return group
    chosen: list[Span] = []
    for span in sorted(group, key=lambda span: (rank(span.kind), span.start, -span.end)):
        place = bisect_left(chosen, span.start, key=lambda other: other.start)
        free_before = place == 0 or chosen[place - 1].end <= span.start
        if free_before and (place == len(chosen) or span.end <= chosen[place].start):
            chosen.insert(place, span)
    return chosen


def _column(values: Sequence[int]) -> Indices:
    return read_only(np.array(values, np.int64))
