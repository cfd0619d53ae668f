"""The system calls a judged program may not make, as a seccomp filter in the kernel's own bytecode.

What no honest program needs and many an escape starts with ends the program, and is reported as a violation. What
runtimes try and do without is refused, so that they go on. Everything else is allowed: the namespaces do the rest.

The numbers are those of Linux's `unistd_64.h` (x86-64) and `asm-generic/unistd.h` (64-bit Arm), as of Linux 6.1. It is
not a list of what is allowed: that would have to follow every C library and every language's runtime.
"""

import errno
import platform
import struct
from collections.abc import Sequence

from starsmith.errors import StarsmithError

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine: the column of its numbers below, and its AUDIT_ARCH constant."""

FATAL: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "iopl": (172, None),
    "ioperm": (173, None),
    "vhangup": (153, 58),
}
"""These end the process with SIGSYS."""

REFUSED: dict[str, tuple[int | None, int | None]] = {
    "perf_event_open": (298, 241),
    "kcmp": (312, 272),
    "syslog": (103, 116),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "name_to_handle_at": (303, 264),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "modify_ldt": (154, None),
    "personality": (135, 92),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
}
"""These fail with EPERM. System V shared memory and message queues would outlive the program that made them."""

ABSENT: dict[str, tuple[int | None, int | None]] = {
    "clone3": (435, 435),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "lookup_dcookie": (212, 18),
}
"""These fail with ENOSYS, as on an older kernel: runtimes fall back. The filter cannot see into clone3's argument, and
memory behind a memfd counts against no limit of the process."""

_CLONE = (56, 220)
_SOCKET = (41, 198)
_NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWUSER, NEWPID, NEWNET, NEWIPC, NEWUTS, NEWCGROUP and NEWNS."""

_FAMILIES = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6. Not AF_VSOCK above all: it reaches a virtual machine's host past every namespace."""

_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16

Step = tuple[int, int, int, int]


def _answer(code: int, operand: int, answer: int) -> list[Step]:
    """Return the steps that end the filter with `answer` where the comparison holds, and else go on."""
    return [(code, 0, 1, operand), (_RETURN, 0, 0, answer)]


def _with_argument(number: int, checks: Sequence[Step]) -> list[Step]:
    """Return the steps that look at the first argument of one call. What they let pass is allowed."""
    steps = [(_LOAD, 0, 0, _FIRST_ARGUMENT_AT), *checks]
    return [(_EQUAL, 0, len(steps), number), *steps]


def compiled(machine: str = "") -> bytes:
    """Return the filter for `machine` (this one) as an array of `struct sock_filter`.

    Raises StarsmithError where there is no table for the machine.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise StarsmithError(
            f"The sandbox knows no system calls of {machine}, only of {', '.join(_ARCHITECTURES)}; "
            "run it on one of those."
        )
    column, architecture = _ARCHITECTURES[machine]
    steps: list[Step] = [(_LOAD, 0, 0, _ARCHITECTURE_AT), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL)]
    steps.append((_LOAD, 0, 0, _NUMBER_AT))
    if machine == "x86_64":
        # The x32 interface numbers its calls anew from here.
        steps += _answer(_AT_LEAST, 0x40000000, _KILL)
    for table, answer in (
        (FATAL, _KILL),
        (REFUSED, _ERROR | errno.EPERM),
        (ABSENT, _ERROR | errno.ENOSYS),
    ):
        for numbers in table.values():
            if (number := numbers[column]) is not None:
                steps += _answer(_EQUAL, number, answer)
    allow = (_RETURN, 0, 0, _ALLOW)
    steps += _with_argument(_CLONE[column], [*_answer(_BITS, _NEW_NAMESPACES, _KILL), allow])
    families = [step for family in _FAMILIES for step in _answer(_EQUAL, family, _ALLOW)]
    steps += _with_argument(_SOCKET[column], [*families, (_RETURN, 0, 0, _ERROR | errno.EAFNOSUPPORT)])
    return b"".join(struct.pack("=HBBI", *step) for step in [*steps, allow])
