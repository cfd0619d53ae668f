"""Decontamination: the automaton and the runs of words against loops over strings and datatrove's n-gram filter.

    taskset -c 0 python benchmarks/decontamination.py DATA [FOLDER ...] [--megabytes 50] [--peer datatrove=PYTHON]

DATA is a folder with the files of benchmarks, laid out as the tests' data; FOLDERS (default: the standard library and
the site-packages of the running interpreter) hold the documents. Prints megabytes of documents per second of processor
time for each rule, for `text in document` over all texts (on a few documents, being slow) and for the filter of a
datatrove installed beside PYTHON; says whether the loop finds the same; then plants problems and prints which rule
finds which. No benchmark's text is printed.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from starsmith.benchmarks import load
from starsmith.curate.benchmark_texts import ProblemText
from starsmith.curate.decontaminate import Index, scan
from starsmith.curate.normal_form import normalised
from starsmith.settings import DecontaminationSettings

SETS = {
    "humaneval": "humaneval/HumanEval.jsonl.gz",
    "humanevalplus": "humanevalplus/HumanEvalPlus.jsonl.gz",
    "mbpp": "mbpp/mbpp.jsonl.gz",
    "mbppplus": "mbppplus/MbppPlus.jsonl.gz",
    "multipl-e": "multipl_e_humaneval",
    "gsm8k": "gsm8k/test.jsonl.gz",
    "humanevalpack": "humanevalpack",
    "canitedit": "canitedit",
    "cruxeval": "cruxeval",
    "bigcodebench": "bigcodebench",
}
SUFFIXES = (".py", ".pyi", ".c", ".h", ".js", ".md", ".rst", ".txt", ".json", ".html", ".css", ".pyx")
MAX_BYTES = 10 * 1024 * 1024
LOOP_BYTES = 300_000
BATCH = 1000

DATATROVE = r"""
import json, sys, time
import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer
from datatrove.utils.text import ngrams, simplify_text
texts, documents = json.load(open(sys.argv[1]))
config = NGramsDecontConfig(n_grams=10)
step = NGramsDecontFilter(sys.argv[2], config=config)
hashes = set()
for text in texts:
    words = step.tokenizer.word_tokenize(simplify_text(text, config.norm_config))
    hashes.update(step.hash_func(" ".join(run)) for run in ngrams(words, config.n_grams))
np.array(list(hashes), dtype=config.hash_config.np_descr).tofile(sys.argv[2] + "/all.index.hashes")
step.load_index_hashes()
started = time.process_time()
for number, text in enumerate(documents):
    step.filter(Document(text=text, id=str(number)))
