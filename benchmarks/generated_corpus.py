"""A corpus of any size, generated: git repositories of many owners, with the copies that a real one has.

    python benchmarks/generated_corpus.py FOLDER --documents 100000 [--seed 1]

Owners have 1 to 30 repositories of 5 to 500 files each; sizes are log-normal around 1.5 KB, in eight languages. About
half of the documents are copies: folders of vendored libraries, in several versions that differ in a few lines of some
files, and forks, whole or changed. Most repositories are under MIT, some under GPL, some under none. Stars and forks
stand in `metadata.csv`. Equal arguments give equal repositories. One `git fast-import` makes each.
"""

import argparse
import csv
import json
import os
import random
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "stand_ins"))
from fast_import import commit_of

MEDIAN_BYTES = 1500
SPREAD = 0.8
POOL_LINES = 60_000
FORKS = 0.06
VENDORING = 0.45
VENDORED_SHARE = 0.62
RECENT = 300
RUNNING = 4

WORDS = [
    first + last
    for first in "acc ball buff cach chan cli conf curs eng ent err eve fie filt hand head ind iter kern lay".split()
    for last in "er ount el ix ure in alog ory et ation or ance ity ule".split()
]
STATEMENTS = {
    "py": "    {0}_{1} = {2}.{3}({4}, {5}={6})",
    "js": "  const {0}{1} = {2}.{3}({4}, {{ {5}: {6} }});",
    "ts": "  let {0}{1}: {2} = {3}.{4}({5}, {6});",
    "go": "\t{0}, {1} := {2}.{3}({4}, {5}, {6})",
    "c": "    struct {0} *{1} = {2}_{3}({4}, {5}, {6});",
    "java": "        final {0} {1} = {2}.{3}({4}, {5}, {6});",
    "rs": "    let {0}_{1} = {2}.{3}(&{4}, {5}, {6})?;",
    "rb": "  {0}_{1} = {2}.{3}({4}, {5}: {6})",
}
OPENINGS = {
    "py": "def {0}({1}, {2}):",
    "js": "export function {0}({1}, {2}) {{",
    "ts": "export function {0}({1}: number, {2}: string) {{",
    "go": "package {0}\n\nfunc {1}({2} int) int {{",
    "c": "#include <stdio.h>\n\nint {0}(int {1}, char *{2})\n{{",
    "java": "package {0};\n\npublic class {1} {{\n    void {2}() {{",
    "rs": "pub fn {0}({1}: usize, {2}: &str) -> Result<(), Error> {{",
    "rb": "def {0}({1}, {2})",
}
CLOSINGS = {
    "py": "    return None",
    "js": "}",
    "ts": "}",
    "go": "\treturn 0\n}",
    "c": "    return 0;\n}",
    "java": "    }\n}",
    "rs": "    Ok(())\n}",
    "rb": "end",
}

