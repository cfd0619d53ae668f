"""Whatever reads bytes of others: sound inputs, changed in every way, give a value or an error that was meant.

A round is a fixed number of examples, the same in every run of the tests. `STARSMITH_FUZZ_SECONDS` gives each reader
that many seconds of further rounds, every one with other examples. Archives and tar headers have tests of their own
(`sources/test_archives_limits.py`), as have git repositories (`sources/test_git_hostile.py`).
"""

import gzip
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from starsmith import benchmarks, origins
from starsmith.curate import decontaminate, encoding, language, licence_expression, redact
from starsmith.curate.benchmark_texts import ProblemText
from starsmith.curate.kernel import text_buffers
from starsmith.curate.licence import header_statements
from starsmith.curate.licence_manifests import is_manifest
from starsmith.curate.licence_statements import statements_of
from starsmith.curate.text_stats import measure
from starsmith.curate.visible_text import count_visible_characters
from starsmith.document import parse_swhid, swhid
from starsmith.errors import StarsmithError
from starsmith.recipe import loads, template
from starsmith.settings import DecontaminationSettings, LicenceSettings, RedactionSettings
from starsmith.sources import archive_metadata, distribution, git_remote, git_repository
from starsmith.storage import Store, sealed, unsealed
from starsmith.table import Record, read_record
from starsmith.workspace import read_build

ROUND = 300
"""Examples of a round: all readers together take about half a minute of processor time."""
SECONDS = float(os.environ.get("STARSMITH_FUZZ_SECONDS") or 0)

NOISE = [
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\n", b" ", b"\t", b"'", b'"', b'"""', b"\\", b"\\u0000"),
    *(b"{", b"}", b"[", b"]", b"[[", b"(", b")", b"<", b">", b"&", b"&#x", b"<!--", b"-->", b"</script", b"/*", b"*/"),
    *(b"=", b":", b"://", b"@", b",", b";", b".", b"..", b"/", b"-", b"--", b"-----BEGIN ", b"#", b"|", b"%", b"$("),
    *(b"0", b"-1", b"1e999", b"99999999999999999999", b"null", b"true", b"NaN", b"MIT", b" OR ", b" WITH ", b"ghp_"),
    *("é".encode(), "\u202e".encode(), "\ud800".encode("utf-8", "surrogatepass"), "😀".encode(), "İ".encode()),
]

Change = tuple[float, int, bytes, int]
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 6),
        st.sampled_from(NOISE) | st.binary(max_size=8),
        st.integers(1, 300),
    ),
    min_size=0,
    max_size=8,
)


def changed(data: bytes, changes: list[Change]) -> bytes:
    """Return `data` with bytes put in, overwritten, taken out, doubled, moved, repeated and cut off."""
    for share, kind, noise, length in changes:
        at = int(share * (len(data) + 1))
        before, after, piece = data[:at], data[at:], data[at : at + length]
        data = [
            before + noise + after,
            before + noise + after[len(noise) :],
            before + after[length:],
            before + piece + after,
            after + before,
            before + noise * length + after,
            before,
        ][kind]
    return data


def text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def column(data: bytes) -> pa.LargeBinaryArray:
    return pa.array([text(data).encode()], pa.large_binary())


def error_of(read: Callable[[Any], object], argument: Any) -> str | None:
    """Return the error that reading ends with, if it ends with one that was meant."""
    try:
        read(argument)
    except StarsmithError as error:
        return str(error)
    return None


# ---- readers: sound inputs, and what is done with them


def read_recipe(data: bytes, folder: Path) -> None:
    loads(text(data), base=folder, name="recipe.toml")


def read_swhid(data: bytes, folder: Path) -> None:
    kind, identifier = parse_swhid(text(data))
    assert swhid(kind, identifier) == text(data).partition(";")[0].lower()


def read_expression(data: bytes, folder: Path) -> None:
    found = licence_expression.normalise(text(data))
    if found is not None:
        assert licence_expression.normalise(found) == found
        assert licence_expression.license_type(found) in ("permissive", "non_permissive", "no_license")


