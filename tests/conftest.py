"""What every test may use: the repository itself, real data from outside it, and small corpora to build from."""

import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import pytest
from fast_import import commit_of
from object_server import BUCKET, ObjectServer

from starsmith.build import BuildResult, build
from starsmith.curate.malware import Scanner
from starsmith.engines.local import LocalEngine
from starsmith.progress import Quiet
from starsmith.recipe import loads
from starsmith.settings import MalwareSettings

REPOSITORY = Path(__file__).parent.parent

# Times vary with the machine's load; no test asserts one.
hypothesis.settings.register_profile("starsmith", deadline=None, max_examples=60)
hypothesis.settings.load_profile("starsmith")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout these tests stand in."""
    return REPOSITORY


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Small real files, described by their README: a folder beside the checkout, or wherever STARSMITH_TEST_DATA says.

    Without them a test is skipped; in CI, where they must be, it fails.
    """
    folder = Path(os.environ.get("STARSMITH_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if folder.is_dir():
        return folder
    reason = f"There is no test data at {folder}; set STARSMITH_TEST_DATA to its folder."
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass(kw_only=True)
class Corpus:
    """A folder of git repositories that a test may add to and take from, and workspaces built from it.

    Equal files give an equal repository, byte for byte, whenever and wherever it is made.
    """

    folder: Path

    def add(self, name: str, files: Mapping[str | bytes, bytes]) -> Path:
        """Make (or make anew) the bare repository `owner/name`, one commit holding `files`."""
        folder = self.folder / name.replace("/", "+")
        shutil.rmtree(folder, ignore_errors=True)
        _git("init", "--quiet", "--bare", "--initial-branch=main", str(folder), cwd=self.folder)
        with (folder / "config").open("a") as config:
            config.write(f'[remote "origin"]\n\turl = https://example.org/{name}\n')
        _git("fast-import", "--quiet", "--force", cwd=folder, stdin=commit_of(files))
        return folder

    def remove(self, name: str) -> None:
        shutil.rmtree(self.folder / name.replace("/", "+"))

    def recipe(self, *settings: str, documents: int = 12) -> str:
        """Return a recipe over this folder. `settings` are further lines, with their section headers."""
        source = f'[[source]]\nkind = "git"\npath = "{self.folder}"\n'
        return "\n".join([source, f"[shards]\ndocuments = {documents}", *settings])


def _git(*arguments: str, cwd: Path, stdin: bytes = b"") -> bytes:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"HOME": str(cwd), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *arguments], cwd=cwd, env=environment, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


MIT = b"""MIT License

Copyright (c) 2020 Somebody

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

_WORDS = (
    "account balance buffer cache channel client config cursor engine entry error event field filter handler header "
    "index iterator kernel layer ledger message method model node offset option packet parser payload pointer policy "
    "queue range reader record region request result route schema segment server session signal socket source stream "
    "string table target task thread token transfer value vector version window worker writer"
).split()
_STATEMENTS = {
    "py": "    {0}_{1} = {2}.{3}({4}, {5}={6})",
    "js": "  const {0}{1} = {2}.{3}({4}, {{ {5}: {6} }});",
    "go": "\t{0}, {1} := {2}.{3}({4}, {5}, {6})",
    "c": "    struct {0} *{1} = {2}_{3}({4}, {5}, {6});",
    "rs": "    let {0}_{1} = {2}.{3}(&{4}, {5}, {6})?;",
}
_FRAMES = {
    "py": ("def {0}({1}, {2}):", "    return {0}\n"),
    "js": ("export function {0}({1}, {2}) {{", "}}\n"),
    "go": ("package {0}\n\nfunc {1}({2} int) int {{", "\treturn {2}\n}}\n"),
    "c": ("#include <stdio.h>\n\nint {0}(int {1}, char *{2})\n{{", "    return 0;\n}}\n"),
    "rs": ("pub fn {0}({1}: usize, {2}: &str) -> Result<(), Error> {{", "    Ok(())\n}}\n"),
}


def source_code(seed: object, *, extension: str = "py", lines: int = 25) -> bytes:
    """Return a source file that is like no other: statements of random words. Equal arguments give equal bytes."""
    words = random.Random(f"{seed} {extension}")
    opening, closing = _FRAMES[extension]
    names = words.sample(_WORDS, 3)
    body = [_STATEMENTS[extension].format(*words.choices(_WORDS, k=7)) for _ in range(lines)]
    return "\n".join([opening.format(*names), *body, closing.format(*names)]).encode()


def _small_corpus(corpus: Corpus) -> None:
    """Licences of every kind, copies, near-copies, a fork, and files for the filters."""
    python = {f"src/m{i}.py": source_code(i) for i in range(9)}
    corpus.add("acme/alpha", {"LICENSE": MIT, **python, "src/long.py": source_code("long", lines=300)})
    corpus.add("acme/fork", {"LICENSE": MIT, **python, "src/long.py": source_code("long", lines=300)})
    near = {f"vendor/n{i}.py": source_code(i).replace(b"def ", b"async def ", 1) for i in range(4)}
    script = {f"lib/s{i}.js": source_code(i, extension="js") for i in range(6)}
    corpus.add("acme/beta", {"package.json": b'{"name": "beta", "license": "MIT"}\n', **script, **near})
    copies = {f"copied/{i}.py": source_code(i) for i in range(3)}
    header = b"// SPDX-License-Identifier: Apache-2.0\n"
    golang = {f"g{i}.go": header + source_code(i, extension="go") for i in range(7)}
    corpus.add("bolt/gamma", {"LICENSE": MIT, **golang, **copies})
    corpus.add("bolt/delta", {f"d{i}.c": source_code(i, extension="c") for i in range(5)})
    gpl = {f"e{i}.rs": b"// SPDX-License-Identifier: GPL-3.0-only\n" + source_code(i, extension="rs") for i in range(3)}
    odd = {
        "page.html": b"<html><script>" + b"x" * 500 + b"</script><body>hi</body></html>",
        "data.json": b'{"a": [' + b"1, " * 600 + b"1]}\n",
        "key.py": b"KEY = '" + b"QUJD" * 500 + b"'\n",
        "generated.go": b"// Code generated by tool. DO NOT EDIT.\n" + source_code("generated", extension="go"),
        "binary.bin": bytes(range(256)),
        "latin.py": "# caf\xe9\n".encode("latin-1") + source_code("latin"),
        "wide.py": source_code("wide").decode().encode("utf-16"),
    }
    corpus.add("core/epsilon", {"LICENSE": MIT, **gpl, **odd})
    for i in range(5):
        files = {f"t{j}.py": source_code(f"tiny {i} {j}", lines=8) for j in range(3)}
        corpus.add(f"tiny/t{i}", {"LICENSE": MIT, **files})


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A handful of small repositories with something for every stage. Not to be changed."""
    made = Corpus(folder=tmp_path_factory.mktemp("corpus"))
    _small_corpus(made)
    return made


@pytest.fixture
def own_corpus(tmp_path: Path) -> Corpus:
    """An empty corpus of the test's own."""
    folder = tmp_path / "repositories"
    folder.mkdir()
    return Corpus(folder=folder)


class InlineEngine(LocalEngine):
    """Runs tasks in this process, in an order of its own: no order may matter, and no process need be started."""

    def prepare(self, *, workers: int, modules: Sequence[str]) -> None:
        """Start nothing."""

    def map(self, function: Any, items: Sequence[Any], *, label: str, progress: Callable[[int], None]) -> Iterator[Any]:
        for item in random.Random(len(items)).sample(items, len(items)):
            yield function(item, attempt=0, progress=progress)


@pytest.fixture(scope="session")
def new_corpus() -> type[Corpus]:
    """What makes a corpus of an empty folder, for fixtures that several tests share."""
    return Corpus


@pytest.fixture(scope="session")
def inline_engine() -> type[LocalEngine]:
    """An engine that works in this process alone."""
    return InlineEngine


def build_into(recipe_text: str, workspace: Path, workers: int = 2, until: str = "release") -> BuildResult:
    """Build a recipe into a workspace; with `workers=0` in this process alone, which is faster for a small corpus."""
    recipe = loads(recipe_text, base=workspace.parent, name="recipe.toml")
    engine = LocalEngine if workers else InlineEngine
    with mock.patch("starsmith.build.LocalEngine", engine):
        return build(recipe, workspace=workspace, workers=workers or 2, until=until, reporter=Quiet())


def tree_digest(workspace: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of the release and every table part of the latest build, as they lie on disk."""
    record = json.loads((workspace / "build.json").read_bytes())
    names = {part["name"]: part["digest"] for parts in record["tables"].values() for part in parts}
    if record["release"] is not None:
        manifest = json.loads((workspace / record["release"] / "manifest.json").read_bytes())
        names |= {f"{record['release']}/{file['path']}": file["sha256"] for file in manifest["files"]}
        names[f"{record['release']}/manifest.json"] = _sha256(workspace / record["release"] / "manifest.json")
    found = {name: _sha256(workspace / name) for name in names}
    assert found == names, "a file does not have the digest that stands in its record"
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(name="build_into", scope="session")
def build_into_fixture() -> Callable[..., BuildResult]:
    return build_into


@pytest.fixture(name="tree_digest", scope="session")
def tree_digest_fixture() -> Callable[[Path], dict[str, str]]:
    return tree_digest


@pytest.fixture(name="source_code", scope="session")
def source_code_fixture() -> Callable[..., bytes]:
    return source_code


@pytest.fixture(scope="session")
def mit() -> bytes:
    """The text of the MIT licence."""
    return MIT


HOSTILE_PATHS = (
    "<img src=x onerror=alert(1)>.py",
    "<style><script>alert(2)<.py",
    "pipe|tick`cell[link](javascript:alert(3)).py",
    "right\u202eyp.exe.py",
    "two\nlines\x1b[31m'\"&amp;.py",
)
"""Names that a page, a table or a terminal might obey instead of showing."""


def python_text(topic: str, *, functions: int = 12) -> bytes:
    """Return Python code that shares few runs of words with that of another topic."""
    parts = [
        f"def {topic}_{number}(first_{topic}, second_{number}):\n"
        f'    """Return the {topic} of step {number}."""\n'
        f"    result_{topic} = first_{topic} * {number} + second_{number}\n"
        f"    return {topic}_total(result_{topic}, label='{topic} {number}')\n"
        for number in range(functions)
    ]
    return "\n\n".join(parts).encode()


@pytest.fixture(scope="session")
def small_sources() -> dict[str, dict[str, bytes]]:
    """The files of two repositories: `tools`, permissive and with a bit of everything, and `app`, which is not."""
    manifest = b'[project]\nname = "tools"\nversion = "1.0"\nlicense = "MIT"\n'
    near = python_text("almost")
    tools = {
        "pyproject.toml": manifest,
        "logo.png": b"\x89PNG\0\0\0",
        "unknown.qqq": b"words of no language at all\n",
        "long.js": b"var data = [" + b"'word', " * 400 + b"];\n",
        "numbers.py": b"table = [" + b"1, 2, 3,\n" * 40 + b"]\n",
        "parser.py": python_text("parse"),
        "copy/parser.py": python_text("parse"),
        "near/first.py": near,
        "near/second.py": near.replace(b"step 3", b"step three"),
        "vendored.py": python_text("vendor"),
    }
    # Empty, they are examples of a reason; with text, they are released.
    tools |= {f"empty/{name}": b"" for name in HOSTILE_PATHS}
    tools |= {f"kept/{name}": python_text(f"odd{number}") for number, name in enumerate(HOSTILE_PATHS)}
    app = {
        "pyproject.toml": manifest.replace(b"MIT", b"GPL-3.0-only"),
        "main.py": python_text("main"),
        "vendored.py": python_text("vendor"),
    }
    return {"tools": tools, "app": app}


@pytest.fixture(scope="session")
def small_workspace(tmp_path_factory: pytest.TempPathFactory, small_sources: dict[str, dict[str, bytes]]) -> Path:
    """A finished build of two small repositories, `acme/tools` (MIT, with hostile paths) and `acme/app` (GPL).

    Every decision stage but `repository` leaves something out. Read it; a test that changes it makes its own.
    """
    folder = tmp_path_factory.mktemp("small")
    small = Corpus(folder=folder / "repositories")
    small.folder.mkdir()
    for name, files in small_sources.items():
        small.add(f"acme/{name}", dict(files))
    build_into(small.recipe('[release]\nname = "small"'), folder / "small.workspace", workers=0)
    return folder / "small.workspace"


@pytest.fixture
def small_disk(tmp_path: Path) -> Callable[[str, str], subprocess.CompletedProcess[str]]:
    """A function that runs a script as root of a namespace in which `disk` is a file system of a few MB."""
    (tmp_path / "disk").mkdir()
    probe = [
        "unshare",
        "--map-root-user",
        "--mount",
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=1m",
        "none",
        tmp_path / "disk",
    ]
    try:
        possible = subprocess.run(probe, capture_output=True, check=False)
        reason = possible.stderr.decode().strip() if possible.returncode else ""
    except FileNotFoundError:
        reason = "there is no `unshare`"
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(f"no file system can be mounted: {reason}")

    def run(script: str, size: str) -> subprocess.CompletedProcess[str]:
        mount = f"mount -t tmpfs -o size={size} none {tmp_path}/disk\n"
        shell = ["unshare", "--map-root-user", "--mount", "bash", "-c", mount + textwrap.dedent(script)]
        return subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)

    return run


CLAMD_FILES = Path("/usr/share/clamav-testfiles")


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    daemon.wait(30)


class Clamd:
    """A clamd of the test's own. It knows clam.exe, and whatever is given as `known`, by their digests."""

    def __init__(self, folder: Path, known: dict[str, bytes] | None = None) -> None:
        self.probe = (CLAMD_FILES / "clam.exe").read_bytes()
        self.socket = str(folder / "s")
        self._configuration = folder / "clamd.conf"
        self.signatures = folder / "database" / "own.hdb"
        self.signatures.parent.mkdir()
        contents = {"Own.Clam": self.probe, **(known or {})}
        self.signatures.write_text(
            "".join(f"{hashlib.md5(each).hexdigest()}:{len(each)}:{name}\n" for name, each in contents.items())
        )
        lines = [
            f"DatabaseDirectory {folder / 'database'}",
            f"LocalSocket {self.socket}",
            f"TemporaryDirectory {folder}",
            "Foreground yes",
            "DisableCache yes",
            "Bytecode no",
            "StreamMaxLength 2M",
            "MaxFileSize 2M",
            *(["User root"] if os.geteuid() == 0 else []),
        ]
        self._configuration.write_text("\n".join(lines) + "\n")
        self.daemon = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        path = os.environ["PATH"] + ":/usr/sbin"
        command = [shutil.which("clamd", path=path) or "clamd", "--config-file", str(self._configuration)]
        daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            with socket.socket(socket.AF_UNIX) as attempt:
                if daemon.poll() is not None:
                    break
                if attempt.connect_ex(self.socket) == 0:
                    return daemon
            time.sleep(0.1)
        _end(daemon)
        raise AssertionError("clamd did not start")

    def stop(self) -> None:
        _end(self.daemon)

    def restart(self) -> None:
        self.stop()
        self.daemon = self.start()

    def scanner(self, **keys: object) -> Scanner:
        settings = MalwareSettings(**{"clamd": self.socket, "max_age_days": 0.0, "max_bytes": 1_900_000, **keys})
        return Scanner(settings, probe=self.probe)


@pytest.fixture(scope="session")
def clamd_files() -> Path:
    """The folder of clamd's harmless test files; where they or clamd are absent tests skip, and in CI fail."""
    if CLAMD_FILES.is_dir() and shutil.which("clamd", path=os.environ["PATH"] + ":/usr/sbin"):
        return CLAMD_FILES
    reason = "clamd and its test files are absent; install clamav-daemon and clamav-testfiles."
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def new_clamd(clamd_files: Path) -> type[Clamd]:
    """What starts a clamd in a folder; whoever starts one stops it."""
    return Clamd


@pytest.fixture(scope="session")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A running S3 server. Whoever kills it starts it again."""
    server = ObjectServer(tmp_path_factory.mktemp("objects"))
    yield server
    server.kill()


@pytest.fixture
def new_place(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """A function that returns the URI of an empty place on the server, and the environment in which it opens."""
    for name, value in object_server.environment().items():
        monkeypatch.setenv(name, value)
    return lambda: f"s3://{BUCKET}/{uuid.uuid4().hex}"
