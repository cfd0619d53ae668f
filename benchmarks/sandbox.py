"""Programs judged per second: the sandbox, with full isolation, against a plain process for each program without any.

    python benchmarks/sandbox.py HUMAN_EVAL.jsonl.gz [--rounds 3]

Programs are HumanEval's canonical solutions with the official tests. The plain process is what openai/human-eval's
executor starts for each program, less its guard and its manager process, so it flatters that executor (62 programs a
second a core against 76, measured elsewhere on one core). One worker each, in turns, so that both see the same load.
"""

import argparse
import gzip
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from starsmith.evaluate.run import Program
from starsmith.evaluate.sandbox import Sandbox

Case = tuple[str, str]


def cases(path: Path) -> list[Case]:
    """Read (solution, test) of every problem."""
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return [(f"{r['prompt']}{r['canonical_solution']}", f"{r['test']}\ncheck({r['entry_point']})\n") for r in rows]


def plain(python: str, work: list[Case]) -> float:
    """Run each in a process of its own. Returns the processor time of all."""
    before = os.times()
    for source, test in work:
        subprocess.run([python, "-I", "-c", f"{source}\n{test}"], check=True, capture_output=True)
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def sandboxed(box: Sandbox, work: list[Case], *, beside: bool) -> float:
    """Run each in the sandbox. Returns the processor time of the server, of what it ran, and of this process."""
    before = sum(os.times()[:2]) + tree_seconds(box)
    programs = (Program(id=str(i), source=s, test=t, beside=beside) for i, (s, t) in enumerate(work))
    wrong = [run for run in box.run(programs) if run.status != "passed"]
    assert not wrong, wrong[:3]
    return sum(os.times()[:2]) + tree_seconds(box) - before


def tree_seconds(box: Sandbox) -> float:
    """Return the processor time of every process under the sandbox, and of their ended children."""
    waiting, ticks = box.processes(), 0
    while waiting:
        process = waiting.pop()
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
        waiting += map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("problems", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    work = cases(chosen.problems)
    with Sandbox(workers=1) as box:
        schemes: dict[str, Callable[[], float]] = {
            "plain process each, no isolation": lambda: plain(box.interpreter.path, work),
            "sandbox, test beside the program": lambda: sandboxed(box, work, beside=True),
            "sandbox, test in a process apart": lambda: sandboxed(box, work, beside=False),
        }
        totals = {name: [0.0, 0.0] for name in schemes}
        for _ in range(chosen.rounds):
            for name, run in schemes.items():
                began = time.monotonic()
                totals[name][1] += run()
                totals[name][0] += time.monotonic() - began
    count, (base_wall, base_cpu) = len(work) * chosen.rounds, next(iter(totals.values()))
    print(f"{count} programs each, load {os.getloadavg()[0]:.1f}, Python {box.interpreter.version}")
    for name, (wall, cpu) in totals.items():
        print(
            f"{name}: {count / wall:.0f} a second ({base_wall / wall:.1f}x), "
            f"{1000 * cpu / count:.1f} ms of processor time each ({base_cpu / cpu:.1f}x)"
        )


if __name__ == "__main__":
    main()