print(time.process_time() - started)
"""


def documents_of(folders: list[Path], limit: float) -> list[bytes]:
    found, total = [], 0
    for path in (path for folder in folders for path in sorted(folder.rglob("*"))):
        if total >= limit:
            break
        if path.suffix in SUFFIXES and path.is_file() and path.stat().st_size <= MAX_BYTES:
            content = path.read_bytes()
            try:
                content.decode()
            except UnicodeDecodeError:
                continue
            found.append(content)
            total += len(content)
    return found


def seconds_of(work: Callable[[], Any], *, runs: int = 1) -> tuple[float, Any]:
    times = []
    for _ in range(runs):
        started = time.process_time()
        result = work()
        times.append(time.process_time() - started)
    return min(times), result


def scan_all(documents: pa.LargeBinaryArray, index: Index) -> list[pa.Table]:
    return [scan(documents.slice(first, BATCH), index) for first in range(0, len(documents), BATCH)]


def by_loop(documents: list[bytes], texts: list[str]) -> set[tuple[int, str]]:
    flat = ["".join(document.decode().split()).lower() for document in documents]
    return {(number, text) for number, document in enumerate(flat) for text in texts if text in document}


def by_datatrove(python: str, texts: list[str], documents: list[bytes]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder, "task.json")
        task.write_text(json.dumps([texts, [document.decode() for document in documents]]))
        Path(folder, "index").mkdir()
        command = [python, "-c", DATATROVE, str(task), str(Path(folder, "index"))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def report_speed(problems: list[ProblemText], documents: list[bytes], python: str | None) -> None:
    batch = pa.array(documents, pa.large_binary())
    megabytes = sum(map(len, documents)) / 1e6
    print(f"{len(documents)} documents, {megabytes:.1f} MB")
    rates = {}
    for rule in ("paper", "ngram", "both"):
        built, index = seconds_of(lambda rule=rule: Index.build(problems, DecontaminationSettings(rule=rule)))
        scan(batch.slice(0, 1), index)
        taken, matches = seconds_of(lambda index=index: scan_all(batch, index), runs=3)
        rates[rule] = megabytes / taken
        held = sum(len(table["document"].unique()) for table in matches)
        size = len(index.to_bytes()) / 1e6
        print(f"{rule:6} {rates[rule]:8.1f} MB/s, built in {built:.1f} s, {size:.0f} MB; {held} documents match")
    texts = sorted({"".join(p.text.split()).lower() for p in problems if len(normalised(p.text.encode())) >= 30})
    few = [document for document in documents if len(document) < LOOP_BYTES // 4]
    few = few[:: max(1, len(few) * (sum(map(len, few)) // len(few)) // LOOP_BYTES)]
    # Every tenth holds a problem, so that there is something to agree about.
    few = [each + texts[number].encode() if number % 10 == 0 else each for number, each in enumerate(few)]
    loop, pairs = seconds_of(lambda: by_loop(few, texts))
    rate = sum(map(len, few)) / 1e6 / loop
    own = scan(pa.array(few, pa.large_binary()), Index.build(problems, DecontaminationSettings()))
    agree = {number for number, _ in pairs} == set(own["document"].to_pylist())
    print(f"loop   {rate:8.3f} MB/s over {len(texts)} texts, {len(few)} documents; ratio {rates['paper'] / rate:.0f}")
    print(f"       same documents found: {'yes' if agree else 'NO'}")
    if python:
        taken = by_datatrove(python, [p.text for p in problems], few)
        rate = sum(map(len, few)) / 1e6 / taken
        print(f"datatrove's n-gram filter {rate:.3f} MB/s; ratio {rates['ngram'] / rate:.0f}")


def renamed(text: str) -> str:
    """Rename every name of two letters or more that is assigned or a parameter."""
    names = set(re.findall(r"\b([a-z_]\w+)\s*(?:=[^=]|,|\)|:| in )", text)) - {
        "return",
        "else",
        "in",
        "not",
        "and",
        "or",
    }
    names -= {"str", "int", "float", "list", "bool", "List", "len", "range", "True", "False", "None"}
    return re.sub(r"\b\w+\b", lambda match: f"v_{match[0]}" if match[0] in names else match[0], text)


def plantings(prompt: str, docstring: str, solution: str) -> dict[str, str]:
    """Return a Python problem as it may turn up in a repository."""
    whole = prompt + solution
    lines = whole.splitlines()
    longest = max(range(len(lines)), key=lambda number: len(lines[number]))
    edited = [*lines[:longest], "        something_else = entirely(different)", *lines[longest + 1 :]]
    translated = whole.replace(docstring, " Eine Beschreibung der Funktion in einer anderen Sprache.\n    ")
    return {
        "verbatim": whole,
        "indented, upper case": "\n".join("\t\t" + line for line in lines).upper(),
        "renamed variables": renamed(whole),
        "translated docstring": translated,
        "docstring only": f'def f(x):\n    """{docstring}"""\n    raise NotImplementedError\n',
        "docstring as # lines": "\n".join(f"# {line}" for line in docstring.splitlines()) + "\n\ndef f(x): ...\n",
        "solution only": f"def f(x):\n{solution}\n",
        "longest line changed": "\n".join(edited),
    }


def report_plantings(problems: list[ProblemText], host: bytes) -> None:
    """Print how many of HumanEval's problems each rule finds by each planting, the other benchmarks being left out."""
    parts: dict[str, dict[str, str]] = {}
    for p in problems:
        if p.benchmark == "humaneval":
            parts.setdefault(p.problem, {})[p.field] = p.text
    planted = [plantings(part["prompt"], part["docstring"], part["solution"]) for part in parts.values()]
    own = [p for p in problems if p.benchmark == "humaneval"]
    found: dict[str, Counter[str]] = {}
    shares = (0.8, 0.5, 0.2)
    rules = {"paper": DecontaminationSettings()} | {
        f"ngram {share}": DecontaminationSettings(rule="ngram", ngram_share=share) for share in shares
    }
    for name, settings in rules.items():
        index = Index.build(own, dataclasses.replace(settings))
        for kind in planted[0]:
            texts = [
                host[: len(host) // 2] + b"\n" + made[kind].encode() + b"\n" + host[len(host) // 2 :]
                for made in planted
            ]
            matches = scan(pa.array(texts, pa.large_binary()), index)
            right = {
                number
                for number, problem in zip(matches["document"].to_pylist(), matches["problem"].to_pylist(), strict=True)
                if problem == list(parts)[number]
            }
            found.setdefault(kind, Counter())[name] = len(right)
    print(f"\nfound of {len(parts)} planted    " + "".join(f"{name:>12}" for name in rules))
    for kind, counts in found.items():
        print(f"{kind:24}" + "".join(f"{counts[name]:12}" for name in rules))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--peer", action="append", default=[], metavar="datatrove=PYTHON")
    arguments = parser.parse_args()
    os.environ.setdefault("TQDM_DISABLE", "1")
    problems = [text for name, path in SETS.items() for text in load(name, arguments.data / path)]
    counts = Counter(name for name, _ in {(p.benchmark, p.problem) for p in problems})
    print(f"{len(problems)} texts of " + ", ".join(f"{counts[name]} {name}" for name in SETS))
    folders = arguments.folders or [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    documents = documents_of(folders, arguments.megabytes * 1e6)
    report_speed(problems, documents, dict(each.split("=", 1) for each in arguments.peer).get("datatrove"))
    report_plantings(problems, documents[0][:4000])
    return 0


if __name__ == "__main__":
    sys.exit(main())
