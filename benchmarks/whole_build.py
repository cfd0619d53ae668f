"""The whole build, git → release, beside the least that any builder must do and beside two peers.

    python benchmarks/whole_build.py FOLDER --scratch FOLDER [--cores 0,1] [--peer NAME=PYTHON ...]

FOLDER holds git repositories; NAME is `datatrove` or `data-juicer`, PYTHON an interpreter in which it is installed.
Measured in turn, each in processes of its own on the same cores:

- the floor: `git ls-tree` and `git cat-file --batch` of every blob at HEAD, written to Parquet with zstd level 3;
- `starsmith build` of the default recipe into a new workspace, and the same without the times of last commits,
  which the floor does not look for either;
- building again; building with another threshold, as far as the decisions and to the end; a repository added;
- the peers' filters and near-duplicate removal over the floor's texts, read from JSON lines and written as such. Both
  get the paper's 5-grams; data-juicer the filters it has, datatrove, which has none for code, the lines and letters of
  the paper's filters 1, 2 and 4 as a function. Neither looks at licences, languages or commits, or explains itself.

Processor time counts, of all processes; megabytes are those of the floor's blobs. The kernels are compiled before.
This file is also what the peers' interpreters run, so nothing but the standard library is imported at its head.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from process_tree import Usage, run

MAX_BYTES = 10 * 1024 * 1024
GROUP_BYTES = 8 << 20
PEERS = {"datatrove": 8, "data-juicer": 20}
WORD = re.compile(r"\w+")
NGRAM = 5
JSON_FILES = 2

# What runs in processes of its own: each takes folders and leaves its result there.


def write_floor(repositories: Path, target: Path) -> None:
    """Read every blob of every HEAD once per repository and write them all to one Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field("id", pa.string()), pa.field("content", pa.binary())])
    ids: list[str] = []
    contents: list[bytes] = []
    count = size = pending = 0
    with pq.ParquetWriter(target, schema, compression="zstd", compression_level=3, use_dictionary=False) as writer:

        def flush() -> None:
            writer.write_table(pa.table([ids, pa.array(contents, pa.binary())], schema=schema))
            ids.clear()
            contents.clear()

        for repository in found(repositories):
            for name, content in blobs(repository, target.with_suffix(".requests")):
                ids.append(name)
                contents.append(content)
                count, size, pending = count + 1, size + len(content), pending + len(content)
                if pending >= GROUP_BYTES:
                    flush()
                    pending = 0
        flush()
    print(json.dumps({"count": count, "bytes": size}))


def found(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.resolve().glob("**/HEAD") if (path.parent / "objects").is_dir())


def blobs(repository: Path, requests: Path):  # noqa: ANN201
    """Yield (name, content) of every blob at HEAD that is there and below the limit of size."""
    git = ["git", "--git-dir", str(repository)]
    listing = subprocess.run([*git, "ls-tree", "-r", "-l", "-z", "HEAD"], stdout=subprocess.PIPE, check=True).stdout
    heads = (entry.partition(b"\t")[0].split() for entry in listing.split(b"\0")[:-1])
    names = dict.fromkeys(head[2] for head in heads if head[3].isdigit() and int(head[3]) < MAX_BYTES)
    requests.write_bytes(b"\n".join(names) + b"\n")
    with requests.open("rb") as stdin:
        process = subprocess.Popen(
            [*git, "cat-file", "--batch", "--buffer"], stdin=stdin, stdout=subprocess.PIPE, bufsize=1 << 18
        )
        for _ in names:
            name, _, size = process.stdout.readline().split()
            yield name.decode(), process.stdout.read(int(size))
            process.stdout.read(1)
        process.wait()


def write_json_lines(source: Path, target: Path) -> None:
    """Write the texts among the floor's blobs (UTF-8, no NUL) as JSON lines, in as many files as there are cores."""
    import pyarrow.parquet as pq

    target.mkdir()
    files = [(target / f"{number}.jsonl").open("w") for number in range(JSON_FILES)]
    size = row = 0
    for batch in pq.ParquetFile(source).iter_batches(1000):
        for name, content in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            try:
                text = content.decode()
            except UnicodeDecodeError:
                continue
            if "\0" not in text and text:
                size, row = size + len(content), row + 1
                print(json.dumps({"id": name, "text": text}), file=files[row % len(files)])
    for file in files:
        file.close()
    print(json.dumps({"count": row, "bytes": size}))


