"""A workspace on an object store: how many requests a build makes, and what it takes against one on the local disk.

    python benchmarks/object_store.py FOLDER [--documents 6000] [--shard-documents 2000,500] [--delay 0.03]

FOLDER keeps the generated corpus (see `generated_corpus.py`). It is built in shards of two sizes: on the disk, on an S3
server of this program's own (SeaweedFS on the loopback interface), once more there when all is done, and through a
proxy that counts the requests and holds each of them up for `--delay` seconds, as a network does. What grows with the
number of shards and what does not follow from the two sizes. The processor time of the server is not counted.
"""

import argparse
import re
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from generated_corpus import generate
from process_tree import Usage, run

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "servers"))
from faulty_proxy import Fault, FaultyProxy
from object_server import BUCKET, ObjectServer

KINDS = {
    "PUT": r"PUT ",
    "GET": r"GET (?!.*[?&](list-type|prefix)=)",
    "HEAD": r"HEAD ",
    "list": r"GET .*[?&](list-type|prefix)=",
    "POST": r"POST ",
    "DELETE": r"DELETE ",
}


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Requests by kind, and what most of them were for: the method and the first part of the name."""

    kinds: Counter[str]
    names: Counter[str]

    @classmethod
    def of(cls, lines: list[str]) -> "Requests":
        kinds = Counter(kind for line in lines for kind, pattern in KINDS.items() if re.match(pattern, line))
        return cls(kinds=kinds, names=Counter(map(_name, lines)))


def _name(line: str) -> str:
    """Return `GET tables` of `GET /bucket/place/tables/x?y`."""
    method, _, path = line.partition(" ")
    parts = path.partition("?")[0].split("/")[3:]
    return f"{method} {'/'.join(parts[:2]) if len(parts) > 2 else parts[-1] if parts else '(list)'}"


class Bench:
    """Builds of one corpus, in shards of one size."""

    def __init__(self, options: argparse.Namespace, server: ObjectServer, shard_documents: int) -> None:
        self.options, self.server = options, server
        self.cores = frozenset(int(core) for core in options.cores.split(","))
        self.name = f"{options.documents}-{shard_documents}"
        corpus = options.folder.resolve() / f"corpus-{options.documents}"
        generate(corpus, documents=options.documents)
        listed = options.folder.resolve() / f"{self.name}.txt"
        listed.write_text("".join(f"{path}\n" for path in sorted(corpus.glob("repositories/*/*.git"))))
        self.recipe = options.folder / f"{self.name}.toml"
        self.recipe.write_text(
            f'[[source]]\nkind = "git"\npath = "{listed}"\n[shards]\ndocuments = {shard_documents}\n'
        )

    def build(self, workspace: str, port: int | None = None) -> Usage:
        command = [sys.executable, "-m", "starsmith", "build", str(self.recipe), "--workspace", workspace, "--json"]
        command += ["--workers", str(len(self.cores))]
        return run(command, cores=self.cores, environment=self.server.environment(port))

    def on_disk(self) -> tuple[Usage, int]:
        """Return what a build on the disk takes, and the number of shards."""
        place = self.options.folder.resolve() / f"disk-{self.name}"
        shutil.rmtree(place, ignore_errors=True)
        used = self.build(str(place))
        return used, len(list((place / "records" / "collect").iterdir()))

    def counted(self, place: str, *, delay: float) -> tuple[Usage, Requests]:
        proxy = FaultyProxy(self.server.port)
        proxy.faults = [Fault("", seconds=delay)] if delay else []
        try:
            used = self.build(place, proxy.port)
        finally:
            proxy.close()
        return used, Requests.of(proxy.requests)


def measure(options: argparse.Namespace, server: ObjectServer) -> None:
    print(f"| shards | where | wall s | CPU s | requests | {' | '.join(KINDS)} |")
    print(f"|--:|---|--:|--:|--:|{'--:|' * len(KINDS)}")
    found = []
    for size in map(int, options.shard_documents.split(",")):
        bench = Bench(options, server, size)
        used, shards = bench.on_disk()
        row(shards, "disk", used)
        row(shards, "object store", bench.build(f"s3://{BUCKET}/plain-{bench.name}"))
        row(shards, "– the same again", bench.build(f"s3://{BUCKET}/plain-{bench.name}"))
        used, first = bench.counted(f"s3://{BUCKET}/far-{bench.name}", delay=options.delay)
        row(shards, f"– with {options.delay * 1000:.0f} ms a request", used, first)
        used, again = bench.counted(f"s3://{BUCKET}/far-{bench.name}", delay=options.delay)
        row(shards, "– – the same again", used, again)
        found.append((shards, first, again))
    (shards, first, again), (more, second, last) = sorted(found, key=lambda each: each[0])
    print("\n| requests | for each shard | whatever the number |\n|---|--:|--:|")
    for what, one, other in (("build", first, second), ("the same again", again, last)):
        growth = (other.kinds.total() - one.kinds.total()) / (more - shards)
        print(f"| {what} | {growth:.1f} | {one.kinds.total() - growth * shards:.0f} |")
    print("\n| of the last first build | requests |\n|---|--:|")
    for name, count in second.names.most_common(options.shown):
        print(f"| {name} | {count} |")


def row(shards: int, where: str, used: Usage, requests: Requests | None = None) -> None:
    counts = ["–"] * (1 + len(KINDS))
    if requests is not None:
        counts = [str(requests.kinds.total()), *(str(requests.kinds[kind]) for kind in KINDS)]
    print(f"| {shards} | {where} | {used.wall:.1f} | {used.cpu:.1f} | {' | '.join(counts)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=6_000)
    parser.add_argument("--shard-documents", default="2000,500", help="two sizes of shards")
    parser.add_argument("--delay", type=float, default=0.03, help="seconds by which the proxy holds up each request")
    parser.add_argument("--cores", default="0,1")
    parser.add_argument("--shown", type=int, default=30, help="how many kinds of objects to list")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        server = ObjectServer(Path(folder))
        try:
            measure(options, server)
        finally:
            server.kill()


if __name__ == "__main__":
    main()
