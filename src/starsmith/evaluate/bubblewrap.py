"""Starting the fork server: under bubblewrap from an unprivileged user, or, where someone insists, without.

Inside are the system's `/usr`, read-only, the interpreter, and an empty `/tmp`: no home, no `/etc`, no network, no
environment of the caller's. What a program may do in there is `inside.server`'s and `seccomp`'s business.
"""

import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO

from starsmith.errors import StarsmithError
from starsmith.evaluate import seccomp
from starsmith.fingerprint import fingerprint

UNPRIVILEGED = 65534
"""The user and group that programs run as when the caller is root, whom limits on processes do not bind."""

_INSIDE = ("candidate", "fair", "frames", "judge", "kernel", "server", "wire")
_OWN_PATH = "/judge"
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108 (the sandbox's own)
    "TMPDIR": "/tmp",  # noqa: S108
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # The order of a set must not differ between two runs.
    "PYTHONHASHSEED": "0",
}
_OLDEST = (3, 11)
_DEVICES = ("null", "zero", "full", "random", "urandom")
_OF_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64")
_OF_CONFIGURATION = (
    "alternatives",
    "ld.so.cache",
    "localtime",
    "R",
    "ldc2.conf",
    "mono",
    "php",
    "racket",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
)

MISSING = (
    "bubblewrap is not installed, and programs that nobody has read must not run without a sandbox; install it "
    "(Debian and Ubuntu: apt-get install bubblewrap)."
)
_ADVICE = (
    "It needs user namespaces. On a machine of your own: sysctl user.max_user_namespaces must be above 0, "
    "kernel.unprivileged_userns_clone, where it exists, 1, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns "
    "0. "
    "Inside a container, start that with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined, or run this outside it."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Interpreter:
    """The Python that judged programs run under."""

    path: str
    version: str
    prefixes: tuple[str, ...]


def _identity() -> tuple[int | None, tuple[int, ...] | None]:
    """Return the user (and group) to start a process as, and its further groups. None leaves them as they are."""
    return (UNPRIVILEGED, ()) if os.geteuid() == 0 else (None, None)


def interpreter(wanted: Path | None = None) -> Interpreter:
    """Return `wanted`, or the first Python that the unprivileged user can run: this one, or the system's.

    Raises StarsmithError where there is none.
    """
    paths = [str(wanted)] if wanted else list(dict.fromkeys([sys.executable, "/usr/bin/python3"]))
    why = []
    for path in paths:
        found = _asked(path)
        if isinstance(found, Interpreter):
            return found
        why.append(f"{path}: {found}")
    raise StarsmithError(
        f"No Python that an unprivileged user can run ({'; '.join(why)}); install the system's python3, or make an "
        "environment outside of any home folder that everybody may read."
    )


def _asked(path: str) -> Interpreter | str:
    code = "import json, sys; print(json.dumps([sys.version, sys.prefix, sys.base_prefix]))"
    user, groups = _identity()
    try:
        done = subprocess.run(
            [path, "-s", "-I", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
            env={},
            timeout=60,
            user=user,
            group=user,
            extra_groups=groups,
        )
        version, prefix, base = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        return error.stderr.strip().rpartition("\n")[2] or f"it ended with code {error.returncode}"
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return str(error)
    if tuple(map(int, version.split(".")[:2])) < _OLDEST:
        return f"version {version.split()[0]}, where 3.11 or later is needed"
    outside = {at for at in (prefix, base) if not at.startswith("/usr")}
    return Interpreter(path=path, version=version.split()[0], prefixes=tuple(sorted(outside)))


@dataclass(kw_only=True)
class Started:
    """A fork server that runs, and the socket to speak to it."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    said: IO[bytes]
    """What bubblewrap or the server wrote to stderr."""

    def complaint(self) -> str:
        """Return the last line of what was said on stderr."""
        self.said.seek(0)
        return self.said.read(10_000).decode(errors="replace").strip().rpartition("\n")[2]

    def end(self) -> None:
        """Stop it, and with it all it started."""
        self.process.kill()
        self.process.wait()
        self.channel.close()
        self.said.close()


def start(python: Interpreter, *, isolated: bool) -> Started:
    """Start a fork server. Raises StarsmithError where bubblewrap is missing."""
    command, handed = _isolated(python) if isolated else _open(python)
    ours, theirs = socket.socketpair()
    user, groups = _identity()
    said = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the server)
    with theirs:
        process = subprocess.Popen(
            command,
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=said,
            pass_fds=handed,
            cwd="/",
            env={} if isolated else _ENVIRONMENT,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=groups,
        )
    for descriptor in handed:
        os.close(descriptor)
    return Started(process=process, channel=ours, said=said)


def failure(started: Started) -> StarsmithError:
    """Return the error for a server that never answered."""
    return StarsmithError(f"bubblewrap did not start: {started.complaint() or 'it said nothing'}. {_ADVICE}")


def _server(python: Interpreter, *, isolated: bool, own_path: str) -> list[str]:
    code = f"import sys; sys.path.insert(0, {own_path!r}); from starsmith.evaluate.inside.server import main; main()"
    chosen = {"isolated": isolated, "filter": seccomp.compiled().hex() if isolated else "", "own_path": own_path}
    return [python.path, "-s", "-P", "-B", "-X", "utf8", "-c", code, json.dumps(chosen)]


def _open(python: Interpreter) -> tuple[list[str], list[int]]:
    folder = str(Path(str(resources.files("starsmith"))).parent)
    return _server(python, isolated=False, own_path=folder), []


def _isolated(python: Interpreter) -> tuple[list[str], list[int]]:
    program = shutil.which("bwrap")
    if program is None:
        raise StarsmithError(MISSING)
    words = [program, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    words += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--hostname", "sandbox", "--clearenv"]
    # Power over the namespaces made here, and nothing else. The server gives each program its own with it.
    words += ["--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN"]
    for name, value in _ENVIRONMENT.items():
        words += ["--setenv", name, value]
    words += ["--ro-bind", "/usr", "/usr", *_system(), "--proc", "/proc", "--dir", "/dev/shm"]  # noqa: S108
    words += [word for name in _DEVICES for word in ("--dev-bind", f"/dev/{name}", f"/dev/{name}")]
    words += ["--symlink", "/proc/self/fd", "/dev/fd", "--dir", "/tmp"]  # noqa: S108
    words += [word for prefix in python.prefixes for word in ("--ro-bind", prefix, prefix)]
    handed = []
    for name in _INSIDE:
        descriptor = _in_memory(_inside(name))
        handed.append(descriptor)
        words += ["--ro-bind-data", str(descriptor), f"{_OWN_PATH}/starsmith/evaluate/inside/{name}.py"]
    words += ["--remount-ro", "/", "--chdir", "/", "--", *_server(python, isolated=True, own_path=_OWN_PATH)]
    return words, handed


def _inside(name: str) -> bytes:
    return resources.files("starsmith.evaluate.inside").joinpath(f"{name}.py").read_bytes()


@functools.cache
def code_digest() -> str:
    """Return a digest of the code that runs inside and its filter: with others, a program may get another verdict."""
    filtering = resources.files("starsmith.evaluate").joinpath("seccomp.py").read_bytes()
    return fingerprint({"filter": filtering, **{name: _inside(name) for name in _INSIDE}})


def _system() -> Sequence[str]:
    words: list[str] = []
    for name in _OF_SYSTEM:
        path = Path("/") / name
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    for name in _OF_CONFIGURATION:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return words


def _in_memory(content: bytes) -> int:
    descriptor = os.memfd_create("inside")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