def run_datatrove(source: Path, target: Path) -> None:
    """Its reader, a filter made of a function, its four steps of near-duplicate removal, its writer."""
    import numpy as np
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.pipeline.filters import LambdaFilter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config = MinhashConfig(n_grams=NGRAM, num_buckets=25, hashes_per_bucket=10)

    class CodeSignature(MinhashDedupSignature):
        def get_shingles(self, text: str):  # noqa: ANN202
            return np.array([self._hash_func(shingle) for shingle in shingles_of(text)], np.uint64).reshape(-1, 1)

    def folder(name: str) -> str:
        return str(target / name)

    def steps(name: str, pipeline: list, tasks: int) -> None:
        LocalPipelineExecutor(
            pipeline=pipeline, tasks=tasks, workers=min(tasks, JSON_FILES), logging_dir=folder(f"logs-{name}")
        ).run()

    good = LambdaFilter(lambda document: passes(document.text))
    filtered = JsonlWriter(folder("filtered"), compression=None)
    signed = CodeSignature(output_folder=folder("signatures"), config=config)
    steps("filters", [JsonlReader(str(source)), good, filtered, signed], JSON_FILES)
    steps("buckets", [MinhashDedupBuckets(folder("signatures"), folder("buckets"), config=config)], 25)
    steps("clusters", [MinhashDedupCluster(folder("buckets"), folder("removed"), config=config)], 1)
    kept = [JsonlReader(folder("filtered")), MinhashDedupFilter(folder("removed")), JsonlWriter(folder("kept"))]
    steps("kept", kept, JSON_FILES)


def passes(text: str) -> bool:
    """Filters 1, 2 and 4 of the paper."""
    lengths = list(map(len, text.splitlines()))
    if len(lengths) > 100_000 or max(lengths, default=0) > 1_000 or sum(lengths) > 100 * max(len(lengths), 1):
        return False
    return sum(map(str.isalpha, text)) >= 0.25 * len(text)


def shingles_of(text: str) -> set[str]:
    words = WORD.findall(text.lower())
    return {" ".join(words[start : start + NGRAM]) for start in range(len(words) - NGRAM + 1)}


