"""No program gets out of the sandbox, exhausts the machine, or is taken for right. Each is reported as what it did.

The attacks themselves run as an unprivileged user inside the sandbox's throw-away namespaces. Nothing here starts one
of them anywhere else.
"""

import os
import socket
import subprocess

import pytest
from attacks import DENIALS, ESCAPES, EXHAUSTIONS, FORGERIES, SOLUTION, TEST, VIOLATIONS

from starsmith.evaluate.run import Command, Limits, Program


def one(box, **program):
    (run,) = box.run([Program(id="x", **program)])
    return run


def named(attack):
    return attack.name


@pytest.fixture(scope="module")
def host():
    """What must not be reached: a port on loopback, a socket in the abstract namespace, a secret."""
    name = f"starsmith-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as port, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        abstract.listen()
        yield {"PORT": str(port.getsockname()[1]), "NAME": name}


@pytest.mark.parametrize("attack", [*ESCAPES, *VIOLATIONS, *DENIALS, *EXHAUSTIONS], ids=named)
def test_it_gets_nowhere_and_is_reported(box, host, attack):
    source = attack.source
    for word, value in host.items():
        source = source.replace(word, value)
    run = one(box, source=source)
    assert b"THROUGH" not in run.stdout
    assert run.status in attack.statuses, run
    assert attack.detail in run.detail
    assert len(run.detail) <= 500


@pytest.mark.parametrize("beside", [False, True], ids=["apart", "beside"])
@pytest.mark.parametrize("attack", FORGERIES, ids=named)
def test_a_wrong_program_does_not_pass(box, attack, beside):
    run = one(box, source=attack.source, test=TEST, beside=beside)
    assert run.status in attack.statuses, run


@pytest.mark.parametrize("beside", [False, True], ids=["apart", "beside"])
def test_a_right_program_passes(box, beside):
    assert one(box, source=SOLUTION, test=TEST, beside=beside).status == "passed"


def test_one_process_speaks_for_a_program_that_forks(box):
    programs = [
        Program(id=f"{number}", source="import os\nos.fork()", test="pass", beside=True) for number in range(30)
    ]
    assert {run.status for run in box.run(programs)} == {"passed"}


def test_the_sandbox_works_on_after_all_of_it(box):
    attacks = [*EXHAUSTIONS[:4], *FORGERIES]
    mixed = [program for attack in attacks for program in ((attack.source, False), (SOLUTION, True))]
    runs = box.run(Program(id=f"{i} {right}", source=s, test=TEST) for i, (s, right) in enumerate(mixed))
    assert all((run.status == "passed") == run.id.endswith("True") for run in runs)


@pytest.mark.parametrize("limit", [{"wall_seconds": 0.5}, {"wall_seconds": 60, "own_seconds": 0.5}])
def test_sleep_is_ended_by_the_wall_clock(box, limit):
    limits = Limits(cpu_seconds=5, **limit)
    run = one(box, source="import time\ntime.sleep(1000)", limits=limits)
    assert run.status == "timeout"
    assert run.wall_seconds < 30


def test_endless_output_fills_no_memory(box):
    run = one(box, source="print('start')\nwhile True: print('x' * 1_000_000)")
    assert run.status == "output"
    assert len(run.stdout) == box.limits.kept_bytes


def test_a_daemon_ends_with_its_program_and_leaves_nothing(box):
    marks = "import os, glob\nprint(sorted(glob.glob('/tmp/*') + glob.glob('/dev/shm/*')), len(os.listdir('/tmp')))"
    daemon = (
        "import os, time, socket\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n"
        "  s = socket.create_server(('127.0.0.1', 4444))\n  while True:\n"
        "   open('/tmp/mark', 'w'); open('/dev/shm/m', 'w')\n"
        "time.sleep(0.2)"
    )
    reach = f"{marks}\nimport socket\nsocket.create_connection(('127.0.0.1', 4444), 1)"
    # Twice as many as workers, so that each worker has both.
    runs = list(box.run([*[Program(id="d", source=daemon)] * 2, *[Program(id="r", source=reach)] * 2]))
    after = [run for run in runs if run.id == "r"]
    assert all(run.status == "exception" and "refused" in run.detail for run in after), after
    assert [run.stdout for run in after] == [b"[] 0\n"] * 2


