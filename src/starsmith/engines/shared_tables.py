"""Items on their way to tasks elsewhere: the tables that they speak of travel once, not with each of them.

A table of a large corpus is a list of 100,000 parts, 20 MB, and the same one stands in each of thousands of items.
"""

import io
import pickle
from collections.abc import Sequence
from typing import Any

from starsmith.table import Table


def pack(items: Sequence[Any]) -> tuple[list[bytes], tuple[Table, ...]]:
    """Return the items without their tables, and the tables."""
    tables: dict[int, tuple[int, Table]] = {}
    return [_packed(item, tables) for item in items], tuple(table for _, table in tables.values())


def _packed(item: Any, tables: dict[int, tuple[int, Table]]) -> bytes:
    data = io.BytesIO()
    _Packer(data, tables).dump(item)
    return data.getvalue()


def unpack(item: bytes, tables: Sequence[Table]) -> Any:
    """Return an item as it was."""
    return _Unpacker(io.BytesIO(item), tables).load()


class _Packer(pickle.Pickler):
    """Leaves out tables; `tables` has those seen so far, by identity, each with its number."""

    def __init__(self, file: io.BytesIO, tables: dict[int, tuple[int, Table]]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._tables = tables

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, Table):
            return None
        return self._tables.setdefault(id(obj), (len(self._tables), obj))[0]


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, tables: Sequence[Table]) -> None:
        super().__init__(file)
        self._tables = tables

    def persistent_load(self, pid: Any) -> Table:
        table: Table = self._tables[int(pid)]
        return table