def run_data_juicer(source: Path, target: Path) -> None:
    """A configuration of its own operators, run by its own program."""
    operators = [
        {"average_line_length_filter": {"max_len": 100}},
        {"maximum_line_length_filter": {"max_len": 1000}},
        {"alphanumeric_filter": {"tokenization": False, "min_ratio": 0.25}},
        {"document_deduplicator": {"lowercase": False}},
        {
            "document_minhash_deduplicator": {
                "tokenization": "punctuation",
                "window_size": NGRAM,
                "lowercase": True,
                "jaccard_threshold": 0.7,
                "num_permutations": 250,
                "num_bands": 25,
                "num_rows_per_band": 10,
            }
        },
    ]
    recipe = {
        "project_name": "whole-build",
        "dataset_path": str(source),
        "export_path": str(target / "kept.jsonl"),
        "np": JSON_FILES,
        "text_keys": "text",
        "open_tracer": False,
        "use_cache": False,
        "process": operators,
    }
    (target / "recipe.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    program = Path(sys.executable).parent / "dj-process"
    subprocess.run([str(program), "--config", str(target / "recipe.yaml")], cwd=target, check=True, stdout=sys.stderr)


ROLES = {
    "floor": write_floor,
    "json-lines": write_json_lines,
    "datatrove": run_datatrove,
    "data-juicer": run_data_juicer,
}


# The comparison


class Bench:
    """Runs things on the chosen cores and prints what they used against the floor and the first build."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.cores = frozenset(int(core) for core in options.cores.split(","))
        self.scratch: Path = options.scratch
        self.megabytes = 0.0

    def role(self, name: str, *folders: Path, python: str = sys.executable) -> Usage:
        environment = {"HF_HOME": str(self.scratch / "hf"), "HOME": str(self.scratch)}
        command = [python, str(Path(__file__).resolve()), "--role", name, *map(str, folders)]
        return run(command, cores=self.cores, environment=environment)

    def build(self, recipe: Path, workspace: str, *, until: str = "release") -> tuple[Usage, dict]:
        command = [sys.executable, "-m", "starsmith", "build", str(recipe)]
        command += ["--workspace", str(self.scratch / workspace)]
        used = run([*command, "--until", until, "--workers", str(len(self.cores)), "--json"], cores=self.cores)
        return used, json.loads(used.output)

    def recipe(self, name: str, repositories: list[Path], *, more: str = "") -> Path:
        """Write a recipe over some repositories; `more` are further keys of its source and further tables."""
        listed = self.scratch / f"{name}.txt"
        listed.write_text("".join(f"{path}\n" for path in repositories))
        target = self.scratch / f"{name}.toml"
        target.write_text(f'workspace = "unused"\n[[source]]\nkind = "git"\npath = "{listed.name}"\n{more}\n')
        return target

    def row(self, name: str, used: Usage, note: str = "") -> None:
        speed = f"{self.megabytes / used.cpu:.1f}" if used.cpu else ""
        print(
            f"| {name} | {used.cpu:.2f} | {used.wall:.1f} | {speed} | {used.largest:.0f} | {used.tree:.0f} | {note} |",
            flush=True,
        )


def compare(options: argparse.Namespace) -> None:
    options.scratch = options.scratch.resolve()
    bench = Bench(options)
    repositories = found(options.folder)
    clear(bench.scratch)
    bench.build(bench.recipe("warm", [min(repositories, key=size_of)]), "warm")
    floor = floor_of(bench, options.folder)
    print(f"{len(repositories)} repositories, {bench.megabytes:.0f} MB in blobs; cores {options.cores}\n")
    print("| what | CPU s | wall s | MB per CPU s | largest process, MB | all processes, MB | |")
    print("|---|---|---|---|---|---|---|")
    bench.row("floor", floor)
    plain = bench.recipe("plain", repositories)
    first, result = bench.build(plain, "workspace")
    bench.row("build", first, f"{first.cpu / floor.cpu:.1f}× the floor (goal 6×)")
    timeless, _ = bench.build(bench.recipe("timeless", repositories, more="commit_times = false"), "timeless")
    bench.row("build without commit times", timeless, f"{timeless.cpu / floor.cpu:.1f}× the floor")
    again(bench, plain, repositories, first)
    stages(result)
    peers(bench, options.peer, bench.megabytes / first.cpu)


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def clear(scratch: Path) -> None:
    """Make an empty folder for what is measured; refuse one that holds anything else."""
    marker = scratch / "whole_build"
    if scratch.exists() and any(scratch.iterdir()) and not marker.exists():
        raise SystemExit(f"{scratch} is not empty; name a folder of its own for --scratch.")
    shutil.rmtree(scratch, ignore_errors=True)
    marker.parent.mkdir(parents=True)
    marker.touch()


def floor_of(bench: Bench, folder: Path) -> Usage:
    """Run the floor twice, the first time to have the repositories in memory, and note its megabytes."""
    for _ in range(2):
        floor = bench.role("floor", folder, bench.scratch / "floor.parquet")
    bench.megabytes = json.loads(floor.output)["bytes"] / 1e6
    return floor


def again(bench: Bench, plain: Path, repositories: list[Path], first: Usage) -> None:
    """Build again, with other thresholds, without a repository and with it again."""

    def share(used: Usage, goal: str) -> str:
        return f"{100 * used.cpu / first.cpu:.1f} % of the build{goal}"

    used, _ = bench.build(plain, "workspace")
    bench.row("the same again", used, share(used, " (goal 1 %)"))
    decided, _ = bench.build(
        bench.recipe("decided", repositories, more="[filters]\nmin_alpha = 0.3"), "workspace", until="decide"
    )
    bench.row("another threshold, decisions only", decided, share(decided, " (goal 5 %)"))
    changed = bench.recipe("changed", repositories, more="[filters]\nmin_alpha = 0.35")
    released, result = bench.build(changed, "workspace")
    written = "; {ran} of {items} pieces of the release written".format(**result["stages"][-1])
    bench.row("another threshold, to the release", released, share(released, written))
    new = repositories[len(repositories) // 2]
    rest = [path for path in repositories if path != new]
    bench.build(bench.recipe("rest", rest), "workspace")
    run([sys.executable, "-m", "starsmith", "gc", str(bench.scratch / "workspace")], cores=bench.cores)
    added, result = bench.build(plain, "workspace")
    ran = "".join(
        "; {name}: {ran} of {items}, {seconds:.1f} s".format(**stage)
        for stage in result["stages"]
        if stage["name"] in ("collect", "annotate", "release")
    )
    bench.row(f"a repository added ({new.name})", added, share(added, ran))


def stages(result: dict) -> None:
    """Print the seconds of work of each stage of the first build."""
    print("\n| stage | wall s | work s |\n|---|---|---|")
    for stage in result["stages"]:
        print(f"| {stage['name']} | {stage['seconds']:.1f} | {stage['work_seconds']:.1f} |")


def peers(bench: Bench, given: list[str], own: float) -> None:
    """Run the peers over the floor's texts, each in its own interpreter."""
    interpreters = dict(item.split("=", 1) for item in given)
    texts = bench.scratch / "texts"
    if interpreters:
        written = bench.role("json-lines", bench.scratch / "floor.parquet", texts)
        bench.megabytes = json.loads(written.output)["bytes"] / 1e6
        print(f"\n{bench.megabytes:.0f} MB of texts for the peers\n")
    for name, goal in PEERS.items():
        if name not in interpreters:
            print(f"{name}: left out; name its interpreter with --peer {name}=PYTHON", file=sys.stderr)
            continue
        target = bench.scratch / name
        target.mkdir()
        try:
            used = bench.role(name, texts, target, python=interpreters[name])
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        bench.row(name, used, f"Starsmith is {own * used.cpu / bench.megabytes:.1f}× as fast (goal {goal}×)")


def main() -> None:
    if sys.argv[1:2] == ["--role"]:
        ROLES[sys.argv[2]](*map(Path, sys.argv[3:]))
        return
    parser = argparse.ArgumentParser(description="The whole build beside the floor and the peers.")
    parser.add_argument("folder", type=Path, help="a folder of git repositories")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder to work in; it is emptied first")
    parser.add_argument("--cores", default="0,1", help="cores to use, as many workers")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help=f"one of {', '.join(PEERS)}")
    compare(parser.parse_args())


if __name__ == "__main__":
    main()
