"""A small tokenizer and real texts, for every test of formatting."""

import hashlib
import json
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from starsmith.document import content_id, document_id, origin_id, swhid
from starsmith.format.tokenizer_training import trained_on
from starsmith.table import write_rows

VOCABULARY = 1200


def _texts(folder: str, pattern: str, *, every: int, most: int) -> list[str]:
    paths = sorted(Path(sysconfig.get_path(folder)).rglob(pattern))[::every]
    found = []
    for path in paths[:most]:
        try:
            found.append(path.read_text("utf-8")[:8_000])
        except (UnicodeDecodeError, OSError):
            continue
    return found


@pytest.fixture(scope="session")
def real_texts():
    """A few hundred files of this Python and of what is installed beside it, in more than one language."""
    texts = _texts("stdlib", "*.py", every=9, most=120) + _texts("purelib", "*.py", every=60, most=120)
    for pattern in ("*.md", "*.js", "*.h", "*.txt", "*.json"):
        texts += _texts("purelib", pattern, every=3, most=30)
    assert len(texts) > 200
    return texts


@pytest.fixture(scope="session")
def tokenizer(real_texts):
    return trained_on([real_texts[::3]], vocabulary=VOCABULARY)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A row of a release that a test writes itself."""

    repo_name: str
    path: str
    content: str
    language: str = "Python"
    source: str = "git"

    @property
    def url(self):
        return f"https://example.org/{self.repo_name}"

    @property
    def document_id(self):
        return document_id(origin_id(self.url), REVISION, self.path.encode())

    @property
    def swhid(self):
        return swhid("cnt", content_id(self.content.encode()))

    @property
    def row(self):
        return {
            "origin_url": self.url,
            "revision_id": REVISION.hex(),
            "path": f"/{self.path}",
            "repo_name": self.repo_name,
            "source": self.source,
            "language": self.language,
            "swhid": self.swhid,
            "length_bytes": len(self.content.encode()),
            "content": self.content,
        }


REVISION = bytes(range(20))
_SCHEMA = pa.schema(
    [
        pa.field(name, pa.int64() if name == "length_bytes" else pa.string())
        for name in Document(repo_name="", path="", content="").row
    ]
)


def write_release(folder, shards):
    """Write a release folder of some documents by shard: what a pack reads of one, and no more."""
    listed = []
    (folder / "data").mkdir(parents=True)
    for shard, documents in shards.items():
        path = folder / "data" / f"{shard}.parquet"
        rows = pa.Table.from_pylist([each.row for each in documents], _SCHEMA)
        with path.open("wb") as file:
            write_rows(file, _SCHEMA, [rows.slice(start, 5) for start in range(0, len(rows), 5)], compression_level=1)
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        listed.append({"path": f"data/{shard}.parquet", "sha256": digest, "bytes": len(data), "rows": len(documents)})
    listed.append({"path": "README.md", "sha256": "0" * 64, "bytes": 0, "rows": 0})
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": listed}))
    return folder


@pytest.fixture(scope="session")
def make_release():
    return write_release


@pytest.fixture(scope="session")
def document():
    return Document
