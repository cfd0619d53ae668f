"""What Spark itself says of its work: tasks done, executors, bytes spilled and shuffled.

It is asked of the driver's own JVM, where Spark keeps it whether or not its web page is served. What it says changes
nothing that is built.
"""

from collections.abc import Iterator
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import SparkContext

from starsmith.engines import Usage

SETTLE_MILLISECONDS = 2000
"""How long to wait, once a job has ended, until Spark has counted all of it; it takes a few milliseconds."""


class SparkStatus:
    """Asks one Spark application how it stands."""

    def __init__(self, context: SparkContext) -> None:
        self._context = context
        self._scala: Any = context._jsc.sc()

    @property
    def executors(self) -> int:
        """How many executors there are now; on one machine the driver is the only one."""
        known = int(self._scala.getExecutorMemoryStatus().size())
        return known if self._scala.isLocal() else known - 1

    def tasks(self, group: str) -> tuple[int, int]:
        """Return (done, known by now) of the tasks of a job group. What Spark skips is not counted."""
        tracker = self._context.statusTracker()
        found = (tracker.getStageInfo(number) for number in self._stages(group))
        at_work = [stage for stage in found if stage and (stage.numActiveTasks or stage.numCompletedTasks)]
        return sum(stage.numCompletedTasks for stage in at_work), sum(stage.numTasks for stage in at_work)

    def used(self, group: str) -> Usage:
        """Return what the jobs of a group, which have ended, have spilled and shuffled."""
        if not self._is_settled():
            return Usage()
        used = Usage()
        store = self._scala.statusStore()
        for number in self._stages(group):
            try:
                stage = store.lastStageAttempt(number)
            except Py4JJavaError:
                # Spark keeps the last thousand.
                continue
            used += Usage(
                spilled_memory=stage.memoryBytesSpilled(),
                spilled_disk=stage.diskBytesSpilled(),
                shuffle_read=stage.shuffleReadBytes(),
                shuffle_written=stage.shuffleWriteBytes(),
            )
        return used

    def _stages(self, group: str) -> Iterator[int]:
        tracker = self._context.statusTracker()
        jobs = (tracker.getJobInfo(number) for number in tracker.getJobIdsForGroup(group))
        yield from sorted({stage for job in jobs if job is not None for stage in job.stageIds})

    def _is_settled(self) -> bool:
        try:
            self._scala.listenerBus().waitUntilEmpty(SETTLE_MILLISECONDS)
        except Py4JJavaError:
            return False
        return True
