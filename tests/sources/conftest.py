"""Git repositories and archives made for a test, and a canary that tells whether a program of theirs was run."""

import bz2
import functools
import gzip
import lzma
import os
import struct
import subprocess
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pytest

from starsmith.document import Origin, RawDocument
from starsmith.settings import CollectSettings
from starsmith.sources import PathRange
from starsmith.sources.archives import ArchiveSource
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


class Forge:
    """Makes archives byte by byte, since libraries refuse to make most hostile ones, and reads them."""

    END = bytes(1024)
    PACKERS = MappingProxyType(
        {
            "tar": bytes,
            "tar.gz": gzip.compress,
            "tar.bz2": bz2.compress,
            "tar.xz": lzma.compress,
            "tar.zst": functools.partial(pa.Codec("zstd").compress, asbytes=True),
        }
    )

    @staticmethod
    def number(value, width):
        """A number of a tar header: octal, or base 256 where it does not fit or is negative."""
        if 0 <= value < 8 ** (width - 1):
            return b"%0*o\0" % (width - 1, value)
        return (value + (1 << 8 * width - 1) if value > 0 else value + (1 << 8 * width)).to_bytes(width, "big")

    @staticmethod
    def header(name, size=0, kind=b"0", *, target=b"", mode=0o644, size_field=None, prefix=b"", tail=b""):
        fields = [
            name[:100].ljust(100, b"\0"),
            Forge.number(mode, 8) + Forge.number(0, 8) * 2,
            Forge.number(size, 12) if size_field is None else size_field,
            Forge.number(0, 12) + b" " * 8 + kind,
            target[:100].ljust(100, b"\0") + b"ustar\x0000" + bytes(80),
            (prefix or tail).ljust(167, b"\0"),
        ]
        block = b"".join(fields)
        assert len(block) == 512
        return block[:148] + b"%06o\0 " % sum(block) + block[156:]

    @staticmethod
    def entry(name, content=b"", kind=b"0", **fields):
        return Forge.header(name, len(content), kind, **fields) + content + bytes(-len(content) % 512)

    @staticmethod
    def pax(records, kind=b"x"):
        data = b""
        for key, value in records.items():
            rest = b" %s=%s\n" % (key, value)
            length = len(rest) + len(str(len(rest) + 3))
            length += len(str(length)) - len(str(len(rest) + 3))
            data += b"%d" % length + rest
        return Forge.entry(b"pax", data, kind)

    @staticmethod
    def zipped(members, *, before=b"", after=b"", comment=b"", directory_offset=None, count=None):
        """A zip archive of (name, data) or (name, data, overrides) with any field of its two headers overridden."""
        body, directory = before, b""
        for name, data, *more in members:
            facts = {"flags": 0, "method": 0, "crc": zlib.crc32(data), "mode": 0}
            facts |= {"stored": len(data), "size": len(data)}
            facts |= {"local_name": name, "offset": len(body) - len(before), "extra": b"", "packed": data} | dict(*more)
            numbers = (facts["flags"], facts["method"], 0, 0, facts["crc"], facts["stored"], facts["size"])
            local = facts["local_name"]
            body += struct.pack("<4sH4H3L2H", b"PK\3\4", 20, *numbers, len(local), 0) + local + facts["packed"]
            directory += struct.pack("<4sBBH4H3L5H2L", b"PK\1\2", 20, 3, 20, *numbers, len(name), len(facts["extra"]),
                                     0, 0, 0, facts["mode"] << 16, facts["offset"]) + name + facts["extra"]  # fmt: skip
        offset = len(body) - len(before) if directory_offset is None else directory_offset
        total = len(members) if count is None else count
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, total, total, len(directory), offset, len(comment)) + comment
        return body + directory + end + after

    @staticmethod
    def deflated(data):
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(data) + packer.flush()

    @staticmethod
    def describe(path, *, shard_documents=1000):
        source = ArchiveSource(path=path)
        (location,) = source.locate()
        return source.describe(location, shard_documents=shard_documents)

    @staticmethod
    def read(path, **options):
        """Return an archive's documents by path, having checked the laws that hold for all of them."""
        origin = Forge.describe(path)
        assert origin.error is None
        beside = sorted(path.parent.parent.rglob("*"))
        documents = list(ArchiveSource(path=path).read(origin, PathRange(), CollectSettings(**options)))
        paths = [document.path for document in documents]
        assert paths == sorted(set(paths))
        assert len(paths) == origin.documents
        assert all((document.content is None) == (document.reason is not None) for document in documents)
        assert sorted(path.parent.parent.rglob("*")) == beside
        return {document.path: document for document in documents}

    @staticmethod
    def error(path):
        """Return what is wrong with an archive as a whole; nothing of it is read."""
        origin = Forge.describe(path)
        assert origin.documents == 0
        assert str(path.parent) not in origin.error
        assert list(ArchiveSource(path=path).read(origin, PathRange(), CollectSettings())) == []
        return origin.error

    @staticmethod
    def reasons(path, **options):
        return {name: document.reason for name, document in Forge.read(path, **options).items()}


@pytest.fixture(scope="session")
def forge():
    return Forge


@pytest.fixture
def put(tmp_path):
    def put(data, name="a.tar"):
        (tmp_path / "in").mkdir(exist_ok=True)
        path = tmp_path / "in" / name
        path.write_bytes(data)
        return path

    return put
