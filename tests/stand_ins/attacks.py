"""Programs that try to get out of the sandbox, or to be taken for right. Each would say that it got through."""

from typing import NamedTuple


class Attack(NamedTuple):
    name: str
    source: str
    statuses: tuple[str, ...]
    """What it may be reported as. Where an attack is simply refused, the program sees an exception."""
    detail: str = ""
    """Part of what the report says."""


ESCAPES = [
    Attack("shadow", "open('/etc/shadow').read()\nprint('THROUGH')", ("exception",), "/etc/shadow"),
    Attack("passwd", "open('/etc/passwd').read()\nprint('THROUGH')", ("exception",), "/etc/passwd"),
    Attack(
        "home",
        "import os\nfor at in ('/root', '/home'):\n if os.path.exists(at): print('THROUGH')\nos.listdir('/root')",
        ("exception",),
        "/root",
    ),
    Attack("environment", "import os\nif 'STARSMITH_SECRET' in os.environ: print('THROUGH')\n1/0", ("exception",)),
    Attack("write to the root", "open('/x', 'w')\nprint('THROUGH')", ("exception",), "Read-only"),
    Attack("write to the system", "open('/usr/bin/x', 'w')\nprint('THROUGH')", ("exception",), "Errno"),
    Attack("write to the judge", "open('/judge/starsmith/x', 'w')\nprint('THROUGH')", ("exception",), "Errno"),
    Attack(
        "loopback",
        "import socket\nsocket.create_connection(('127.0.0.1', PORT), 3)\nprint('THROUGH')",
        ("exception",),
        "refused",
    ),
    Attack(
        "any address",
        "import socket\nsocket.create_connection(('1.1.1.1', 53), 3)\nprint('THROUGH')",
        ("exception",),
        "unreachable",
    ),
    Attack(
        "abstract socket",
        "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0NAME')\nprint('THROUGH')",
        ("exception",),
        "refused",
    ),
    Attack(
        "the host of a virtual machine",
        "import socket\nsocket.socket(40, socket.SOCK_STREAM)\nprint('THROUGH')",
        ("exception",),
        "not supported",
    ),
    Attack(
        "symlink",
        "import os\nos.symlink('/etc/shadow', '/tmp/a')\nopen('/tmp/a').read()\nprint('THROUGH')",
        ("exception",),
        "/tmp/a",
    ),
    Attack("hard link", "import os\nos.link('/usr/bin/env', '/tmp/env')\nprint('THROUGH')", ("exception",), "Errno"),
    Attack("device", "import os\nos.mknod('/tmp/d', 0o60666, os.makedev(254, 0))\nprint('THROUGH')", ("exception",)),
    Attack("other processes", "import os\nos.listdir('/proc/1')\nprint('THROUGH')", ("exception",), "/proc/1"),
    Attack("become root", "import os\nos.setuid(0)\nprint('THROUGH')", ("exception",)),
    Attack(
        "kill everything",
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos.kill(-1, signal.SIGKILL)\n1/0",
        ("exception", "killed"),
    ),
]

_CALL = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
CALLS = {
    "ptrace": "libc.ptrace(16, 2, 0, 0)",
    "mount": "libc.mount(b'x', b'/tmp', b'tmpfs', 0, 0)",
    "unmount": "libc.umount2(b'/proc', 2)",
    "user namespace": "libc.unshare(0x10000000)",
    "clone into a user namespace": "libc.syscall(56, 0x10000011, 0, 0, 0, 0)",
    "enter a namespace": "libc.setns(0, 0)",
    "memory of another": "libc.process_vm_readv(1, 0, 0, 0, 0, 0)",
    "keyring": "libc.syscall(250, 0, -3, 0)",
    "bpf": "libc.syscall(321, 0, 0, 0)",
    "chroot": "libc.chroot(b'/tmp')",
    "32-bit numbers": "libc.syscall(0x40000000 + 39)",
}
REFUSED = {
    "io_uring": ("libc.syscall(425, 1, 0)", 38),
    "performance counters": ("libc.syscall(298, 0, 0, -1, -1, 0)", 1),
    "clone3": ("libc.syscall(435, 0, 0)", 38),
    "shared memory that stays": ("libc.shmget(1, 4096, 0o1666)", 1),
    "memory behind a descriptor": ("libc.memfd_create(b'x', 0)", 38),
}

VIOLATIONS = [Attack(name, f"{_CALL}{call}\nprint('THROUGH')", ("violation",)) for name, call in CALLS.items()]
DENIALS = [
    Attack(name, f"{_CALL}r = {call}\nassert (r, ctypes.get_errno()) == (-1, {number}), r", ("passed",))
    for name, (call, number) in REFUSED.items()
]

