"""Origins, documents and contents: the rows every other part of Starsmith works on, and their ids.

An *origin* is where documents came from (a repository, a distribution). A *document* is one occurrence of one
piece of text: (origin, revision, path) → content. A *content* is the bytes, known by the same id Software Heritage
and git give it. Follows sections 1.1 and 1.5 of the paper's data description.

This module does no input or output.
"""

import hashlib
import string
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from starsmith.errors import StarsmithError

ID_BYTES = 20
BAND_BYTES = 4
SHA256_BYTES = 32
SWHID_KINDS = {"cnt": "content", "dir": "directory", "rev": "revision", "snp": "snapshot", "ori": "origin"}

_ID = pa.binary(ID_BYTES)
_TIME = pa.timestamp("us", tz="UTC")


def content_id(content: bytes) -> bytes:
    """Return the 20-byte git blob id of `content`, which is also its Software Heritage content id.

    >>> content_id(b"").hex()
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).digest()


def origin_id(url: str) -> bytes:
    """Return the 20-byte id of an origin: the SHA-1 of its URL, as Software Heritage computes `swh:1:ori:` ids.

    >>> origin_id("https://github.com/python/cpython").hex()[:8]
    '74439e72'
    """
    return hashlib.sha1(url.encode(), usedforsecurity=False).digest()


def document_id(origin: bytes, revision: bytes | None, path: bytes) -> bytes:
    """Return the 20-byte id of one occurrence: origin id, revision id (empty if none), raw path."""
    digest = hashlib.sha1(origin, usedforsecurity=False)
    digest.update((revision or b"") + b"\0" + path)
    return digest.digest()


def swhid(kind: str, identifier: bytes) -> str:
    """Return the SWHID string of a 20-byte id.

    >>> swhid("cnt", content_id(b""))
    'swh:1:cnt:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    if kind not in SWHID_KINDS:
        raise StarsmithError(f"{kind!r} is not a SWHID kind; the kinds are {', '.join(SWHID_KINDS)}.")
    if len(identifier) != ID_BYTES:
        raise StarsmithError(f"A SWHID holds {ID_BYTES} bytes, not {len(identifier)}.")
    return f"swh:1:{kind}:{identifier.hex()}"


def parse_swhid(text: str) -> tuple[str, bytes]:
    """Return (kind, 20-byte id) of a core SWHID; qualifiers after ``;`` are ignored.

    >>> parse_swhid("swh:1:cnt:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391;path=/a")[0]
    'cnt'
    """
    parts = text.partition(";")[0].split(":")
    if len(parts) != 4 or parts[:2] != ["swh", "1"] or parts[2] not in SWHID_KINDS or len(parts[3]) != 2 * ID_BYTES:
        raise StarsmithError(f"{text[:100]!r} is not a SWHID; expected swh:1:{'|'.join(SWHID_KINDS)}:<40 hex digits>.")
    # `fromhex` passes over spaces.
    if not all(character in string.hexdigits for character in parts[3]):
        raise StarsmithError(f"{text[:100]!r} is not a SWHID; the last part must be 40 hex digits.")
    return parts[2], bytes.fromhex(parts[3])


def readable_path(path: bytes) -> str:
    r"""Return a path as text; bytes that are not UTF-8 become ``\xNN``, so that nothing is lost from view.

    >>> readable_path(b"caf\xe9.py")
    'caf\\xe9.py'
    """
    return path.decode("utf-8", errors="backslashreplace")


def folder_of(path: str) -> str:
    """Return the folder of a path without a trailing slash; the root folder is the empty string.

    >>> folder_of("a/b/c.py"), folder_of("c.py")
    ('a/b', '')
    """
    return path.rpartition("/")[0]


def ancestors(folder: str) -> Iterator[str]:
    """Yield `folder` and every folder above it, nearest first, ending with the root ``""``.

    >>> list(ancestors("a/b"))
    ['a/b', 'a', '']
    """
    while folder:
        yield folder
        folder = folder_of(folder)
    yield ""


def file_name_of(path: str) -> str:
    """Return the last part of a path."""
    return path.rpartition("/")[2]


