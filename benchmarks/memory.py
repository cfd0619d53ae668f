"""Peak memory of a build, by size of the corpus; and what building again costs as it grows.

    python benchmarks/memory.py FOLDER --scratch FOLDER [--gigabytes 0.2 2 10] [--cores 0,1]

FOLDER holds real git repositories. A larger corpus is made of their files at HEAD, one repository per repository and
copy, each copy written in another alphabet: its letters stand for others (vowels for vowels), so that its words, and
with them its shingles, are those of no other copy. The first lines stay as they are, and so do licences and manifests,
since comments at the head of a file state licences. Three files in ten keep their letters and get a line at the end
instead: near-duplicates of the same file in every other copy. Each corpus is built into a new workspace with as many
workers as cores; then built again; then with another threshold as far as the decisions.
"""

import argparse
import json
import random
import shutil
import string
import subprocess
import sys
import zlib
from pathlib import Path

from process_tree import Usage, run
from whole_build import blobs, clear, found

HEAD_BYTES = 1024
NEAR_DUPLICATES = 0.3
KEPT_NAMES = ("license", "licence", "copying", "notice", "readme", "package.json", "cargo.toml", "pom.xml", "gemspec")
VOWELS, CONSONANTS = "aeiou", "bcdfghjklmnpqrstvwxyz"


def alphabet(copy: int) -> bytes:
    """Return the table for `bytes.translate` of one copy; copy 0 is the original."""
    if copy == 0:
        return bytes(range(256))
    shuffle = random.Random(copy)
    vowels, consonants = (shuffle.sample(letters, len(letters)) for letters in (VOWELS, CONSONANTS))
    letters, others = VOWELS + CONSONANTS, "".join(vowels + consonants)
    return bytes.maketrans((letters + letters.upper()).encode(), (others + others.upper()).encode())


def copied(path: str, content: bytes, copy: int, table: bytes) -> bytes:
    """Return a file as a copy has it."""
    if copy == 0 or b"\0" in content or path.rpartition("/")[2].lower().startswith(KEPT_NAMES):
        return content
    if zlib.crc32(path.encode()) % 1000 < 1000 * NEAR_DUPLICATES:
        return content + b"\n" + f"copy {copy} {random.Random(copy).choice(string.ascii_letters)}".encode() + b"\n"
    start = content.find(b"\n", HEAD_BYTES) + 1 or len(content)
    return content[:start] + content[start:].translate(table) if start < len(content) else content.translate(table)


def paths(repository: Path) -> dict[bytes, list[str]]:
    """Return the paths of every blob at HEAD by its name."""
    git = ["git", "--git-dir", str(repository), "ls-tree", "-r", "-z", "HEAD"]
    by_name: dict[bytes, list[str]] = {}
    for entry in subprocess.run(git, stdout=subprocess.PIPE, check=True).stdout.split(b"\0")[:-1]:
        head, _, path = entry.partition(b"\t")
        if head.startswith(b"100"):
            by_name.setdefault(head.split()[2], []).append(path.decode(errors="replace"))
    return by_name


def make_copy(repository: Path, target: Path, copy: int) -> int:
    """Write one copy of a repository as a bare repository of one commit; return its bytes."""
    subprocess.run(["git", "init", "--quiet", "--bare", str(target)], check=True)
    table, named, size = alphabet(copy), paths(repository), 0
    command = ["git", "-c", "core.compression=1", "--git-dir", str(target), "fast-import", "--quiet", "--depth=0"]
    importer = subprocess.Popen(command, stdin=subprocess.PIPE)
    send = importer.stdin.write
    send(b"commit refs/heads/main\ncommitter bench <bench@example.org> 1700000000 +0000\ndata 0\n")
    for name, content in blobs(repository, target / "requests"):
        for path in named.get(name.encode(), ()):
            if "\n" in path or '"' in path:
                continue
            written = copied(path, content, copy, table)
            size += len(written)
            send(f"M 100644 inline {path}\ndata {len(written)}\n".encode() + written + b"\n")
    importer.stdin.close()
    if importer.wait():
        raise RuntimeError(f"git fast-import failed on {target}")
    subprocess.run(["git", "--git-dir", str(target), "symbolic-ref", "HEAD", "refs/heads/main"], check=True)
    return size


def grow(corpus: Path, repositories: list[Path], have: int, wanted: int) -> int:
    """Add copies until the corpus has the bytes wanted; return the bytes it has."""
    for copy in range(1000):
        for repository in repositories:
            target = corpus / f"copy{copy}" / repository.name
            if not target.exists() and have < wanted:
                have += make_copy(repository, target, copy)
    return have


def build(recipe: Path, workspace: Path, cores: frozenset[int], *, until: str = "release") -> Usage:
    command = [sys.executable, "-m", "starsmith", "build", str(recipe), "--workspace", str(workspace)]
    return run([*command, "--until", until, "--workers", str(len(cores)), "--json"], cores=cores)


def measure(corpus: Path, scratch: Path, gigabytes: float, cores: frozenset[int]) -> None:
    recipe, changed, workspace = scratch / "recipe.toml", scratch / "changed.toml", scratch / "workspace"
    recipe.write_text(f'workspace = "unused"\n[[source]]\nkind = "git"\npath = "{corpus.name}"\n')
    changed.write_text(recipe.read_text() + "[filters]\nmin_alpha = 0.3\n")
    first = build(recipe, workspace, cores)
    stages = json.loads(first.output)["stages"]
    again = build(recipe, workspace, cores)
    decided = build(changed, workspace, cores, until="decide")
    shutil.rmtree(workspace)
    print(
        f"| {gigabytes:.2f} | {stages[0]['documents_in']:,} | {stages[-1]['kept']:,} | {first.largest:.0f} "
        f"| {first.tree:.0f} | {first.cpu:.0f} | {first.wall:.0f} "
        f"| {again.cpu:.1f} ({100 * again.cpu / first.cpu:.1f} %) "
        f"| {decided.cpu:.1f} ({100 * decided.cpu / first.cpu:.1f} %) |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory of a build, by size of the corpus.")
    parser.add_argument("folder", type=Path, help="a folder of git repositories")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder to work in; it is emptied first")
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.2, 2, 10], help="sizes, rising")
    parser.add_argument("--cores", default="0,1", help="cores to use, as many workers")
    options = parser.parse_args()
    scratch, cores = options.scratch.resolve(), frozenset(int(core) for core in options.cores.split(","))
    clear(scratch)
    corpus, have = scratch / "repositories", 0
    print("| GB | documents | kept | largest process, MB | all, MB | CPU s | wall s | again, CPU s | decide, CPU s |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for gigabytes in sorted(options.gigabytes):
        have = grow(corpus, found(options.folder), have, int(gigabytes * 1e9))
        measure(corpus, scratch, have / 1e9, cores)


if __name__ == "__main__":
    main()