def test_programs_share_nothing_in_memory(box):
    first = "import math, builtins\nmath.pi = 3\nbuiltins.print = None\nimport sys\nsys.modules['re'] = None"
    then = "import math, re\nprint(math.pi > 3)"
    runs = list(box.run([Program(id="", source=first)] * 3 + [Program(id="then", source=then)] * 3))
    assert [run.stdout for run in runs if run.id] == [b"True\n"] * 3


def test_a_sibling_cannot_be_seen(box):
    look = (
        "import os\nprint(os.getpid())\n"
        "for i in range(2, 400):\n try: os.kill(i, 0); print('THROUGH')\n except OSError: pass"
    )
    for run in box.run([Program(id="", source=look)] * 4):
        assert (run.status, run.stdout) == ("passed", b"1\n")


def test_a_server_that_dies_is_started_again(box):
    os.kill(box.processes()[0], 9)
    runs = list(box.run(Program(id=str(i), source="x = 1") for i in range(4)))
    assert [run.status for run in runs] == ["passed"] * 4


def test_who_stops_asking_leaves_nothing_running(box):
    for _ in box.run([Program(id="", source="x = 1"), *[Program(id="", source="while True: pass")] * 2]):
        break
    assert one(box, source="x = 1").status == "passed"


def test_a_busy_machine_does_not_change_verdicts(box):
    """A program within its processor time passes however long it waits for the processor; one beyond it does not."""
    busy = "import time\nwhile time.process_time() < {}: pass"
    load = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(4)]
    try:
        limits = Limits(cpu_seconds=0.4, own_seconds=0.8, wall_seconds=60)
        within, beyond = [
            [run.status for run in box.run([Program(id="", source=busy.format(s), limits=limits)] * 2)]
            for s in (0.2, 9)
        ]
    finally:
        for process in load:
            process.kill()
            process.wait()
    assert (within, beyond) == (["passed"] * 2, ["timeout"] * 2)


AS_SOMEBODY = """
import sys
import attacks
from starsmith.evaluate.run import Limits, Program
from starsmith.evaluate.sandbox import Sandbox
chosen = [a for a in [*attacks.ESCAPES, *attacks.VIOLATIONS, *attacks.FORGERIES] if "PORT" not in a.source]
with Sandbox(workers=2, limits=Limits(cpu_seconds=0.5)) as box:
    for run in box.run(Program(id=str(i), source=a.source, test=attacks.TEST) for i, a in enumerate(chosen)):
        if run.status not in (*chosen[int(run.id)].statuses, "killed") or b"THROUGH" in run.stdout:
            sys.exit(f"{chosen[int(run.id)].name}: {run}")
    assert [run.status for run in box.run([Program(id="", source=attacks.SOLUTION, test=attacks.TEST)])] == ["passed"]
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="All other tests run as an ordinary user already.")
def test_the_same_for_a_caller_who_is_not_root(box, repository):
    paths = f"{repository / 'src'}:{repository / 'tests' / 'stand_ins'}"
    asked = [box.interpreter.path, "-B", "-c", AS_SOMEBODY]
    env = {"PYTHONPATH": paths, "PATH": os.environ["PATH"]}
    done = subprocess.run(asked, user=65534, group=65534, extra_groups=[], cwd="/", env=env, capture_output=True)
    if b"Permission denied" in done.stderr or b"No module named" in done.stderr:
        pytest.skip("This checkout cannot be read by others.")
    assert done.returncode == 0, done.stderr.decode()


def test_a_command_is_held_as_a_program_is(box):
    attack = (
        "cat /etc/shadow; ls /root; echo x > /usr/x; kill -9 1; mount -t tmpfs x /tmp; echo $STARSMITH_SECRET; exit 3"
    )
    (run,) = box.run([Command(id="", steps=(("sh", "-c", attack),))])
    assert (run.status, run.exit_code, run.stdout.strip()) == ("exception", 3, b"")
