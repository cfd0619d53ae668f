"""The fork server: takes programs one at a time over a socket, and runs each in a fresh copy of itself.

Under bubblewrap it holds the power over its own user namespace that gives each program its own processes and its own
temporary folder; the program gives that power up before its first line. When the program's first process ends, the
kernel ends all that it started.
"""

import functools
import gc
import importlib
import json
import math
import os
import select
import signal
import socket
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from starsmith.evaluate.inside import candidate, fair, frames, judge, kernel, wire

LARGEST_REQUEST = 256 << 20
WARM = (
    "typing collections collections.abc itertools functools math re string heapq bisect operator copy datetime json "
    "hashlib linecache"
).split()
"""Modules that programs import often: loaded once, here. Each one more makes every fork dearer."""

_OWN_PROCESSES = 6
"""bubblewrap's, this one, the judge: they count against the limit of the namespace as the program's do."""

_SHARED_MEMORY = 16 << 20
_PIECE = 1 << 16
_KEPT_TESTS, _LONGEST_KEPT = 256, 1 << 16
"""How many compiled tests are kept, and of how many characters at most: each fork copies the map of what is kept."""

_LOOK_SECONDS = 0.04
"""How often a program's processor time and memory are looked at. A look takes about 0.1 ms."""

Job = dict[str, Any]
Work = Callable[[list[int]], None]


@dataclass(kw_only=True)
class Settings:
    """How this server was started."""

    isolated: bool
    filter: kernel.Filter


@dataclass(kw_only=True)
class Stream:
    """What a program writes to one descriptor: the end of it, and how much it was."""

    descriptor: int
    keep: int
    total: int = 0
    kept: bytearray = field(default_factory=bytearray)

    def take(self) -> int:
        """Take in what is there. Returns the bytes read: 0 at the end, -1 when there is nothing now."""
        try:
            piece = os.read(self.descriptor, _PIECE)
        except BlockingIOError:
            return -1
        self.total += len(piece)
        self.kept += piece
        if len(self.kept) > 2 * self.keep:
            del self.kept[: -self.keep]
        return len(piece)

    def tail(self) -> bytes:
        return bytes(self.kept[-self.keep :]) if self.keep else b""


@dataclass(kw_only=True)
class Watched:
    """A program while it runs."""

    job: Job
    main: int
    processes: dict[int, int]
    """Process: its pidfd. `main` is the one whose end is the end of the run."""
    streams: dict[str, Stream]
    began: float
    cut: str = ""
    """The limit that ended it."""


def _cpu_seconds(process: int) -> float:
    """Return the processor time of a process, of all its threads and none of its children."""
    try:
        # How Linux makes the clock of a process from its number: clock_getcpuclockid(3).
        return time.clock_gettime((~process << 3) | 2)
    except OSError:
        return 0.0


