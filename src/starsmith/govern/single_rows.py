"""Single rows of a build's tables, found without reading the rest.

An engine answers questions over whole tables; a look-up wants one row of ten tables within a moment. Here only the
columns that say which row it is are read, from the row groups whose statistics do not exclude it, and then that row.
What was read is kept for the next question, so an object of this class is for one command, not for a server.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from starsmith.document import ORIGINS
from starsmith.part_file import PartFile
from starsmith.storage import Store
from starsmith.table import Part
from starsmith.workspace import BuildRecord

Row = dict[str, Any]


class SingleRows:
    """The tables of one build, by the values of few columns."""

    def __init__(self, store: Store, build: BuildRecord) -> None:
        self.store = store
        self.build = build
        self._files: dict[str, PartFile] = {}
        self._columns: dict[tuple[str, int], dict[str, pa.ChunkedArray]] = {}

    @cached_property
    def origins(self) -> pa.Table:
        """All origins: few and narrow."""
        return self.build.table("origins", ORIGINS).read(self.store)

    def origins_where(self, column: str, value: str | bytes) -> list[Row]:
        """Return the origins with a value in a column."""
        wanted = pa.scalar(value, ORIGINS.field(column).type)
        rows: list[Row] = self.origins.filter(pc.equal(self.origins[column], wanted)).to_pylist()
        return rows

    def where(
        self,
        name: str,
        schema: pa.Schema,
        wanted: Mapping[str, str | bytes],
        *,
        shard: str | None = None,
        columns: Sequence[str] = (),
    ) -> list[Row]:
        """Return the rows of a table with the wanted values, in order; of one shard if that is known.

        `columns` are those of the rows; none means all. Raises StarsmithError if the build stopped before that table.
        """
        return [
            row
            for part in self._parts(name, schema, shard)
            for group, numbers in self._places(part, schema, wanted)
            for row in self._rows(part, schema, group, numbers, columns or schema.names)
        ]

    def number(self, name: str, schema: pa.Schema, wanted: Mapping[str, str | bytes], *, shard: str) -> int:
        """Return which row of a shard's part has the wanted values, the first being 0."""
        for part in self._parts(name, schema, shard):
            about = self._file(part).metadata
            for group, numbers in self._places(part, schema, wanted):
                return int(sum(about.row_group(before).num_rows for before in range(group))) + int(numbers[0].as_py())
        raise LookupError(f"{name} of shard {shard} has no such row")

    def _parts(self, name: str, schema: pa.Schema, shard: str | None) -> tuple[Part, ...]:
        table = self.build.table(name, schema)
        return table.parts if shard is None else table.of_shard(shard).parts

    def _places(
        self, part: Part, schema: pa.Schema, wanted: Mapping[str, str | bytes]
    ) -> Iterator[tuple[int, pa.UInt64Array]]:
        """Yield (row group, rows within it, at least one) of the rows of a part with the wanted values."""
        for group in range(self._file(part).row_groups):
            if not self._excludes(part, schema, group, wanted):
                columns = self._read(part, group, list(wanted))
                matches = [
                    pc.equal(columns[name], pa.scalar(value, schema.field(name).type)) for name, value in wanted.items()
                ]
                if len(numbers := pc.indices_nonzero(reduce(pc.and_, matches))):
                    yield group, numbers

    def _rows(
        self, part: Part, schema: pa.Schema, group: int, numbers: pa.UInt64Array, names: Sequence[str]
    ) -> list[Row]:
        columns = self._read(part, group, names)
        taken = {name: columns[name].take(numbers).cast(schema.field(name).type) for name in names}
        rows: list[Row] = pa.table(taken).to_pylist()
        return rows

    def _read(self, part: Part, group: int, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        """Return columns of a row group; what was read before is not read again."""
        known = self._columns.setdefault((part.name, group), {})
        if missing := [name for name in names if name not in known]:
            table = self._file(part).read_group(group, missing, use_threads=False)
            known |= {name: table[name] for name in missing}
        return known

    def _excludes(self, part: Part, schema: pa.Schema, group: int, wanted: Mapping[str, str | bytes]) -> bool:
        """Whether the statistics of a row group say that it has no row with the wanted values."""
        about = self._file(part).metadata.row_group(group)
        for name, value in wanted.items():
            statistics = about.column(schema.get_field_index(name)).statistics
            if statistics is not None and statistics.has_min_max and not statistics.min <= value <= statistics.max:
                return True
        return False

    def _file(self, part: Part) -> PartFile:
        if part.name not in self._files:
            self._files[part.name] = PartFile(self.store, part)
        return self._files[part.name]
