"""Text statistics: the compiled kernels against the same measures in plain Python, on the same real source code.

    taskset -c 0 python benchmarks/text_statistics.py [FOLDER ...] [--megabytes 50]

Reads files from the folders (default: the standard library and the site-packages of the running interpreter) until
there are enough megabytes, pins itself to one core, measures every file both ways, says whether every value is equal,
and prints megabytes of text per second of processor time.
"""

import argparse
import html
import os
import re
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from starsmith.curate.text_stats import GENERATED_LINES, GENERATED_PHRASES, MEASURES, measure

SUFFIXES = frozenset(
    {".c", ".cc", ".cfg", ".cpp", ".css", ".go", ".h", ".hpp", ".html", ".ini", ".java", ".js", ".json", ".md", ".pxd"}
    | {".py", ".pyi", ".pyx", ".rst", ".toml", ".ts", ".txt", ".xml", ".yaml", ".yml"}
)
MAX_BYTES = 10 * 1024 * 1024
BATCH_TEXTS = 1000
HTML_SUFFIXES = (".html", ".htm")

BASE64 = re.compile(r"[a-zA-Z0-9+/\n=]{64,}")
HEXADECIMAL = re.compile(r"(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)){8,}")
ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}")
LINE_END = re.compile(r"\r\n|\r|\n")
RAW_ELEMENT = re.compile(r"<(script|style)\b[^>]*>.*?</\1\s*>", re.S | re.I)
MARKUP = re.compile(r"<!--.*?-->|<[^>]*>", re.S)


def in_python(text: str, *, is_html: bool) -> dict[str, Any]:
    """Measure one text as one would without compiled code. The visible text of HTML is only an estimate here."""
    lines = LINE_END.split(text)
    if lines[-1] == "":
        lines.pop()
    lengths = list(map(len, lines))
    chars = len(text)
    row: dict[str, Any] = {
        "num_chars": chars,
        "num_lines": len(lines),
        "avg_line_length": sum(lengths) / len(lines) if lines else 0.0,
        "max_line_length": max(lengths, default=0),
        "alpha_fraction": sum(map(str.isalpha, text)) / chars if chars else 0.0,
        "alphanum_fraction": sum(map(str.isalnum, text)) / chars if chars else 0.0,
    }
    for kind, pattern in (("base64", BASE64), ("hex", HEXADECIMAL), ("unicode", ESCAPES)):
        found = [match.end() - match.start() for match in pattern.finditer(text)]
        row[f"{kind}_longest"] = max(found, default=0)
        row[f"{kind}_fraction"] = sum(found) / chars if chars else 0.0
    head = "\n".join(lines[:GENERATED_LINES]).lower()
    places = [(head.find(phrase), phrase) for phrase in GENERATED_PHRASES if phrase in head]
    row["generated_phrase"] = min(places)[1] if places else None
    row["visible_chars"] = len(html.unescape(MARKUP.sub("", RAW_ELEMENT.sub("", text)))) if is_html else None
    return row


def source_texts(folders: list[Path], limit: int) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the text files below `folders` until `limit` bytes are reached."""
    total = 0
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix not in SUFFIXES or not path.is_file() or path.stat().st_size > MAX_BYTES:
                continue
            content = path.read_bytes()
            if not is_utf8(content):
                continue
            yield path.name, content
            total += len(content)
            if total >= limit:
                return


def is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def pin_to_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def differences(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[str]:
    """Name every (row, column) whose values differ; the visible text is left out, being an estimate in plain Python."""
    columns = [name for name in MEASURES if not name.startswith("visible")]
    return [
        f"text {number}, {name}: {mine[name]!r} != {other[name]!r}"
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=True))
        for name in columns
        if mine[name] != other[name]
    ]


def measure_in_batches(texts: pa.LargeBinaryArray, flags: np.ndarray[Any, Any]) -> list[pa.RecordBatch]:
    return [
        measure(texts.slice(first, BATCH_TEXTS), html=flags[first : first + BATCH_TEXTS], hex_spaces=False)
        for first in range(0, len(texts), BATCH_TEXTS)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--megabytes", type=float, default=50)
    arguments = parser.parse_args()
    pin_to_one_core()
    folders = arguments.folders or [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    named = list(source_texts(folders, int(arguments.megabytes * 1e6)))
    texts = pa.array([content for _, content in named], pa.large_binary())
    flags = np.array([name.endswith(HTML_SUFFIXES) for name, _ in named], np.bool_)
    megabytes = sum(len(content) for _, content in named) / 1e6
    print(f"{len(named)} files, {megabytes:.1f} MB, {int(flags.sum())} of them HTML")

    first_seconds, _ = timed(lambda: measure(texts.slice(0, 1), html=np.ones(1, np.bool_), hex_spaces=False))
    print(f"first call, with compilation where the cache is empty: {first_seconds:.2f} s")
    runs = [timed(lambda: measure_in_batches(texts, flags)) for _ in range(3)]
    seconds = min(run[0] for run in runs)
    decoded = [content.decode() for _, content in named]
    python_seconds, theirs = timed(
        lambda: [in_python(text, is_html=bool(flag)) for text, flag in zip(decoded, flags, strict=True)]
    )
    different = differences(pa.Table.from_batches(runs[0][1]).to_pylist(), theirs)
    print(f"plain Python {megabytes / python_seconds:8.1f} MB per CPU second")
    print(f"Starsmith    {megabytes / seconds:8.1f} MB per CPU second")
    print(f"ratio        {python_seconds / seconds:8.1f}")
    print("all values agree" if not different else f"{len(different)} values differ: {'; '.join(different[:5])}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
