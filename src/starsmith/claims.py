"""Claims: how one writer has a workspace on an object store to itself.

A store offers no lock, and through `pyarrow.fs` no write on condition. What it does offer is that a listing shows every
object whose upload was complete before (S3 since 2020, and the servers that follow it). So whoever wants to write puts
down a claim, an object under a name that nobody else uses, and then lists all claims: of two writers at least one sees
the other. Whoever sees another's claim that is fresh does not go on: it takes its own back if the other holds the
workspace or has the earlier name, and otherwise waits for the other to do so.

A holder renews its claim every `BEAT_SECONDS`. One that was not renewed for `STALE_SECONDS` by the store's own clock
counts for nothing, and is removed by whoever comes next; so does, at once, one whose process is known to be dead.

What this cannot do: a holder that stood still for that long (a suspended machine) may wake up and write one thing
more before it sees that its claim is gone. Then, and with a store that lists late, two write at once. That breaks no
table: parts are named by their digests and never change, a record is written after its parts, and both writers would
write the same. Of the few objects that do change (the record of the last build, the opt-out list) the later one stays.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from starsmith.errors import StarsmithError

FOLDER: Final = "lock"
BEAT_SECONDS: Final = 20.0
STALE_SECONDS: Final = 150.0
"""More than a request takes to fail for good (`object_store.ATTEMPTS`) and two beats."""
_PAUSE_SECONDS: Final = 0.5
_LOOK_AGAIN_SECONDS: Final = 0.2
"""Some servers lose sight of an object for a moment while it is written anew, as a claim is when it is renewed."""
_LAST_BEAT_SECONDS: Final = 10.0


class Claimed(Protocol):
    """What claims need of a store."""

    def path(self, name: str) -> str: ...
    def write(self, name: str, data: bytes) -> None: ...
    def read(self, name: str) -> bytes: ...
    def times(self, prefix: str) -> dict[str, float]: ...
    def delete(self, name: str) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Who wants to write, or holds the workspace. `boot` and `space` say where `process` counts; `time` is for people,
    since only the store's own clock counts."""

    process: int
    host: str
    boot: str
    space: str
    time: str
    held: bool

    @classmethod
    def here(cls, *, held: bool) -> "Claim":
        now = datetime.now(UTC).isoformat(timespec="seconds")
        host = socket.gethostname()
        return cls(process=os.getpid(), host=host, boot=_boot(), space=_space(), time=now, held=held)

    def is_of_the_dead(self) -> bool:
        """Whether the process is gone for sure; of one in another place that cannot be known."""
        near = self.boot == _boot() != "" and self.space == _space() != ""
        return near and not Path(f"/proc/{self.process}").exists()

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


class Lease:
    """A claim that is held. `lost` says why it is no longer, if it is not."""

    def __init__(self, store: Claimed) -> None:
        self._store = store
        self._name = f"{FOLDER}/{uuid.uuid4().hex}.json"
        self._renewed = time.monotonic()
        self._done = threading.Event()
        self._beat = threading.Thread(target=self._renew_always, daemon=True)
        self.lost: str | None = None

    def take(self) -> None:
        """Put the claim down, and go on only when it is the only one, at two looks.

        Raises StarsmithError that names who else has one.
        """
        self._write(held=False)
        try:
            looks_alone = 0
            while looks_alone < 2:
                other = self._other()
                if other is None:
                    looks_alone += 1
                    time.sleep(_LOOK_AGAIN_SECONDS)
                    continue
                name, claim, age = other
                if claim.held or name < self._name:
                    raise StarsmithError(self._refusal(claim, age))
                looks_alone = 0
                time.sleep(_PAUSE_SECONDS)
            self._write(held=True)
        except BaseException:
            self._withdraw()
            raise
        self._beat.start()

    def _other(self) -> tuple[str, Claim, float] | None:
        """Return somebody else's claim that counts, with its age in seconds; remove what does not count."""
        times = self._store.times(FOLDER)
        if self._name not in times:
            raise StarsmithError(
                f"{self._store.path(self._name)} was written and is not listed: either this object store lists late, "
                "so that two writers could not see each other, or another writer took this one for dead."
            )
        for name in sorted(times.keys() - {self._name}):
            age = times[self._name] - times[name]
            claim = self._read(name) or self._read_again(name)
            if claim is not None and age < STALE_SECONDS and not claim.is_of_the_dead():
                return name, claim, max(age, 0.0)
            self._remove(name)
        return None

    def _refusal(self, claim: Claim, age: float) -> str:
        return (
            f"The workspace {self._store.path('').rstrip('/')} is being written by {claim}, which last said so "
            f"{age:.0f} seconds ago. Wait for it to end, or choose another workspace; if it was killed, run the same "
            f"command again in {STALE_SECONDS - age:.0f} seconds."
        )

    def _read(self, name: str) -> Claim | None:
        """Return a claim; None if it has just been taken back, or is none."""
        try:
            return Claim(**json.loads(self._store.read(name)))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _read_again(self, name: str) -> Claim | None:
        time.sleep(_LOOK_AGAIN_SECONDS)
        return self._read(name)

    def _write(self, *, held: bool) -> None:
        self._store.write(self._name, json.dumps(asdict(Claim.here(held=held)), sort_keys=True).encode())
        self._renewed = time.monotonic()

    def _renew_always(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            try:
                if self._name not in self._store.times(FOLDER):
                    self.lost = "somebody else has taken the workspace over: this process was silent for too long"
                    return
                self._write(held=True)
            except (StarsmithError, OSError):
                # A network that comes back in time costs nothing; until then the claim grows old.
                if time.monotonic() - self._renewed > STALE_SECONDS:
                    self.lost = "the claim to the workspace could not be renewed in time"
                    return

    def release(self) -> None:
        """Stop renewing, and take the claim back. If that cannot be done now it grows old by itself."""
        self._done.set()
        self._beat.join(_LAST_BEAT_SECONDS)
        self._withdraw()

    def _withdraw(self) -> None:
        with suppress(StarsmithError, OSError):
            self._remove(self._name)

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._store.delete(name)


_HELD: dict[Claimed, Lease] = {}
"""By workspace: the claim that this process holds to it."""


@contextmanager
def claim(store: Claimed) -> Iterator[None]:
    """Hold a workspace for writing.

    Raises StarsmithError if somebody else does.
    """
    lease = Lease(store)
    lease.take()
    _HELD[store] = lease
    try:
        yield
    finally:
        _HELD.pop(store, None)
        lease.release()


def refuse_if_lost(store: Claimed) -> None:
    """Raise StarsmithError if this process had a claim and has lost it: from then on it must write nothing."""
    lease = _HELD.get(store)
    if lease is not None and lease.lost is not None:
        raise StarsmithError(
            f"{store.path('').rstrip('/')}: {lease.lost}. Nothing more was written; run the same command again."
        )