EXHAUSTIONS = [
    Attack("memory bomb", "x = []\nwhile True: x.append(bytearray(10_000_000))", ("memory",)),
    Attack(
        "memory of many",
        "import os, time\nfor _ in range(8):\n if os.fork() == 0: break\nx = bytearray(60_000_000)\ntime.sleep(99)",
        ("memory",),
    ),
    Attack("fork bomb", "import os\nwhile True: os.fork()", ("processes",)),
    Attack(
        "patient fork bomb",
        "import os\nwhile True:\n try: os.fork()\n except OSError: pass",
        ("timeout",),
    ),
    Attack(
        "threads",
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()",
        ("processes", "memory"),
    ),
    Attack("output", "while True: print('x' * 100_000)", ("output",)),
    Attack("output to stderr", "import os\nwhile True: os.write(2, b'x' * 100_000)", ("output",)),
    Attack("busy for ever", "while True: pass", ("timeout",)),
    Attack(
        "busy threads",
        "import hashlib, threading\n"
        "def f():\n while True: hashlib.sha256(bytes(1_000_000))\n"
        "for _ in range(3): threading.Thread(target=f).start()\nf()",
        ("timeout",),
    ),
    Attack(
        "ignored signals",
        "import signal\nfor n in range(1, 65):\n"
        " try: signal.signal(n, signal.SIG_IGN)\n except (OSError, ValueError): pass\n"
        "while True: pass",
        ("timeout",),
    ),
    Attack("full disk", "for i in range(9): open(f'/tmp/{i}', 'wb').write(bytes(1 << 20))", ("disk",), "space"),
    Attack("large file", "open('/tmp/x', 'wb').write(bytes(5 << 20))", ("disk",)),
    Attack("full shared memory", "for i in range(9): open(f'/dev/shm/{i}', 'wb').write(bytes(3 << 20))", ("disk",)),
    Attack("many files", "for i in range(999): open(f'/tmp/{i}', 'w').close()", ("disk",)),
    Attack("descriptors", "x = [open('/dev/null') for _ in range(999)]", ("files",)),
    Attack("recursion", "def f(): return f()\nf()", ("exception",), "RecursionError"),
    Attack(
        "recursion without a limit",
        "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n def __repr__(s): return repr([s])\nrepr(A())",
        ("killed", "memory", "exception"),
    ),
    Attack("segmentation fault", "import ctypes\nctypes.string_at(0)", ("killed",), "SIGSEGV"),
    Attack("abort", "import os\nos.abort()", ("killed",)),
    Attack("NUL in the source", "x = '\0'", ("exception",), "null"),
    Attack("no UTF-8", "x = '\ud800'", ("exception",), "UnicodeEncodeError"),
    Attack("any bytes as output", "import os\nos.write(1, bytes(range(256)))\n1/0", ("exception",), "division"),
    Attack("an exception without text", "class E(Exception):\n def __str__(s): raise s\nraise E", ("exception",)),
    Attack("a name without end", "raise type('E' * 10**5, (Exception,), {})('x' * 10**5)", ("exception",)),
    Attack("deep source", "(" * 5000 + ")" * 5000, ("exception", "memory")),
]

SOLUTION = "def add(a, b): return a + b\n"
TEST = "def check(f):\n assert f(1, 2) == 3\n assert f(0, 5) == 5\ncheck(add)\n"

FORGERIES = [
    Attack("exit code 0", "import os\nos._exit(0)", ("exited",)),
    Attack("exit", "raise SystemExit(0)", ("exited",)),
    Attack("exit in a call", "import os\ndef add(a, b): os._exit(0)", ("exited",)),
    Attack("SystemExit in a call", "def add(a, b): raise SystemExit(0)", ("exited",)),
    Attack(
        "exit when garbage is collected",
        "import os\nclass A:\n def __del__(s): os._exit(0)\ndef add(a, b): A(); return 0",
        ("exited",),
    ),
    Attack("printed", "print('passed')\nprint('OK')\ndef add(a, b): return 0", ("wrong",)),
    Attack("own check", "check = lambda f: None\ndef add(a, b): return 0", ("wrong",)),
    Attack(
        "always equal", "class A:\n __eq__ = lambda s, o: True\ndef add(a, b): return A()", ("unjudged", "violation")
    ),
    Attack(
        "an int that is always equal",
        "class A(int):\n __eq__ = lambda s, o: True\n __hash__ = None\ndef add(a, b): return A(7)",
        ("wrong", "violation"),
    ),
    Attack(
        "no assertions", "import builtins\nbuiltins.AssertionError = type(None)\ndef add(a, b): return 0", ("wrong",)
    ),
    Attack(
        "always below and above",
        "class A:\n __sub__ = __rsub__ = __abs__ = lambda s, *o: s\n __lt__ = __gt__ = __eq__ = lambda s, o: True\n"
        "def add(a, b): return A()",
        ("unjudged", "violation"),
    ),
    Attack(
        "no check, by a trace",
        "import sys\ndef t(frame, event, x):\n frame.f_globals['check'] = lambda f: None\nsys.settrace(t)\n"
        "def add(a, b): return 0",
        ("wrong",),
    ),
    Attack("a callable that passes for another", "class add:\n def __new__(c, *a): return True", ("wrong",)),
    Attack(
        "a thread that waits for the test",
        "import threading, __main__\ndef w():\n while not hasattr(__main__, 'check'): pass\n __main__.check = print\n"
        "threading.Thread(target=w, daemon=True).start()\ndef add(a, b):\n import time; time.sleep(0.05); return 0",
        ("wrong",),
    ),
]
"""Each must not pass, whether the test is held apart or runs beside it."""
