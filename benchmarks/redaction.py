"""Secrets and personal data: precision and recall on the truth set, and speed on real files beside other tools.

    python benchmarks/redaction.py                               # both halves, and speed on installed files
    python benchmarks/redaction.py --half both                   # `make truth`: precision and recall only
    python benchmarks/redaction.py FOLDER … --megabytes 100
    python benchmarks/redaction.py --peer detect-secrets=PYTHON --peer datatrove=PYTHON
    python benchmarks/redaction.py --half development --show 20  # what is wrong in the half that may be looked at

A finding is right if it is of the right kind and shares four fifths of the bytes that it and the truth cover. Kinds:
email, ip, key (tokens, keys and private keys), password. Speed is in MB of text per second of CPU, on one core, each
tool with the same files; the peers count the text they were given even where they skip a file. PYTHON is an
interpreter in which that package is installed; peers without one are left out. What the tools look for differs:
detect-secrets looks for secrets only, datatrove's PIIFormatter for e-mail and public IP addresses only.
"""

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
from text_statistics import pin_to_one_core, source_texts
from truth_set import HALVES, KINDS, Example, examples

from starsmith.curate.findings import Findings, Span
from starsmith.curate.redact import redact, scan
from starsmith.settings import RedactionSettings

BATCH_TEXTS = 1000
LEAST_SHARED = 0.8
# Addresses in licence headers and of example domains are labelled where they must be found, so nothing is kept here
# that a label could ask for.
SETTINGS = RedactionSettings(keep_licence_authors=False)

DETECT_SECRETS = """
import json, sys, time
from detect_secrets import SecretsCollection
from detect_secrets.settings import default_settings
files = json.load(open(sys.argv[1])); limit = float(sys.argv[2]); size = found = 0
started = time.process_time()
with default_settings():
    for path in files:
        secrets = SecretsCollection(); secrets.scan_file(path)
        found += sum(len(group) for group in secrets.data.values()); size += len(open(path, "rb").read())
        if time.process_time() - started > limit: break
print(json.dumps([size / 1e6 / (time.process_time() - started), found]))
"""
DATATROVE = """
import json, sys, time
from datatrove.data import Document
from datatrove.pipeline.formatters import PIIFormatter
texts = [open(path, encoding="utf-8", newline="").read() for path in json.load(open(sys.argv[1]))]
formatter = PIIFormatter(); limit = float(sys.argv[2]); size = found = 0
started = time.process_time()
for text in texts:
    new = formatter.format(text); found += new != text; size += len(text.encode())
    if time.process_time() - started > limit: break
print(json.dumps([size / 1e6 / (time.process_time() - started), found]))
"""
PEERS = {"detect-secrets": DETECT_SECRETS, "datatrove": DATATROVE}


def kind_of(span: Span) -> str:
    """Return the kind of the truth set that a finding's kind belongs to."""
    if span.kind in {"email", "password"}:
        return span.kind
    return "ip" if span.kind.startswith("ipv") else "key"


def is_right(span: Span, label: tuple[str, int, int]) -> bool:
    shared = min(span.end, label[2]) - max(span.start, label[1])
    covered = max(span.end, label[2]) - min(span.start, label[1])
    return kind_of(span) == label[0] and shared >= LEAST_SHARED * covered


def score(cases: list[Example], findings: Findings, show: int) -> dict[str, tuple[float, float, float, int]]:
    """Return (precision, recall, F1, labels) of each kind, and print the first `show` mistakes."""
    right, found, wanted = Counter[str](), Counter[str](), Counter[str]()
    by_row: dict[int, list[Span]] = {}
    for span in findings.spans():
        by_row.setdefault(span.row, []).append(span)
    for row, case in enumerate(cases):
        spans = by_row.get(row, [])
        wanted.update(label[0] for label in case.labels)
        found.update(map(kind_of, spans))
        missed = [label for label in case.labels if not any(is_right(span, label) for span in spans)]
        wrong = [span for span in spans if not any(is_right(span, label) for label in case.labels)]
        right.update(label[0] for label in case.labels if label not in missed)
        for kind, start, end in [*missed, *((f"not {span.kind}", span.start, span.end) for span in wrong)]:
            if show > 0:
                show -= 1
                print(f"    {kind}: {_in_context(case.text, start, end)}")
    return {kind: _figures(right[kind], found[kind], wanted[kind]) for kind in KINDS}