def extension_of(file_name: str) -> str:
    """Return the lower-cased text after the last dot, or ``""``; a leading dot alone is no extension.

    >>> extension_of("Setup.PY"), extension_of("Makefile"), extension_of(".gitignore")
    ('py', '', 'gitignore')
    """
    return file_name.rpartition(".")[2].lower() if "." in file_name else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """One place that documents come from, as a source describes it before any content is read.

    `state` is a hex digest of everything that determines the origin's documents; equal state means equal documents.
    `location` is where to read it on this machine: never part of a table, a fingerprint or a release.
    Times are microseconds since 1970 UTC. Counts are None where nobody stated them.
    `cuts` splits a very large origin: sorted raw paths at which a new shard begins.
    `error` is set (one sentence) when the origin as a whole cannot be read; it then has no documents.
    """

    source: str
    url: str
    owner: str
    name: str
    location: str
    state: str
    documents: int = 0
    cuts: tuple[bytes, ...] = ()
    revision_id: bytes | None = None
    directory_id: bytes | None = None
    branch_name: str | None = None
    revision_date: int | None = None
    committer_date: int | None = None
    declared_license: str | None = None
    error: str | None = None

    @property
    def origin_id(self) -> bytes:
        return origin_id(self.url)

    @property
    def repo_name(self) -> str:
        return f"{self.owner}/{self.name}" if self.owner else self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class RawDocument:
    """One path of an origin as a source hands it over.

    `content` is None when the bytes are not taken in; `reason` then says why (one of verdict.REASONS) and `detail`
    in words. `licence_scope` is the folder for which a licence stated in this file holds, where that is not the
    file's own folder (dist-info licence files hold for the whole distribution).
    """

    path: bytes
    length: int
    mode: int
    content: bytes | None
    content_id: bytes | None
    committed_at: int | None = None
    licence_scope: str | None = None
    reason: str | None = None
    detail: str | None = None