def _resident(process: int) -> int:
    try:
        with open(f"/proc/{process}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _waited(process: int) -> float:
    """Return how many seconds a process was ready to run and had to wait for a processor."""
    try:
        with open(f"/proc/{process}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _is_late(watched: Watched) -> bool:
    """Return whether a program has used up its time on the wall, or its own part of that."""
    limits, passed = watched.job["limits"], time.monotonic() - watched.began
    if passed > limits["wall_seconds"]:
        return True
    own: float = limits["own_seconds"]
    return 0 < own < passed and passed - sum(map(_waited, watched.processes)) > own


def _used(watched: Watched, settings: Settings) -> tuple[float, int]:
    """Return the processor time and the resident memory of all processes of a program that run now."""
    processes: list[int] = list(watched.processes)
    if settings.isolated:
        # Nothing else runs in this namespace but bubblewrap's first process and this one.
        processes = [
            int(name) for name in os.listdir("/proc") if name.isdigit() and name not in ("1", str(os.getpid()))
        ]
    # Each began as a copy of this server, and shares with it what it did not change since.
    shared = _resident(os.getpid())
    return sum(map(_cpu_seconds, processes)), sum(max(0, _resident(process) - shared) for process in processes)


def serve(channel: int, settings: Settings) -> None:
    """Run what comes over `channel` until it ends."""
    for name in WARM:
        importlib.import_module(name)
    # Programs find no module of this package; what is loaded goes on working.
    for name in [name for name in sys.modules if name.startswith("starsmith")]:
        del sys.modules[name]
    # Collected once, then never looked at again: a collection in each child would copy every page.
    gc.collect()
    gc.freeze()
    kernel.hide()
    own = os.pidfd_open(os.getpid()) if settings.isolated else -1
    frames.send(channel, json.dumps({"python": sys.version}).encode())
    while True:
        try:
            job = json.loads(frames.receive(channel, limit=LARGEST_REQUEST))
        except frames.Ended:
            return
        frames.send(channel, json.dumps(_run(job, settings, own)).encode("ascii"))


def _run(job: Job, settings: Settings, own: int) -> Job:
    """Run one program and return what became of it."""
    if settings.isolated:
        return _run_in(job, settings, own, "/tmp")  # noqa: S108 (its own, mounted anew)
    # Not among the first imports: under isolation every fork would copy it in vain.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="starsmith-", ignore_cleanup_errors=True) as folder:
        return _run_in(job, settings, own, folder)


def _run_in(job: Job, settings: Settings, own: int, folder: str) -> Job:
    watched = _started(job, settings, own, folder)
    _watch(watched, settings)
    return _ended(watched)


def _started(job: Job, settings: Settings, own: int, folder: str) -> Watched:
    out, err, said = os.pipe(), os.pipe(), os.pipe()
    began, processes = time.monotonic(), {}

    def child(work: Work, *given: int, separate: bool = True) -> int:
        """Start a process that does `work` with the descriptors `given`, and close those here."""
        if separate and settings.isolated:
            kernel.unshare(kernel.NEW_PIDS)
        process = os.fork()
        if process == 0:
            _become(job, settings, folder, work, descriptors=[out[1], err[1], *given], separate=separate)
        if separate and settings.isolated:
            kernel.rejoin_pids(own)
        for descriptor in given:
            os.close(descriptor)
        processes[process] = os.pidfd_open(process)
        return process

    main = _MODES[job["mode"]](job, child, said[1])
    os.close(out[1])
    os.close(err[1])
    streams = {}
    limits = job["limits"]
    for name, descriptor in (("out", out[0]), ("err", err[0]), ("said", said[0])):
        os.set_blocking(descriptor, False)
        keep = limits["output_bytes"] if name == "said" else limits["kept_bytes"]
        streams[name] = Stream(descriptor=descriptor, keep=keep)
    return Watched(job=job, main=main, processes=processes, streams=streams, began=began)


def _apart(job: Job, child: Callable[..., int], said: int) -> int:
    near, far = _pair()
    source, test = job["source"], _test(job["test"], own=True)
    child(lambda own: candidate.run_apart(source, judge=own[0]), far)
    return child(lambda own: judge.judge(test, program=own[0], status=own[1]), near, said, separate=False)


def _calls(job: Job, child: Callable[..., int], said: int) -> int:
    source, entry_point, calls = job["source"], job["entry_point"], wire.loads(job["calls"].encode("ascii"))
    return child(lambda own: candidate.run_calls(source, entry_point, calls, status=own[0]), said)


def _beside(job: Job, child: Callable[..., int], said: int) -> int:
    read, write = os.pipe()
    job["nonce"] = os.urandom(16).hex()
    os.write(write, job["nonce"].encode("ascii"))
    os.close(write)
    source, test = job["source"], _test(job["test"], own=False) if job["test"] else None
    return child(lambda own: candidate.run_beside(source, test, nonce=own[0], status=own[1]), read, said)


def _command(job: Job, child: Callable[..., int], said: int) -> int:
    steps, files, environment = job["steps"], job["files"], job["environment"]
    return child(lambda own: candidate.run_steps(steps, files, environment, status=own[0]), said)


_MODES: dict[str, Callable[[Job, Callable[..., int], int], int]] = {
    "apart": _apart,
    "calls": _calls,
    "beside": _beside,
    "command": _command,
}


def _test(text: str, *, own: bool) -> Callable[[], types.CodeType]:
    """Return what gives the code of a test. Many programs share one: it is compiled here, once, where that can be.

    `own`: it will run in a process of its own, and needs no guard against what the program made comparisons do.
    """
    compiled = _compiled_here(text, own=own) if len(text) <= _LONGEST_KEPT else None
    return (lambda: _compiled(text, own=own)) if compiled is None else (lambda: compiled)


def _compiled(text: str, *, own: bool) -> types.CodeType:
    return compile(text if own else fair.rewritten(text), "<test>", "exec", dont_inherit=True)


@functools.lru_cache(maxsize=_KEPT_TESTS)
def _compiled_here(text: str, *, own: bool) -> types.CodeType | None:
    try:
        return _compiled(text, own=own)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        # Raised again in the judged process, where it becomes the verdict.
        return None


def _pair() -> tuple[int, int]:
    near, far = socket.socketpair()
    return near.detach(), far.detach()


def _become(
    job: Job,
    settings: Settings,
    folder: str,
    work: Work,
    *,
    descriptors: list[int],
    separate: bool,
) -> NoReturn:
    """Turn this fresh copy of the server into the judged process, or its judge, and run it. Never returns."""
    try:
        own = _descriptors(job["stdin"].encode("latin-1"), descriptors)
        if settings.isolated and separate:
            limits = job["limits"]
            kernel.unshare(kernel.NEW_MOUNTS)
            kernel.mount_memory(folder, size=limits["file_bytes"], files=limits["files"])
            kernel.mount_memory("/dev/shm", size=_SHARED_MEMORY, files=64)  # noqa: S108 (its own)
            # A Python program has no use for what /proc tells of the machine; other runtimes do not start without.
            if job["mode"] == "command":
                kernel.mount_processes()
            else:
                kernel.mount_memory("/proc", size=4096, files=1)
        os.chdir(folder)
        os.setsid()
        kernel.set_limits(_resource_limits(job["limits"], isolated=settings.isolated))
        if settings.isolated:
            kernel.drop_capabilities()
            settings.filter.install()
        work(own)
    except BaseException as error:  # noqa: BLE001 (this copy must never run on as the server)
        os.write(2, f"the sandbox: {type(error).__name__}: {error}".encode(errors="replace")[:500])
    os._exit(70)


def _descriptors(stdin: bytes, descriptors: list[int]) -> list[int]:
    """Make stdin, stdout and stderr of the first two descriptors; close all but the others, and return those."""
    entry = os.memfd_create("stdin")
    os.write(entry, stdin)
    os.lseek(entry, 0, os.SEEK_SET)
    # Out of the way of what they are about to be copied to.
    high = [os.dup2(descriptor, 200 + number) for number, descriptor in enumerate([entry, *descriptors])]
    for number, descriptor in enumerate(high):
        os.dup2(descriptor, number, inheritable=number < 3)
    own = list(range(3, len(high)))
    os.closerange(len(high), 1024)
    return own


def _resource_limits(limits: dict[str, Any], *, isolated: bool) -> dict[str, int]:
    chosen = {
        "FSIZE": limits["file_bytes"],
        "NOFILE": limits["open_files"],
        # A second line only: the kernel's own count of ticks runs up to a tenth ahead of the time it accounts for.
        "CPU": math.ceil(1.25 * limits["cpu_seconds"]) + 1,
        "CORE": 0,
    }
    if limits["address_bytes"]:
        chosen["AS"] = limits["address_bytes"]
    # Outside a namespace the kernel counts every process of the user, whatever started it.
    return chosen | {"NPROC": limits["processes"] + _OWN_PROCESSES} if isolated else chosen


def _watch(watched: Watched, settings: Settings) -> None:
    """Wait for the end of a program, take in what it writes, and stop it at its limits."""
    poller, end = select.poll(), watched.processes[watched.main]
    poller.register(end, select.POLLIN)
    streams = {stream.descriptor: stream for stream in watched.streams.values()}
    for descriptor in streams:
        poller.register(descriptor, select.POLLIN)
    limits, next_look = watched.job["limits"], time.monotonic() + _LOOK_SECONDS
    while not watched.cut:
        ready = poller.poll(1000 * _LOOK_SECONDS)
        for descriptor, _event in ready:
            if descriptor in streams and streams[descriptor].take() == 0:
                poller.unregister(descriptor)
        if any(stream.total > limits["output_bytes"] for stream in watched.streams.values()):
            watched.cut = "output"
        elif any(descriptor == end for descriptor, _event in ready):
            break
        elif time.monotonic() > next_look:
            next_look = time.monotonic() + _LOOK_SECONDS
            cpu, resident = _used(watched, settings)
            if cpu > limits["cpu_seconds"] or _is_late(watched):
                watched.cut = "timeout"
            elif resident > limits["memory_bytes"]:
                watched.cut = "memory"


def _ended(watched: Watched) -> Job:
    """Stop whatever still runs, and tell what became of the program."""
    job, limits = watched.job, watched.job["limits"]
    codes, cpu, memory = {}, 0.0, 0
    for process, pidfd in watched.processes.items():
        if process != watched.main or watched.cut:
            _kill(process)
        _, status, used = os.wait4(process, 0)
        codes[process] = os.waitstatus_to_exitcode(status)
        _kill_group(process)
        os.close(pidfd)
        cpu += used.ru_utime + used.ru_stime
        memory = max(memory, used.ru_maxrss * 1024)
    for stream in watched.streams.values():
        while stream.total <= limits["output_bytes"] and stream.take() > 0:
            pass
        os.close(stream.descriptor)
    out, err, said = (watched.streams[name] for name in ("out", "err", "said"))
    own = codes[next(iter(codes))]
    return {
        "cut": watched.cut,
        "code": own,
        "said": said.tail().decode("latin-1"),
        "nonce": job.get("nonce", ""),
        "stdout": out.tail().decode("latin-1"),
        "stderr": err.tail().decode("latin-1"),
        "cpu_seconds": cpu,
        "wall_seconds": time.monotonic() - watched.began,
        "memory_bytes": memory,
    }


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _kill_group(process: int) -> None:
    """Without namespaces, end what the program left behind in its own group. The number is not taken again so soon."""
    try:
        os.killpg(process, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def main() -> None:
    """Serve on the socket that is this process's stdin. The settings are the first argument, as JSON."""
    chosen = json.loads(sys.argv[1])
    channel = os.dup(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    sys.path[:] = [entry for entry in sys.path if entry != chosen["own_path"]]
    serve(channel, Settings(isolated=chosen["isolated"], filter=kernel.Filter(bytes.fromhex(chosen["filter"]))))