def _figures(right: int, found: int, wanted: int) -> tuple[float, float, float, int]:
    precision, recall = right / max(1, found), right / max(1, wanted)
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall), wanted


def _in_context(text: bytes, start: int, end: int) -> str:
    first = text.rfind(b"\n", 0, start) + 1
    last = text.find(b"\n", end)
    shown = text[first:start] + b"[[" + text[start:end][:50] + b"]]" + text[end : last if last >= 0 else None]
    return shown.decode(errors="replace")[:200]


def print_scores(half: str, show: int) -> None:
    cases = examples(half)
    findings = scan(pa.array([case.text for case in cases], pa.large_binary()), SETTINGS)
    figures = score(cases, findings, show)
    print(f"truth set, {half} half: {len(cases)} texts")
    print("  kind       precision  recall      F1  labels")
    for kind, (precision, recall, f1, labels) in figures.items():
        print(f"  {kind:10} {precision:9.3f} {recall:7.3f} {f1:7.3f} {labels:7}")


def own_speed(texts: pa.LargeBinaryArray) -> tuple[float, Counter[str]]:
    """Return (CPU seconds of the scan and the edits, findings by kind)."""
    ids = [b"%020d" % row for row in range(len(texts))]
    scan(texts.slice(0, 1), RedactionSettings())
    started = time.process_time()
    kinds: Counter[str] = Counter()
    for first in range(0, len(texts), BATCH_TEXTS):
        batch = texts.slice(first, BATCH_TEXTS)
        findings = scan(batch, RedactionSettings())
        redact(batch, findings, content_ids=ids[first : first + BATCH_TEXTS])
        kinds.update(findings.kind)
    return time.process_time() - started, kinds


def peer_speed(program: str, python: str, contents: list[bytes], seconds: float) -> tuple[float, int] | None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{number}.txt" for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        listed = folder / "files.json"
        listed.write_text(json.dumps([str(path) for path in paths]))
        command = [python, "-c", program, str(listed), str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"  {python}: {done.stderr.strip().splitlines()[-1:]}")
        return None
    rate, found = json.loads(done.stdout.splitlines()[-1])
    return float(rate), int(found)


def print_speeds(arguments: argparse.Namespace) -> None:
    folders = arguments.folders or [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    contents = [content for _, content in source_texts(folders, int(arguments.megabytes * 1e6))]
    megabytes = sum(map(len, contents)) / 1e6
    seconds, kinds = min((own_speed(pa.array(contents, pa.large_binary())) for _ in range(3)), key=lambda run: run[0])
    print(f"speed on {len(contents)} files, {megabytes:.1f} MB, in MB per CPU second")
    print(f"  Starsmith, scan and edits {megabytes / seconds:10.2f}   {dict(kinds.most_common())}")
    peers = dict(each.split("=", 1) for each in arguments.peer)
    for title, program in PEERS.items():
        peer = peer_speed(program, peers[title], contents, arguments.seconds) if title in peers else None
        if peer is None:
            print(f"  {title:25}    not run; name its interpreter with --peer {title}=PYTHON")
        else:
            print(f"  {title:25} {peer[0]:10.2f}   Starsmith is {megabytes / seconds / peer[0]:.1f} times as fast")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--half", choices=(*HALVES, "both"), help="print precision and recall only")
    parser.add_argument("--show", type=int, default=0, help="print this many mistakes of each half")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help=f"one of {', '.join(PEERS)}")
    parser.add_argument("--seconds", type=float, default=20, help="CPU seconds a peer may take")
    arguments = parser.parse_args()
    pin_to_one_core()
    for half in HALVES if arguments.half in (None, "both") else [arguments.half]:
        print_scores(half, arguments.show)
    if not arguments.half:
        print_speeds(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