def read_secrets(data: bytes, folder: Path) -> None:
    texts = column(data)
    found = redact.scan(texts, RedactionSettings())
    assert all(0 <= span.start < span.end <= len(texts[0].as_py()) for span in found.spans())
    edited = redact.redact(texts, found, content_ids=[b"x"]).texts
    assert edited[0].as_py().count(b"\n") == texts[0].as_py().count(b"\n")
    edited[0].as_py().decode()


PROBLEMS = [
    ProblemText(benchmark="b", problem=str(number), field="prompt", text=words)
    for number, words in enumerate(["def f(a, b):\n    return a + b", "if x is None: raise ValueError('x' * 10)"])
]
INDEX = decontaminate.Index.build(PROBLEMS, DecontaminationSettings(rule="both", ngram=4))


def read_problems(data: bytes, folder: Path) -> None:
    texts = column(data)
    for match in decontaminate.scan(texts, INDEX).to_pylist():
        assert 0 <= match["position"] < len(texts[0].as_py())
        assert 0 < match["share"] <= 1


def read_html(data: bytes, folder: Path) -> None:
    texts = column(data)
    (count,) = count_visible_characters(*text_buffers(texts), np.ones(1, np.bool_))
    assert 0 <= count <= 2 * len(texts[0].as_py())
    measure(texts, html=np.ones(1, np.bool_), hex_spaces=True)


def read_encoding(data: bytes, folder: Path) -> None:
    decoded = encoding.decode(pa.array([data], pa.large_binary()))
    assert decoded.reasons[0].as_py() in (None, "error.binary", "error.decode")
    decoded.texts[0].as_py().decode()


NAMES = (
    "LICENSE README.md package.json composer.json dub.json META.json META.yml Cargo.toml pyproject.toml setup.cfg "
    "PKG-INFO METADATA setup.py pom.xml a.gemspec a.podspec DESCRIPTION a.cabal dub.sdl mix.exs Makefile.PL"
).split()
SOUND = {
    ".json": b'{"name": "a", "license": "MIT", "licenses": [{"type": "MIT", "url": "x"}], "version": "1.0"}',
    ".toml": b'[package]\nname = "a"\nlicense = "MIT OR Apache-2.0"\n[project]\nlicense = {text = "MIT"}\n',
    ".xml": b"<project><licenses><license><name>MIT</name><url>https://x</url></license></licenses></project>",
    "": b"License: MIT\nlicense = MIT\n  s.license = 'MIT'\nlicenses: [\"MIT\"]\nSPDX-License-Identifier: X\n",
}


def read_names(data: bytes, folder: Path) -> None:
    for name in NAMES:
        statements_of(name, text(data), LicenceSettings())
    header_statements(column(data))
    detector = language.LanguageDetector()
    for name in ("a", "a.h", "a.m", "a.json", "a.pl"):
        detector.detect([name], column(data))
        language.is_generated(name, text(data).encode())


