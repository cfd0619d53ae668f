"""Tables that many items speak of travel once."""

import pyarrow as pa

from starsmith.engines.shared_tables import pack, unpack
from starsmith.near import SHINGLES, DecideGroup
from starsmith.settings import NearDuplicateSettings
from starsmith.table import Part, Table


def part(number: int) -> Part:
    digest = f"{number:064x}"
    return Part(shard=digest[:16], name=f"tables/t/{digest}.parquet", rows=1, bytes=1, digest=digest)


def test_items_come_back_and_tables_are_sent_once():
    shingles = Table(name="shingles", schema=SHINGLES, parts=tuple(map(part, range(1000))))
    small = Table(name="t", schema=pa.schema([("n", pa.int64())]), parts=(part(7),))
    items = [
        DecideGroup(members=part(n), buckets=part(n + 1), shingles=shingles, settings=NearDuplicateSettings())
        for n in range(50)
    ]
    packed, tables = pack([*items, ("other", small), None])
    assert tables == (shingles, small)
    assert max(map(len, packed)) < 2000, "a list of 1,000 parts takes 200 kB"
    assert [unpack(item, tables) for item in packed] == [*items, ("other", small), None]
    assert unpack(packed[0], tables).shingles is unpack(packed[1], tables).shingles


def test_nothing_to_share():
    packed, tables = pack([1, "two", b"three"])
    assert tables == ()
    assert [unpack(item, ()) for item in packed] == [1, "two", b"three"]