ORIGINS = pa.schema(
    [
        pa.field("origin_id", _ID, nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("owner", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("repo_name", pa.string(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("snapshot_id", _ID),
        pa.field("revision_id", _ID),
        pa.field("directory_id", _ID),
        pa.field("branch_name", pa.string()),
        pa.field("visit_date", _TIME),
        pa.field("revision_date", _TIME),
        pa.field("committer_date", _TIME),
        pa.field("declared_license", pa.string()),
        pa.field("github_id", pa.int64()),
        pa.field("star_events_count", pa.int64()),
        pa.field("fork_events_count", pa.int64()),
        pa.field("gha_license_id", pa.string()),
        pa.field("gha_event_created_at", _TIME),
        pa.field("gha_created_at", _TIME),
        pa.field("gha_updated_at", _TIME),
        pa.field("gha_pushed_at", _TIME),
        pa.field("gha_language", pa.string()),
        pa.field("error", pa.string()),
    ]
)
"""One row per origin. Columns from `snapshot_id` on carry The Stack v2's names and come from git, the distribution's
metadata or the repository metadata file; null means nobody stated it."""

DOCUMENTS = pa.schema(
    [
        pa.field("document_id", _ID, nullable=False),
        pa.field("origin_id", _ID, nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("folder", pa.string(), nullable=False),
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("extension", pa.string(), nullable=False),
        pa.field("content_id", _ID),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("mode", pa.int32(), nullable=False),
        pa.field("committed_at", _TIME),
        pa.field("licence_scope", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
"""One row per occurrence. `reason` is set where the content was not taken in."""

CONTENTS = pa.schema(
    [
        pa.field("content_id", _ID, nullable=False),
        pa.field("sha256", pa.binary(SHA256_BYTES), nullable=False),
        pa.field("content", pa.binary(), nullable=False),
    ]
)
"""The bytes, once per shard, in the order in which the shard's documents first mention them."""

COMMIT_TIMES = pa.schema(
    [pa.field("path", pa.binary(), nullable=False), pa.field("committed_at", _TIME, nullable=False)]
)
"""The last-commit time of every raw path of an origin that several shards read; one part per origin."""

FOLDERS = pa.schema(
    [
        pa.field("origin_id", _ID, nullable=False),
        pa.field("folder", pa.string(), nullable=False),
        pa.field("ancestor", pa.string(), nullable=False),
        pa.field("distance", pa.int32(), nullable=False),
    ]
)
"""Every folder with each of its ancestors (itself at distance 0), so that propagation is an equi-join."""

TEXTS = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("content_id", _ID, nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("src_encoding", pa.string()),
        pa.field("num_chars", pa.int64()),
        pa.field("num_lines", pa.int64()),
        pa.field("avg_line_length", pa.float64()),
        pa.field("max_line_length", pa.int64()),
        pa.field("alpha_fraction", pa.float64()),
        pa.field("alphanum_fraction", pa.float64()),
        pa.field("base64_longest", pa.int64()),
        pa.field("base64_fraction", pa.float64()),
        pa.field("hex_longest", pa.int64()),
        pa.field("hex_fraction", pa.float64()),
        pa.field("unicode_longest", pa.int64()),
        pa.field("unicode_fraction", pa.float64()),
        pa.field("generated_phrase", pa.string()),
        pa.field("visible_chars", pa.int64()),
        pa.field("visible_fraction", pa.float64()),
        pa.field("num_shingles", pa.int64()),
        pa.field("shingle_row", pa.int64()),
        pa.field("licence", pa.string()),
        pa.field("licence_method", pa.string()),
    ]
)
"""What is known of a content whatever its name. `reason` is set where it is no text (binary, undecodable, a crash).
`licence` is the SPDX expression stated inside the file itself; `visible_*` are set for HTML only; `shingle_row` is the
row of the shard's SHINGLES part that holds its shingle set, null where it is too short to be compared."""

ANNOTATIONS = pa.schema(
    [
        pa.field("document_id", _ID, nullable=False),
        pa.field("content_id", _ID, nullable=False),
        pa.field("language", pa.string()),
        pa.field("language_method", pa.string()),
        pa.field("is_vendor", pa.bool_()),
        pa.field("is_generated", pa.bool_()),
    ]
)
"""What depends on the name as well as the content."""

BANDS = pa.schema(
    [pa.field("band", pa.binary(BAND_BYTES), nullable=False), pa.field("entries", pa.large_binary(), nullable=False)]
)
"""MinHash bands, one row per band of a shard: its 64-bit keys in ascending order, then for each of them the 32-bit
number of the row of SHINGLES it belongs to, all little-endian. Contents that share a (band, key) are near-duplicate
candidates."""

SHINGLES = pa.schema(
    [pa.field("content_id", _ID, nullable=False), pa.field("shingles", pa.large_binary(), nullable=False)]
)
"""The sorted distinct 32-bit shingle hashes of a content, little-endian, for exact Jaccard."""

LICENCE_STATEMENTS = pa.schema(
    [
        pa.field("origin_id", _ID, nullable=False),
        pa.field("folder", pa.string(), nullable=False),
        pa.field("document_id", _ID),
        pa.field("path", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("expression", pa.string(), nullable=False),
        pa.field("score", pa.float64()),
    ]
)
"""One licence stated for a folder and all below it: by a licence file, a manifest, a readme or the origin itself."""

SCANS = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("content_id", _ID, nullable=False),
        pa.field("detectors", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("signature", pa.string()),
        pa.field("num_emails", pa.int64(), nullable=False),
        pa.field("num_ip_addresses", pa.int64(), nullable=False),
        pa.field("num_keys", pa.int64(), nullable=False),
        pa.field("num_passwords", pa.int64(), nullable=False),
        pa.field("num_names", pa.int64(), nullable=False),
    ]
)
"""One row per scanned content. `reason` is set where it may not be released, `detail` says what was found; `signature`
is what a malware scanner calls it. `num_*` count what is replaced. `detectors` has a fingerprint of each detector that
scanned, in this order: secrets and personal data, benchmarks, malware; `-` where it was not at work."""

FINDINGS = pa.schema(
    [
        pa.field("content_id", _ID, nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
    ]
)
"""What must not be published: kind, bytes [start, end) of the text as UTF-8, line counted from 1. Never the value."""

BENCHMARK_MATCHES = pa.schema(
    [
        pa.field("content_id", _ID, nullable=False),
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("problem", pa.string(), nullable=False),
        pa.field("field", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("share", pa.float64(), nullable=False),
    ]
)
"""Benchmark problems found in a content. `kind`: `text` (contained whole) or `words` (a share of its runs of words);
`position`: the byte of the text where it, or the first of its runs, begins."""