def read_benchmark(data: bytes, folder: Path) -> None:
    for name in ("a.jsonl", "a.json", "a.jsonl.gz", "a.parquet"):
        (folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") and data[:2] != b"\x1f\x8b" else data)
        error = error_of(lambda path: benchmarks.load("humaneval", path), folder / name)
        assert error is None or name in error


def read_metadata(data: bytes, folder: Path) -> None:
    for name in ("a.csv", "a.parquet"):
        (folder / name).write_bytes(data)
        error = error_of(origins._metadata_rows, folder / name)
        assert error is None or name in error


def read_archive_metadata(data: bytes, folder: Path) -> None:
    for name in ("a-1.0.tar.gz", "a-1.0-py3-none-any.whl", "a-1.0.tgz", "a-1.0.crate"):
        assert archive_metadata.identity(name, "0" * 64, data).url


def read_distribution(data: bytes, folder: Path) -> None:
    for name in ("METADATA", "RECORD"):
        (folder / name).write_bytes(data)
    for read in (distribution.read_record, distribution.read_metadata):
        try:
            found: Any = read(str(folder))
            if read is distribution.read_metadata:
                distribution.declared_licence(found)
        except distribution.UnreadableDistribution:
            pass


def read_git_config(data: bytes, folder: Path) -> None:
    git_remote.repository_name(text(data), folder / "name.git")


GIT_FILES = {"HEAD": b"ref: refs/heads/main\n", "packed-refs": b"# pack-refs\n" + b"a" * 40 + b" refs/heads/main\n"}


def read_git_folder(data: bytes, folder: Path) -> None:
    (folder / "objects").mkdir(exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    for name in ("HEAD", "packed-refs", "config", "shallow"):
        (folder / name).write_bytes(GIT_FILES.get(name, b""))
    for name in ("HEAD", "packed-refs", "config", "shallow"):
        (folder / name).write_bytes(data)
        try:
            git_repository.read_config(folder)
            git_repository.open_repository(folder)
        except (git_repository.UnreadableRepository, OSError):
            # A name too long for the disk among them: either is the error of an origin.
            pass


RECORD = Record(stage="s", fingerprint="f", outputs={"facts": ()}, seconds=1.0, counts={"n": 1})


def read_records(data: bytes, folder: Path) -> None:
    """Sealed anew, so that what stands in them is read and not only the seal."""
    store = Store(str(folder))
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError):
        plain = None
    for content in (data, sealed(plain) if isinstance(plain, dict) and plain else data):
        for name in (RECORD.name, "build.json"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        found = read_record(store, "s", "f")
        assert found is None or (found.stage, found.fingerprint) == ("s", "f")
        error = error_of(read_build, store)
        assert error is None or "Run `starsmith build` again" in error


def read_sealed(data: bytes, folder: Path) -> None:
    try:
        value = unsealed(data)
    except ValueError:
        return
    assert sealed(value) == data


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


PROBLEM = {
    "task_id": "1",
    "prompt": "def f():\n",
    "canonical_solution": "    return 1\n",
    "test": "x",
    "entry_point": "f",
}
KNOWN = {"owner": "a", "name": "b", "stars": 3, "gha_license_id": "MIT", "gha_created_at": "2020-01-01"}
CODE = (
    b"# -*- coding: utf-8; mode: python -*-\npassword = 'hunter2x!'\napi_key: \"q8ZrT2vLw0XhY6nB4mJc\"\n"
    b"http://user:s3cr3tpass@host.com/ me@host.org 93.184.216.34 2a00:1450:4001::200e\nAKIA" + b"Q3EGMB5TTZKQ2ABC\n"
    b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCabcdefghijkl\n-----END PRIVATE KEY-----\n"
    b"def f(a, b):\n    return a + b\nif x is None: raise ValueError('x' * 10)\n"
)
HTML = (
    b"<!DOCTYPE html><html><!-- c --><script>var a = '<b>';</script><pre> x </pre><ruby>a<rt>b</rt></ruby>"
    b"&amp;&#x1F600;&lt&notit;<template>t</template><![CDATA[ d ]]><textarea> </textarea><p a='>'>text</p></html>"
)
GIT_CONFIG = (
    b'[remote "origin"]\n\turl = "https://user@example.org/a/b.git" ; c\n[include]\n\tpath = x\n[a "b\\"c"]\nd\n'
)
NPM = b'{"name": "a", "version": "1.0", "license": {"type": "MIT"}, "repository": {"url": "git://x"}}'
PYPI = b"Metadata-Version: 2.1\nName: a\nVersion: 1.0\nLicense: MIT\nClassifier: License :: OSI Approved\n\nbody\n"
BUILD = {"recipe": "", "base": "", "profile": "", "engine": "", "workers": 1, "until": "x", "stages": [], "tables": {}}

READERS: dict[str, tuple[Callable[[bytes, Path], None], list[bytes]]] = {
    "recipe": (read_recipe, [template().encode(), b'[[source]]\nkind = "git"\npath = "x"\n[filters]\nmax_lines = 3\n']),
    "swhid": (read_swhid, [b"swh:1:cnt:" + b"0a" * 20, b"swh:1:rev:" + b"0a" * 20 + b";path=/a"]),
    "licence expression": (
        read_expression,
        [b"MIT OR (Apache-2.0 WITH LLVM-exception AND GPL-2.0+)", b"GPL v2, MIT/BSD"],
    ),
    "secrets": (read_secrets, [CODE]),
    "problems": (read_problems, [CODE]),
    "visible text": (read_html, [HTML]),
    "encoding": (
        read_encoding,
        ["é x = 1\n".encode(codec) for codec in ("utf-8", "utf-16", "latin-1", "utf-8-sig")]
        + ["日本".encode("sjis") * 9],
    ),
    "names": (read_names, [*SOUND.values(), CODE, b"#!/usr/bin/env -S python3 -x\n# vim: set ft=perl:\n"]),
    "benchmark": (
        read_benchmark,
        [json.dumps(PROBLEM).encode() * 2, json.dumps({"a": PROBLEM}).encode(), parquet([PROBLEM])],
    ),
    "metadata": (read_metadata, [b"owner,name,stars,gha_created_at\na,b,3,2020-01-01\n", parquet([KNOWN])]),
    "archive metadata": (read_archive_metadata, [NPM, PYPI, SOUND[".toml"]]),
    "distribution": (read_distribution, [PYPI, b'a/b.py,sha256=x,12\n"a,b",,\n../../c,,\n']),
    "git config": (read_git_config, [GIT_CONFIG]),
    "git folder": (read_git_folder, [*GIT_FILES.values(), GIT_CONFIG, b"a" * 40 + b"\n"]),
    "records": (
        read_records,
        [
            json.dumps({"stage": "s", "fingerprint": "f", "outputs": {"t": [{"shard": ""}]}, "seconds": 1}).encode(),
            json.dumps(BUILD | {"records": [], "release": None, "versions": {}, "notes": []}).encode(),
        ],
    ),
    "seal": (read_sealed, [sealed({"a": 1, "b": {"c": None}})]),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_ends_with_a_value_or_an_error_that_was_meant(reader: str, tmp_path: Path) -> None:
    read, sound = READERS[reader]
    for example in sound:
        _tried(read, example, tmp_path)
    started, rounds = time.monotonic(), 0
    while rounds == 0 or time.monotonic() - started < SECONDS:

        @seed(rounds)
        @settings(
            max_examples=ROUND,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.sampled_from(sound), CHANGES)
        def attempt(example: bytes, changes: list[Change]) -> None:
            _tried(read, changed(example, changes), tmp_path)

        attempt()
        rounds += 1


def _tried(read: Callable[[bytes, Path], None], data: bytes, folder: Path) -> None:
    error = error_of(lambda _: read(data, folder), None)
    assert error is None or (0 < len(error) < 5000 and "\x00" not in error)


def test_the_examples_reach_every_manifest() -> None:
    assert sum(map(is_manifest, NAMES)) > 12


# ---- what fuzzing has found


@pytest.mark.parametrize("identifier", ["0a" * 19 + "  ", "0a" * 15 + " " * 10, "０" * 40, "0" * 39 + "x"])
def test_the_id_of_a_swhid_is_digits(identifier: str) -> None:
    with pytest.raises(StarsmithError, match="the last part must be 40 hex digits"):
        parse_swhid(f"swh:1:cnt:{identifier}")


def test_an_error_is_no_longer_than_anybody_reads() -> None:
    assert len(error_of(parse_swhid, "x" * 10_000) or "") < 200


def test_a_metadata_file_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("owner,name,größe\na,b,3\n".encode("latin-1"))
    with pytest.raises(StarsmithError, match=r"a\.csv has a column whose name is not UTF-8"):
        origins._metadata_rows(tmp_path / "a.csv")
