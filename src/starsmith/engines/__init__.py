"""Engines run tasks and queries; they know no stage.

Two verbs are all a build needs. `map` runs a function on independent items, each by itself, somewhere. `sql` runs a
query over narrow tables and publishes the sorted result. What both must give is fixed by the conformance tests: the
same rows and the same bytes whatever the engine and however many workers it has.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from starsmith.storage import Store
from starsmith.table import Part, Table

GARBAGE_THRESHOLD = 50_000
"""New objects after which a worker looks for cycles. Millions of rows pass through it and hardly any is in a cycle:
with Python's 700 the search took 5 % of the processor time of annotate."""

_READS = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)")

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)


class Task(Protocol[Item, Result]):
    """A picklable function of one item. `attempt` counts from 0; above 0 a worker died on this item before, so the
    function should take care. `progress` may be called with the number of documents just done."""

    def __call__(self, item: Item, /, *, attempt: int, progress: Callable[[int], None]) -> Result: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """One query: SQL that every engine speaks, the schema of its rows and the total order they are written in.

    `key` must order the rows totally. `partition_by` names a string column whose values become the shards of the
    resulting parts; it leads the order. `seconds` and paths play no part in the result.

    `per_shard` promises that the rows of a shard follow from what its tables hold of that shard, and from tables that
    know no shard: then only the shards of which something changed are asked for again.

    `by` promises that each row of the result is about one value of that column, or about one document of table `base`
    with it, and follows from the rows of `base` with the same value and, in the other tables, from the rows with it
    and the rows of these documents. Of a table that has neither column it may use what `base` has too: then only values
    of which something changed are asked for again. What has no value in that column has no row in the result.
    """

    name: str
    text: str
    schema: pa.Schema
    key: Sequence[str]
    partition_by: str | None = None
    per_shard: bool = False
    by: str | None = None
    base: str = ""

    @property
    def reads(self) -> frozenset[str]:
        """The names that follow FROM and JOIN: tables, and whatever the query itself defines."""
        return frozenset(_READS.findall(self.text))


@dataclass(frozen=True, kw_only=True, slots=True)
class SparkOptions:
    """What is asked of Spark. Without `master`, the one of `spark-submit` or all cores of this machine."""

    master: str | None = None
    conf: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What an engine has spilled and shuffled since it started, in bytes. The local engine shuffles nothing.

    `spilled_memory` is what spilled rows took in memory, `spilled_disk` what they took on disk.
    """

    spilled_memory: int = 0
    spilled_disk: int = 0
    shuffle_read: int = 0
    shuffle_written: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.__slots__})

    def since(self, earlier: "Usage") -> dict[str, int]:
        """Return what came after `earlier`, without what is 0."""
        grown = {name: getattr(self, name) - getattr(earlier, name) for name in Usage.__slots__}
        return {name: number for name, number in grown.items() if number}


def unheard(done: int, known: int) -> None:
    """The progress of a query that nobody watches."""


class Engine(Protocol):
    """What a build needs of the place it runs on. `name`, `workers` and `executors` are what the record of a build
    says of it: how many tasks run at once, and on how many machines (or parts of them)."""

    name: str

    @property
    def workers(self) -> int: ...

    @property
    def executors(self) -> int: ...

    @property
    def rows_at_once(self) -> int | None:
        """How many rows a query should read at most where it can be asked shard by shard; None if that is all one."""
        ...

    def prepare(self, *, workers: int, modules: Sequence[str]) -> None:
        """Make ready, beside what the driver does, for a short run that needs few workers and these modules."""
        ...

    def map(
        self, function: Task[Any, Any], items: Sequence[Any], *, label: str, progress: Callable[[int], None]
    ) -> Iterator[Any]:
        """Run `function` on every item; yield results as they come. A task that fails ends the build."""
        ...

    def sql(
        self,
        store: Store,
        query: Query,
        tables: dict[str, Table | pa.Table],
        *,
        progress: Callable[[int, int], None] = unheard,
    ) -> tuple[Part, ...]:
        """Run `query` over the named tables and publish its rows.

        `progress` is called, by an engine that cuts a query into tasks, with (tasks done, tasks known by now).
        """
        ...

    def usage(self) -> Usage:
        """Return what has been spilled and shuffled until now."""
        ...

    def close(self) -> None:
        """Release workers and memory."""
        ...
