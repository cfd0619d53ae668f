"""The ledger: exactly one verdict for every document of a build, and the sums that must hold.

Decision stages write the documents they drop; what no stage dropped is kept. The ledger puts both together and adds
the place of every kept document in the release.
"""

import pyarrow as pa

from starsmith.document import ID_BYTES
from starsmith.errors import StarsmithError

_ID = pa.binary(ID_BYTES)

DROPS = pa.schema(
    [
        pa.field("document_id", _ID, nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("winner_id", _ID),
        pa.field("similarity", pa.float64()),
        pa.field("detail", pa.string()),
    ]
)
"""One row per dropped document: the stage and reason, and the evidence (value against threshold, or the winner)."""

LEDGER = pa.schema(
    [
        pa.field("document_id", _ID, nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("origin_id", _ID, nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("content_id", _ID),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("winner_id", _ID),
        pa.field("similarity", pa.float64()),
        pa.field("detail", pa.string()),
    ]
)
"""One row per document. `verdict` is `keep` or a reason; `stage` is the one that dropped it, or `release`."""

LEDGER_QUERY = """
SELECT facts.document_id, facts.shard, facts.origin_id, facts.path, facts.content_id, facts.length,
       coalesce(dropped.stage, 'release') AS stage, coalesce(dropped.reason, 'keep') AS verdict,
       dropped.value, dropped.threshold, dropped.winner_id, dropped.similarity, dropped.detail
FROM facts
LEFT JOIN dropped ON dropped.document_id = facts.document_id"""

COUNTS = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)
"""Documents and bytes of the ledger, by stage and verdict."""

COUNTS_QUERY = """
SELECT stage, verdict, sum(documents) AS documents, sum(bytes) AS bytes
FROM totals
GROUP BY stage, verdict"""
"""`totals` holds what shards count of their part of the ledger (`summary`)."""


def check_sums(*, collected: int, dropped: dict[str, int], ledger: int, kept: int) -> None:
    """Raise unless every collected document has exactly one verdict.

    A failure here is a fault of Starsmith, not of the input; nothing is published after it.
    """
    if ledger != collected or kept + sum(dropped.values()) != collected:
        raise StarsmithError(
            f"The ledger does not add up: {collected} documents collected, {ledger} in the ledger, {kept} kept and "
            f"{dropped} dropped. Nothing was released; please report this with the recipe."
        )
