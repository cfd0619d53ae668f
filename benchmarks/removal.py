"""One owner's removal: what it takes on the wall, stage by stage, and that nothing else changes.

    python benchmarks/removal.py FOLDER [--documents 100000] [--shard-documents 2000] [--cores 0,1] [--owners 1]

FOLDER keeps the generated corpus (see `generated_corpus.py`) and the workspace built from it, so a second call only
removes. For each of a few owners with about a thousandth of the documents, the built workspace is copied with hard
links, `starsmith opt-out add` and `starsmith opt-out apply` run as commands of their own, and every file of the new
release is held against the one of that name in the old release. `--check` then builds the corpus without the last
owner's repositories: the bytes must be those of `apply`.

Secrets and personal data are looked for as the default recipe says; `--no-scan` leaves that out of the first build.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from generated_corpus import generate
from process_tree import Usage, run

SHARE = 0.001
NO_SCAN = "[redaction]\nemails = false\nip_addresses = false\nkeys = false\npasswords = false\n"
STAGES_SHOWN = 0.05


class Bench:
    """Commands of Starsmith on a corpus in a folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.cores = frozenset(int(core) for core in options.cores.split(","))
        self.folder: Path = options.folder.resolve()
        self.corpus = self.folder / f"corpus-{options.documents}"
        self.name = f"{options.documents}-{options.shard_documents}{'-no-scan' if options.no_scan else ''}"
        self.built = self.folder / f"built-{self.name}"
        self.settings = f"[shards]\ndocuments = {options.shard_documents}\n{NO_SCAN if options.no_scan else ''}"

    def starsmith(self, *arguments: str) -> tuple[Usage, dict]:
        used = run([sys.executable, "-m", "starsmith", *arguments, "--json"], cores=self.cores)
        return used, json.loads(used.output)

    def build(self, repositories: list[Path], workspace: Path) -> tuple[Usage, dict]:
        listed = self.folder / f"{workspace.name}.txt"
        listed.write_text("".join(f"{path}\n" for path in repositories))
        recipe = self.folder / f"{workspace.name}.toml"
        source = f'kind = "git"\npath = "{listed.name}"\nmetadata = "{self.corpus.name}/metadata.csv"'
        recipe.write_text(f'workspace = "unused"\n[[source]]\n{source}\n{self.settings}')
        return self.starsmith("build", str(recipe), "--workspace", str(workspace), "--workers", str(len(self.cores)))

    def copy(self, name: str) -> Path:
        """Return a copy of the built workspace; its files are never changed in place, so links will do."""
        target = self.folder / f"{name}-{self.name}"
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-al", str(self.built), str(target)], check=True)
        # This one is: who holds it writes its name into it.
        (target / "lock").unlink(missing_ok=True)
        return target

    def remove(self, owner: str) -> tuple[Usage, dict, Path]:
        workspace = self.copy("removed")
        self.starsmith("opt-out", "add", str(workspace), "--owner", owner)
        workers = str(len(self.cores))
        used, result = self.starsmith("opt-out", "apply", str(workspace), "--workers", workers)
        return used, result, workspace


def files_of(workspace: Path) -> dict[str, Path]:
    """Return the files of the last release of a workspace."""
    release = workspace / json.loads((workspace / "build.json").read_bytes())["release"]
    listed = json.loads((release / "manifest.json").read_bytes())["files"]
    return {file["path"]: release / file["path"] for file in listed}


def same_bytes(one: Path, other: Path) -> bool:
    return one.samefile(other) or one.read_bytes() == other.read_bytes()


def unchanged(before: Path, after: Path) -> tuple[int, int]:
    """Return how many data files of the release of `after` have the bytes of that of `before`, and how many not."""
    old, new = files_of(before), files_of(after)
    names = [name for name in new if name.endswith(".parquet")]
    same = sum(name in old and same_bytes(old[name], new[name]) for name in names)
    return same, len(names) - same


def measure(options: argparse.Namespace) -> None:
    bench = Bench(options)
    owners = generate(bench.corpus, documents=options.documents)
    repositories = sorted(bench.corpus.glob("repositories/*/*.git"))
    if not (bench.built / "build.json").exists():
        used, _ = bench.build(repositories, bench.built)
        print(f"built in {used.wall:.0f} s on the wall, {used.cpu:.0f} s of processor time\n", flush=True)
    total = sum(owners.values())
    # Typical, not chosen: those nearest to the share.
    chosen = sorted(owners, key=lambda owner: (abs(owners[owner] - SHARE * total), owner))[: options.owners]
    shards = len(json.loads((bench.built / "build.json").read_bytes())["tables"]["documents"])
    print(f"{total} documents of {len(owners)} owners in {shards} shards; cores {options.cores}\n")
    print("| removed | documents | released | wall s | CPU s | all processes, MB | release files: same, changed |")
    print("|---|--:|--:|--:|--:|--:|---|")
    for owner in chosen:
        used, result, workspace = bench.remove(owner)
        same, changed = unchanged(bench.built, workspace)
        print(
            f"| {owner} | {result['documents']} | {result['released']} | {used.wall:.2f} | {used.cpu:.2f} | "
            f"{used.tree:.0f} | {same}, {changed} |",
            flush=True,
        )
    stages(workspace)
    if options.check:
        rest = [path for path in repositories if path.parent.name != owner]
        target = bench.copy("rebuilt")
        bench.build(rest, target)
        equal = files_of(target).keys() == files_of(workspace).keys() and unchanged(workspace, target)[1] == 0
        print(f"\na build without {owner}: {'the same bytes' if equal else 'OTHER BYTES'}")


def stages(workspace: Path) -> None:
    """Print what the last removal did."""
    print("\n| stage | wall s | done of pieces of work |\n|---|--:|--:|")
    for stage in json.loads((workspace / "build.json").read_bytes())["stages"]:
        if stage["seconds"] >= STAGES_SHOWN:
            print(f"| {stage['name']} | {stage['seconds']:.2f} | {stage['ran']} of {stage['items']} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--shard-documents", type=int, default=2_000)
    parser.add_argument("--owners", type=int, default=1, help="how many owners to remove, each from the whole corpus")
    parser.add_argument("--cores", default="0,1")
    parser.add_argument("--no-scan", action="store_true", help="look for no secrets and personal data")
    parser.add_argument("--check", action="store_true", help="also build without the last owner and compare")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
