"""What goes into the sandbox and what comes out: a program with its limits, and what became of it."""

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal[
    "passed",
    "wrong",
    "exception",
    "exited",
    "timeout",
    "memory",
    "output",
    "processes",
    "files",
    "disk",
    "killed",
    "violation",
    "unjudged",
]

STATUSES: dict[Status, str] = {
    "passed": "It ran to its end, and so did its test.",
    "wrong": "An assertion of the test failed.",
    "exception": "It raised, or it is not a program at all.",
    "exited": "It ended itself before the end was reached, whatever its exit code.",
    "timeout": "It used up its processor time, or its time on the wall.",
    "memory": "It asked for more memory than it may have.",
    "output": "It wrote more than it may.",
    "processes": "It started more processes or threads than it may.",
    "files": "It opened more files than it may.",
    "disk": "It filled its temporary folder, or one file in it.",
    "killed": "A signal ended it, such as that of a segmentation fault.",
    "violation": "It made a system call that no judged program may make, or was caught forging a verdict.",
    "unjudged": "What the test needs cannot cross between the two processes. No verdict on the program.",
}
"""Every status, and what it says of the program."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one program may use."""

    cpu_seconds: float = 5.0
    """Processor time of the program. It is what verdicts depend on; a loaded machine does not change it."""
    wall_seconds: float = 30.0
    """For programs that sleep. Far above `cpu_seconds`, so that a loaded machine does not make it the one that ends."""
    own_seconds: float = 0.0
    """Time on the wall less what its processes waited for a processor, so that a program that sleeps is stopped and a
    loaded machine changes nothing; 0 for no limit. Not for command lines, whose children come and go."""
    address_bytes: int = 4 << 30
    """Address space of each process; 0 for no limit, which the runtimes of some languages need."""
    memory_bytes: int = 4 << 30
    """Resident memory of all processes together, looked at every few hundredths of a second."""
    processes: int = 32
    """Processes and threads at a time."""
    open_files: int = 256
    file_bytes: int = 64 << 20
    """Size of each file; the temporary folder as a whole holds as much."""
    files: int = 4096
    """Files and folders in the temporary folder."""
    output_bytes: int = 64 << 20
    """What the program may write to stdout and stderr together, or hand over as results, before it is stopped."""
    kept_bytes: int = 64 << 10
    """How much of the end of stdout, and of stderr, is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A Python program to run, and at most one way of judging it.

    With neither `test` nor `calls` it has passed when its end was reached. With `test`, that code runs after it: in a
    process of its own, where every name that `source` defines stands for the thing in the program's process (`beside`
    False), or in the program's own process (`beside` True), where a program made for this sandbox could forge a pass.
    With `calls`, `entry_point` is called with each tuple of arguments and what it returned comes back in `Run.outputs`.
    """

    id: str
    source: str
    test: str = ""
    beside: bool = False
    entry_point: str = ""
    calls: tuple[tuple[Any, ...], ...] = ()
    stdin: bytes = b""
    limits: Limits | None = None
    """Instead of the sandbox's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """Command lines to run: a compiler, an interpreter of another language.

    `files` (name: content) are put into its working folder, which it can write to and which is gone afterwards.
    `steps` run one after another until one fails: compile, then run. The last one's end is the verdict.
    """

    id: str
    steps: tuple[tuple[str, ...], ...]
    files: dict[str, bytes] = field(default_factory=dict)
    stdin: bytes = b""
    environment: dict[str, str] = field(default_factory=dict)
    limits: Limits | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """What one call gave: a value of plain types (`wire` says which), or the name of the exception's type."""

    value: Any = None
    raised: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What became of a program. Everything here but the times was said by a hostile program: show it escaped."""

    id: str
    status: Status
    detail: str = ""
    """The exception, the signal, the limit: one line, at most 500 characters."""
    stdout: bytes = b""
    stderr: bytes = b""
    """The last `Limits.kept_bytes` of each."""
    outputs: tuple[Output, ...] = ()
    exit_code: int | None = None
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    memory_bytes: int = 0
    """Largest resident set of any of its processes."""
