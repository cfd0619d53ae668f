"""The few calls to Linux that Python has no function for, and the setting up of a process that is to be judged."""

import ctypes
import os
import resource
from collections.abc import Mapping

NEW_PIDS, NEW_MOUNTS = 0x20000000, 0x00020000
_NOSUID_NODEV = 2 | 4
_SET_DUMPABLE, _SET_SECCOMP, _DROP_BOUND, _SET_NO_NEW_PRIVILEGES, _AMBIENT = 4, 22, 24, 38, 47
_CLEAR_AMBIENT, _FILTER = 4, 2
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(namespaces: int) -> None:
    _checked(_libc.unshare(namespaces), "unshare")


def rejoin_pids(of: int) -> None:
    """Let the next child be born into the namespace of the process behind the descriptor `of` again."""
    _checked(_libc.setns(of, NEW_PIDS), "setns")


def mount_memory(folder: str, *, size: int, files: int) -> None:
    """Mount an empty file system in memory, of `size` bytes and `files` files at most."""
    options = f"size={size},nr_inodes={files},mode=0700".encode()
    _checked(_libc.mount(b"tmpfs", folder.encode(), b"tmpfs", ctypes.c_ulong(_NOSUID_NODEV), options), "mount")


def mount_processes() -> None:
    """Mount a /proc that shows the processes of this namespace only."""
    flags = ctypes.c_ulong(_NOSUID_NODEV | 8)
    _checked(_libc.mount(b"proc", b"/proc", b"proc", flags, None), "mount")


def hide() -> None:
    """Close this process to those of the same user: its memory, its descriptors, its tracing."""
    _checked(_libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0), "prctl")


# Made here and not in each process: what a process makes anew it pays for by the page.
_OF_THIS_PROCESS = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()


def drop_capabilities() -> None:
    """Give up every capability for good. Only the process itself counts: no program it may start has any to give."""
    _checked(_libc.prctl(_AMBIENT, _CLEAR_AMBIENT, 0, 0, 0), "prctl")
    _checked(_libc.capset(_OF_THIS_PROCESS, _NO_CAPABILITIES), "capset")


class Filter(ctypes.Structure):
    """A seccomp filter as the kernel takes it, a `struct sock_fprog`, of an array of `struct sock_filter`."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))

    def __init__(self, program: bytes) -> None:
        super().__init__(len(program) // 8, program)

    def install(self) -> None:
        """Put it on this process and all it will start."""
        _checked(_libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")
        _checked(_libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(self), 0, 0), "seccomp")


def set_limits(limits: Mapping[str, int]) -> None:
    """Set resource limits by name (`AS`, `NPROC` …), the hard with the soft. None is raised above what it is."""
    for name, value in limits.items():
        number: int = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))
