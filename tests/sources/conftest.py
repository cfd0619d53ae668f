"""Git repositories made for a test, and a canary that tells whether a program of theirs was run."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from starsmith.document import Origin, RawDocument
from starsmith.settings import CollectSettings
from starsmith.sources import PathRange
from starsmith.sources.git import GitSource

SECOND = 1_000_000
FIRST_COMMIT_SECOND = 1_700_000_000


@dataclass
class GitWorkshop:
    """Makes repositories below a folder. Commits are an hour apart, from FIRST_COMMIT_SECOND on."""

    folder: Path
    commits: int = 0

    def git(self, *arguments: str, cwd: Path, stdin: bytes = b"", check: bool = True) -> bytes:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        date = f"{FIRST_COMMIT_SECOND + 3600 * self.commits} +0200"
        environment |= {
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_AUTHOR_DATE": date.replace(" +0200", " -0130"),
            "GIT_COMMITTER_NAME": "C",
            "GIT_COMMITTER_EMAIL": "c@example.org",
            "GIT_COMMITTER_DATE": date,
        }
        result = subprocess.run(
            ["git", *arguments], cwd=cwd, env=environment, input=stdin, capture_output=True, check=False
        )
        assert not check or result.returncode == 0, result.stderr.decode()
        return result.stdout

    def repository(self, name: str, files: Mapping[str | bytes, bytes] | None = None, *options: str) -> Path:
        """Make a repository with a work tree, and one commit if there are files."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main", *options, cwd=folder)
        if files:
            self.commit(folder, files)
        return folder

    def commit(self, folder: Path, files: Mapping[str | bytes, bytes]) -> str:
        for name, content in files.items():
            path = os.path.join(os.fsencode(folder), os.fsencode(name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Path(os.fsdecode(path)).write_bytes(content)
        self.git("add", "--all", cwd=folder)
        return self.commit_index(folder)

    def commit_index(self, folder: Path) -> str:
        self.git("commit", "--quiet", "--allow-empty", "--message=x", cwd=folder)
        self.commits += 1
        return self.git("rev-parse", "HEAD", cwd=folder).decode().strip()

    def tree(self, folder: Path, entries: list[tuple[int, bytes, str]]) -> str:
        """Write a tree object with entries of (mode, name, object name), however odd, and commit it."""
        data = b"".join(b"%o %s\0%s" % (mode, name, bytes.fromhex(identifier)) for mode, name, identifier in entries)
        tree = self.write_object(folder, "tree", data)
        revision = self.git("commit-tree", "-m", "x", tree, cwd=folder).decode().strip()
        self.git("update-ref", "HEAD", revision, cwd=folder)
        return tree

    def write_object(self, folder: Path, kind: str, data: bytes) -> str:
        arguments = ("hash-object", "-t", kind, "-w", "--stdin", "--literally")
        return self.git(*arguments, cwd=folder, stdin=data).decode().strip()


@pytest.fixture
def workshop(tmp_path: Path) -> GitWorkshop:
    return GitWorkshop(folder=tmp_path)


@dataclass
class Canary:
    """A program that leaves a trace when it is run."""

    program: Path
    trace: Path

    def sings(self) -> bool:
        """Whether the program was run since the last question."""
        sang = self.trace.exists()
        self.trace.unlink(missing_ok=True)
        return sang


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    """Yields a canary and fails the test if it was run unasked by the end."""
    bird = Canary(program=tmp_path / "canary.sh", trace=tmp_path / "canary.trace")
    bird.program.write_text(f'#!/bin/sh\necho "$0 $@" >> "{bird.trace}"\nexit 1\n')
    bird.program.chmod(0o755)
    yield bird
    assert not bird.trace.exists(), bird.trace.read_text()


def describe(folder: Path, *, commit_times: bool = True, shard_documents: int = 1000) -> Origin:
    source = GitSource(path=folder, commit_times=commit_times)
    (location,) = source.locate()
    return source.describe(location, shard_documents=shard_documents)


def read(folder: Path, *, commit_times: bool = True, **settings: int) -> dict[bytes, RawDocument]:
    """Return a repository's documents by path, having checked the laws that hold for all of them."""
    origin = describe(folder, commit_times=commit_times)
    assert origin.error is None
    source = GitSource(path=folder, commit_times=commit_times)
    documents = list(source.read(origin, PathRange(), CollectSettings(**settings)))
    paths = [document.path for document in documents]
    assert paths == sorted(set(paths))
    assert len(paths) == origin.documents
    assert all((document.content is None) == (document.reason is not None) for document in documents)
    return {document.path: document for document in documents}


@pytest.fixture(name="describe")
def describe_fixture():
    return describe


@pytest.fixture(name="read")
def read_fixture():
    return read