MIT = """MIT License

Copyright (c) {year} {owner}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

Files = dict[str, bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """One repository to be made: its name, files, and what a metadata file knows of it."""

    owner: str
    name: str
    files: Files
    stars: int
    committed: int


@dataclass(kw_only=True, slots=True)
class Generator:
    """Makes up repositories, one after the other, from one seed."""

    chance: random.Random
    documents: int
    lines: dict[str, list[str]] = field(default_factory=dict)
    libraries: list[list[Files]] = field(default_factory=list)
    recent: deque[Files] = field(default_factory=lambda: deque(maxlen=RECENT))

    def repositories(self) -> Iterator[Repository]:
        """Yield repositories until there are enough documents, owner by owner."""
        for extension in STATEMENTS:
            text = STATEMENTS[extension]
            self.lines[extension] = [text.format(*self.chance.choices(WORDS, k=7)) for _ in range(POOL_LINES)]
        for _ in range(max(8, self.documents // 500)):
            self.libraries.append(self._library())
        made, number = 0, 0
        while made < self.documents:
            owner = f"{self.chance.choice(WORDS)}-{number:05d}"
            number += 1
            for position in range(min(30, 1 + int(self.chance.paretovariate(0.9) - 1))):
                repository = self._repository(owner, f"{self.chance.choice(WORDS)}-{position}")
                made += len(repository.files)
                yield repository

    def _repository(self, owner: str, name: str) -> Repository:
        wanted = int(5 * 100 ** self.chance.random())
        kind = self.chance.random()
        if kind < FORKS and self.recent:
            files = dict(self.chance.choice(self.recent))
            if self.chance.random() < 0.5:
                files |= self._changed(files, share=0.1)
        else:
            files = self._licence(owner)
            if kind < FORKS + VENDORING:
                while len(files) < wanted * VENDORED_SHARE:
                    files |= self._vendored()
            files |= self._own(max(wanted - len(files), 2), folders=("src", "lib", "core", "tests"))
        self.recent.append(files)
        stars = int(self.chance.paretovariate(0.8)) - 1
        return Repository(
            owner=owner,
            name=name,
            files=files,
            stars=stars,
            committed=self.chance.randrange(1_400_000_000, 1_750_000_000),
        )

    def _licence(self, owner: str) -> Files:
        kind = self.chance.random()
        if kind < 0.72:
            return {"LICENSE": MIT.format(year=self.chance.randrange(2005, 2026), owner=owner).encode()}
        if kind < 0.87:
            return {"package.json": json.dumps({"name": owner, "license": "GPL-3.0-only"}).encode()}
        return {}

    def _library(self) -> list[Files]:
        """Return the versions of a library, each with a few files changed against the one before."""
        versions = [self._own(self.chance.randrange(8, 70), folders=("", "util"))]
        for _ in range(self.chance.randrange(0, 3)):
            versions.append(versions[-1] | self._changed(versions[-1], share=0.3))
        return versions

    def _vendored(self) -> Files:
        # Few libraries are everywhere and most are rare, as in life.
        number = int(len(self.libraries) * self.chance.random() ** 2)
        files = self.chance.choice(self.libraries[number])
        return {f"vendor/lib{number}/{path}": content for path, content in files.items()}

    def _changed(self, files: Files, *, share: float) -> Files:
        """Return some of the files with one or two lines changed: near copies."""
        chosen = [path for path in files if path != "LICENSE" and self.chance.random() < share]
        return {path: self._edited(path, files[path]) for path in chosen}

    def _edited(self, path: str, content: bytes) -> bytes:
        lines = content.decode().split("\n")
        pool = self.lines.get(path.rpartition(".")[2])
        if pool is not None:
            lines[self.chance.randrange(1, max(len(lines) - 1, 2))] = self.chance.choice(pool)
        return "\n".join(lines).encode()

    def _own(self, count: int, *, folders: tuple[str, ...]) -> Files:
        """Return new files, nearly all in one language."""
        main = self.chance.choice(list(STATEMENTS))
        files = {}
        for number in range(count):
            extension = main if self.chance.random() < 0.9 else self.chance.choice(list(STATEMENTS))
            folder = self.chance.choice(folders)
            path = f"{folder}/{self.chance.choice(WORDS)}{number}.{extension}".lstrip("/")
            files[path] = self._source(extension)
        return files

    def _source(self, extension: str) -> bytes:
        wanted = self.chance.lognormvariate(0, SPREAD) * MEDIAN_BYTES
        pool = self.lines[extension]
        body = self.chance.choices(pool, k=max(3, int(wanted / len(pool[0]))))
        opening = OPENINGS[extension].format(*self.chance.choices(WORDS, k=3))
        return "\n".join([opening, *body, CLOSINGS[extension], ""]).encode()


def generate(folder: Path, *, documents: int, seed: int = 1) -> dict[str, int]:
    """Make the repositories below `folder` unless they are there; return the documents of each owner."""
    summary = folder / "corpus.json"
    asked = {"documents": documents, "seed": seed}
    if summary.exists():
        found = json.loads(summary.read_text())
        if found["asked"] != asked:
            raise SystemExit(f"{folder} holds another corpus: {found['asked']}; name another folder.")
        return found["owners"]
    folder.mkdir(parents=True, exist_ok=True)
    owners: dict[str, int] = {}
    waiting: deque[Future[None]] = deque()
    with (
        ThreadPoolExecutor(RUNNING) as pool,
        (folder / "metadata.csv").open("w", newline="") as file,
    ):
        metadata = csv.writer(file)
        metadata.writerow(["owner", "name", "stars", "forks"])
        for repository in Generator(chance=random.Random(seed), documents=documents).repositories():
            owners[repository.owner] = owners.get(repository.owner, 0) + len(repository.files)
            metadata.writerow([repository.owner, repository.name, repository.stars, repository.stars // 5])
            waiting.append(pool.submit(make, folder / "repositories", repository))
            while len(waiting) > 2 * RUNNING:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    summary.write_text(json.dumps({"asked": asked, "owners": owners}))
    return owners


def make(folder: Path, repository: Repository) -> None:
    """Write one bare repository with one commit."""
    git = folder / repository.owner / f"{repository.name}.git"
    for name in ("objects", "refs"):
        (git / name).mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    url = f"https://example.org/{repository.owner}/{repository.name}"
    (git / "config").write_text(
        f'[core]\n\trepositoryformatversion = 0\n\tbare = true\n[remote "origin"]\n\turl = {url}\n'
    )
    command = ["git", "-c", "core.compression=1", "-c", "fastimport.unpackLimit=0", "fast-import", "--quiet"]
    environment = {"PATH": os.environ["PATH"], "GIT_DIR": str(git), "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(folder)}
    subprocess.run(command, input=commit_of(repository.files, time=repository.committed), env=environment, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    owners = generate(options.folder, documents=options.documents, seed=options.seed)
    print(f"{len(owners)} owners, {sum(owners.values())} documents", file=sys.stderr)


if __name__ == "__main__":
    main()
