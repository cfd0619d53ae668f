"""Jobs: a piece of work on one shard, done at most once.

A job knows its fingerprint. Where a record with that fingerprint exists the work has been done, by whatever run, on
whatever engine; otherwise the job does it, publishes the parts, and writes the record last.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from starsmith.storage import Store
from starsmith.table import Part, Record, read_record

Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a piece of work made. `final` is False where a slow machine may have changed the result."""

    parts: Mapping[str, tuple[Part, ...]]
    counts: dict[str, int] = field(default_factory=dict)
    final: bool = True


class Work(Protocol):
    """Picklable work on one shard: reads parts, writes parts, and says which."""

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Work with the fingerprint of everything that determines its result."""

    stage: str
    fingerprint: str
    store: Store
    work: Work

    def __str__(self) -> str:
        return str(self.work)


def run_job(job: Job, *, attempt: int, progress: Progress) -> Record:
    """Do a job unless its record exists; return the record."""
    if (record := read_record(job.store, job.stage, job.fingerprint)) is not None:
        return record
    started = time.perf_counter()
    outcome = job.work(job.store, attempt=attempt, progress=progress)
    record = Record(
        stage=job.stage,
        fingerprint=job.fingerprint,
        outputs=dict(outcome.parts),
        seconds=round(time.perf_counter() - started, 3),
        counts=outcome.counts,
        final=outcome.final,
    )
    record.write(job.store)
    return record
