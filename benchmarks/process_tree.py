"""What a command uses: processor time, time on the wall, and memory of all the processes it starts.

Processor time is what the system charges to the command and every descendant it waited for; of descendants that nobody
waits for, what they had used when last looked at. Memory is sampled: the largest resident size that one process had,
and the largest sum over all of them at one moment. The sum counts pages that processes share (libraries, mapped files)
once for each, so it is an upper bound. The programs beside this one use it; only the standard library is imported.
"""

import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.1
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Seconds of processor time and on the wall; peaks of resident memory in MB; what the command printed."""

    cpu: float
    wall: float
    largest: float
    tree: float
    output: str


def run(command: Sequence[str], *, cores: frozenset[int], environment: dict[str, str] | None = None) -> Usage:
    """Run a command on some cores and return what it used; raise RuntimeError with its errors if it fails."""
    started = os.times().elapsed
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    ) as process:
        watch = _Watch(process.pid)
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
        reader.start()
        output = process.stdout.read()
        reader.join()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.stop()
    wall = os.times().elapsed - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {process.returncode}:\n{errors[0][-3000:]}")
    largest = max(watch.largest, usage.ru_maxrss * 1024 / 1e6)
    cpu = max(usage.ru_utime + usage.ru_stime, sum(watch.cpu.values()))
    return Usage(cpu=cpu, wall=wall, largest=largest, tree=watch.tree, output=output)


class _Watch:
    """Samples the memory and processor time of a process and its descendants until told to stop."""

    def __init__(self, root: int) -> None:
        self.root, self.largest, self.tree = root, 0.0, 0.0
        self.cpu: dict[int, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            processes = list(_descendants(self.root))
            self.cpu |= {process: used for process in processes if (used := _processor_time(process))}
            sizes = [_resident(process) for process in processes]
            self.largest = max(self.largest, *sizes)
            self.tree = max(self.tree, sum(sizes))

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


def resident_mb(root: int) -> float:
    """Return the resident memory in MB of a process and all its descendants."""
    return sum(map(_resident, _descendants(root)))


def processor_seconds(root: int) -> dict[int, float]:
    """Return the seconds of processor time of a process and of each of its descendants, by their ids."""
    return {process: used for process in _descendants(root) if (used := _processor_time(process))}


def _descendants(root: int) -> Iterator[int]:
    yield root
    try:
        threads = list(Path(f"/proc/{root}/task").iterdir())
        children = {child for thread in threads for child in (thread / "children").read_text().split()}
    except OSError:  # it has ended
        return
    for child in children:
        yield from _descendants(int(child))


def _resident(process: int) -> float:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE_MB
    except OSError:
        return 0.0


def _processor_time(process: int) -> float:
    """Return the seconds that a process itself has used, without its children."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
