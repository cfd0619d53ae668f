"""The `installed` source, on small environments made here and on the one the tests run in."""

import base64
import hashlib
import itertools
import json
import os
import pickle
import shlex
import sys
from pathlib import Path

import pytest

from starsmith.document import Origin, RawDocument, content_id
from starsmith.errors import StarsmithError
from starsmith.settings import CollectSettings
from starsmith.sources import PathRange
from starsmith.sources.installed import InstalledSource

SETTINGS = CollectSettings()
FOLDER = Path("lib/python3.11")
SITE = FOLDER / "site-packages"


class Environment:
    """A folder laid out like a virtual environment, whose `python` answers like one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.site = root / SITE
        self.site.mkdir(parents=True)
        self.answer(folders=[str(self.site)], prefixes=[str(root)], library=str(root / FOLDER), version="3.11.7")

    def answer(self, **facts: object) -> None:
        python = self.root / "bin" / "python"
        python.parent.mkdir(exist_ok=True)
        python.write_text(f"#!/bin/sh\necho {shlex.quote(json.dumps(facts))}\n")
        python.chmod(0o755)

    def install(self, name: str, files: dict[str, str | bytes], *, metadata: str = "", version: str = "1.0") -> Path:
        """Write a distribution as an installer does; `files` lie relative to site-packages."""
        info = f"{name}-{version}.dist-info"
        written = {
            f"{info}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{metadata}\n",
            **files,
        }
        rows = []
        for path, content in written.items():
            data = content.encode() if isinstance(content, str) else content
            place = self.site / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{path},sha256={digest},{len(data)}\n")
        (self.site / info / "RECORD").write_text("".join([*rows, f"{info}/RECORD,,\n"]))
        return self.site / info

    def source(self, *, standard_library: bool = False) -> InstalledSource:
        return InstalledSource(path=str(self.root / "bin/python"), standard_library=standard_library)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "env")


def origins(source: InstalledSource) -> list[Origin]:
    return [source.describe(location, shard_documents=4000) for location in source.locate()]


def documents(source: InstalledSource, settings: CollectSettings = SETTINGS) -> dict[str, RawDocument]:
    found = [document for origin in origins(source) for document in source.read(origin, PathRange(), settings)]
    return {document.path.decode(): document for document in found}


def add_to_record(info: Path, line: str) -> None:
    with (info / "RECORD").open("a") as record:
        record.write(line + "\n")


def test_a_distribution_is_an_origin_with_the_files_of_its_record(environment: Environment) -> None:
    environment.install(
        "Some_Tool", {"some_tool/__init__.py": "x = 1\n", "some_tool/data/a.txt": "a"}, version="2.0+cpu"
    )
    (environment.site / "some_tool" / "unrecorded.py").write_text("y = 1\n")
    [origin] = origins(environment.source())
    assert (origin.source, origin.url) == ("installed", "pkg:pypi/some-tool@2.0%2Bcpu")
    assert (origin.repo_name, origin.documents, origin.error) == ("pypi/some-tool", 3, None)
    found = documents(environment.source())
    assert list(found) == ["Some_Tool-2.0+cpu.dist-info/METADATA", "some_tool/__init__.py", "some_tool/data/a.txt"]
    code = found["some_tool/__init__.py"]
    assert (code.content, code.length, code.mode) == (b"x = 1\n", 6, 0o100644)
    assert (code.content_id, code.licence_scope, code.reason) == (content_id(b"x = 1\n"), None, None)


def test_what_differs_between_machines_is_left_out(environment: Environment) -> None:
    info = "tool-1.0.dist-info"
    left_out = ["tool/__pycache__/a.cpython-311.pyc", "tool/old.pyc", "../../../bin/tool"]
    notes = [f"{info}/{name}" for name in ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")]
    environment.install(
        "tool", {**dict.fromkeys([*left_out, *notes], "{}"), "tool/a.py": "", "../../../share/man/t.1": "t"}
    )
    assert set(documents(environment.source())) == {f"{info}/METADATA", "tool/a.py", "../../../share/man/t.1"}


def test_no_path_leads_out_of_the_environment(environment: Environment, tmp_path: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.write_text("password = 1\n")
    (tmp_path / "env-2").mkdir()
    (tmp_path / "env-2" / "a.py").write_text("password = 2\n")
    info = environment.install("tool", {"tool/a.py": ""})
    (environment.site / "tool" / "away").symlink_to(tmp_path)
    outside = [str(secret), "../../../../secret.py", "../../../../env-2/a.py", "tool/away/secret.py"]
    for path in outside:
        add_to_record(info, f"{path},,")
    found = documents(environment.source())
    for path in outside:
        assert (found[path].content, found[path].reason) == (None, "error.read")
        assert found[path].detail == "its path leads out of the environment"
    assert found["tool/a.py"].content == b""


def test_links_are_not_followed(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("password = 1\n")
    info = environment.install("tool", {"tool/a.py": ""})
    (environment.site / "tool" / "link.py").symlink_to("../../../../../secret.py")
    add_to_record(info, "tool/link.py,,")
    link = documents(environment.source())["tool/link.py"]
    assert (link.content, link.reason, link.mode) == (None, "source.symlink", 0o120000)
    link = documents(environment.source(), CollectSettings(symlinks=True))["tool/link.py"]
    assert (link.content, link.reason) == (b"../../../../../secret.py", None)


def test_pipes_are_not_waited_for(environment: Environment) -> None:
    info = environment.install("tool", {"tool/a.py": ""})
    os.mkfifo(environment.site / "tool" / "pipe.py")
    os.mkfifo(info / "direct_url.json")
    add_to_record(info, "tool/pipe.py,,")
    pipe = documents(environment.source())["tool/pipe.py"]
    assert (pipe.reason, pipe.detail) == ("error.read", "not a regular file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(environment: Environment) -> None:
    environment.install("tool", {"tool/a.py": "a"})
    (environment.site / "tool" / "a.py").chmod(0)
    document = documents(environment.source())["tool/a.py"]
    assert (document.reason, document.detail) == ("error.read", "Permission denied")


def test_large_files_are_named_but_not_taken_in(environment: Environment) -> None:
    environment.install("tool", {"tool/a.py": "x" * 1000, "tool/b.py": "x" * 999})
    found = documents(environment.source(), CollectSettings(max_bytes=1000))
    large = found["tool/a.py"]
    assert (large.content, large.reason, large.length) == (None, "source.too_large", 1000)
    assert large.content_id == content_id(b"x" * 1000)
    assert found["tool/b.py"].content == b"x" * 999


@pytest.mark.parametrize(
    ("metadata", "stated"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: ignored", "MIT OR Apache-2.0"),
        ("License: BSD 3-Clause\nClassifier: License :: OSI Approved :: MIT License", "BSD 3-Clause"),
        (
            (
                "License: UNKNOWN\nClassifier: License :: OSI Approved\nClassifier: Natural Language :: German\n"
                "Classifier: License :: OSI Approved :: MIT License\nClassifier: License :: Public Domain"
            ),
            "License :: OSI Approved :: MIT License; License :: Public Domain",
        ),
        (
            "License: Copyright (c) A\n        \n        Permission is granted\nClassifier: License :: Public Domain",
            "License :: Public Domain",
        ),
        ("Summary: states none", None),
        ("Summary: a\n\nLicense: MIT is only in the description", None),
    ],
)
def test_the_licence_as_the_metadata_states_it(environment: Environment, metadata: str, stated: str | None) -> None:
    environment.install("tool", {}, metadata=metadata)
    [origin] = origins(environment.source())
    assert origin.declared_license == stated


def test_licence_files_hold_for_what_they_were_written_for(environment: Environment) -> None:
    info = "tool-1.0.dist-info"
    scopes = {
        f"{info}/LICENSE": "",
        f"{info}/licenses/LICENSE": "",
        f"{info}/licenses/src/tool/vendor/x/LICENSE": "tool/vendor/x",
        f"{info}/licenses/tool/vendor/COPYING": "tool/vendor",
        f"{info}/licenses/tool/native/zlib/LICENSE": "tool/native/zlib",
        f"{info}/licenses/third_party/LICENSE": "",
        f"{info}/METADATA": "",
        "tool/LICENSE": None,
        "other-1.0.dist-info/LICENSE": None,
    }
    files = {path: path for path in scopes if not path.endswith("METADATA")}
    environment.install("tool", {**files, "tool/vendor/x/a.py": "", "tool/b.py": ""})
    found = documents(environment.source())
    assert {path: found[path].licence_scope for path in scopes} == scopes


def test_equal_state_means_equal_documents(environment: Environment) -> None:
    environment.install("tool", {"tool/a.py": "a"})
    source = environment.source()
    [before] = origins(source)
    (environment.site / "tool-1.0.dist-info" / "INSTALLER").write_text("another")
    os.utime(environment.site / "tool" / "a.py", (1, 1))
    assert origins(source) == [before]
    states = {before.state}
    (environment.site / "tool" / "a.py").write_text("b")
    states.add(origins(source)[0].state)
    (environment.site / "tool" / "a.py").chmod(0o755)
    states.add(origins(source)[0].state)
    (environment.site / "tool" / "a.py").unlink()
    states.add(origins(source)[0].state)
    assert len(states) == 4


def test_the_state_does_not_depend_on_the_place(tmp_path: Path) -> None:
    states = set()
    for name in ("one", "two"):
        environment = Environment(tmp_path / name)
        environment.install("tool", {"tool/a.py": "a"})
        states.add(origins(environment.source())[0].state)
    assert len(states) == 1


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda info: (info / "RECORD").unlink(), "Its RECORD cannot be read: No such file or directory."),
        (lambda info: (info / "RECORD").write_bytes(os.urandom(2000) + b"\0\xff"), "Its RECORD"),
        (lambda info: (info / "RECORD").write_bytes(b"METADATA," + b"x" * 200_000), "Its RECORD is not a table"),
        (lambda info: (info / "RECORD").write_text(""), "Its RECORD does not list its METADATA, so it is damaged."),
        (lambda info: (info / "METADATA").unlink(), "Its METADATA cannot be read"),
        (lambda info: (info / "METADATA").write_bytes(b"\xff\0\n\n\n"), "Its METADATA gives its name as ''"),
        (lambda info: (info / "METADATA").write_text("Name: other\nVersion: 1.0\n"), "gives its name as 'other'"),
    ],
)
def test_a_damaged_distribution_is_an_origin_without_documents(environment: Environment, damage, says: str) -> None:
    environment.install("good", {"good.py": ""})
    damage(environment.install("tool", {"tool/a.py": ""}))
    good, bad = origins(environment.source())
    assert (good.error, bad.repo_name, bad.documents) == (None, "pypi/tool", 0)
    assert says in str(bad.error)
    assert str(environment.root) not in str(bad.error)
    assert list(environment.source().read(bad, PathRange(), SETTINGS)) == []


def test_odd_rows_of_a_record_cost_no_other_row(environment: Environment) -> None:
    info = environment.install("tool", {"tool/a.py": "a", 'tool/"q", b.py': "b", "tool/caf\xe9.py": "c"})
    rows = ["tool/gone.py,,", "tool,,", ",,", "tool//a.py,,", "./tool/a.py", "a\0b,,", "tool/a.py/b,,", "x" * 5000, ""]
    text = (info / "RECORD").read_text().replace('tool/"q", b.py,', '"tool/""q"", b.py",')
    (info / "RECORD").write_bytes((text + "\n".join(rows)).encode() + b"\ntool/\xff.py,,\n")
    (environment.site / os.fsdecode(b"tool/\xff.py")).write_text("d")
    [origin] = origins(environment.source())
    found = list(environment.source().read(origin, PathRange(), SETTINGS))
    assert [document.path for document in found] == [
        *(b"tool-1.0.dist-info/METADATA", b'tool/"q", b.py', b"tool/a.py", "tool/café.py".encode(), b"tool/\xff.py")
    ]


def test_editable_installs_and_starsmith_itself_are_left_out(environment: Environment) -> None:
    info = environment.install("mine", {"mine.pth": "elsewhere"})
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///elsewhere", "dir_info": {"editable": True}}))
    info = environment.install("local", {"local.py": ""})
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///elsewhere", "dir_info": {}}))
    environment.install("starsmith", {"starsmith/__init__.py": ""})
    (environment.site / "~tool-1.0.dist-info").mkdir()
    (environment.site / "tool.egg-info").mkdir()
    assert [origin.name for origin in origins(environment.source())] == ["local"]


def test_of_two_site_folders_the_first_wins(environment: Environment, tmp_path: Path) -> None:
    other = Environment(tmp_path / "other")
    other.install("tool", {"tool.py": "other"}, version="2.0")
    other.install("only-there", {"there.py": ""})
    environment.install("tool", {"tool.py": "own"})
    roots = [str(environment.root), str(other.root)]
    environment.answer(
        folders=[str(environment.site), str(other.site), str(environment.root / "none")],
        prefixes=roots,
        library=str(environment.root / FOLDER),
        version="3.11.7",
    )
    assert [origin.url for origin in origins(environment.source())] == ["pkg:pypi/tool@1.0", "pkg:pypi/only-there@1.0"]


def test_the_standard_library_is_an_origin(environment: Environment) -> None:
    library = environment.root / FOLDER
    environment.install("tool", {"tool.py": ""})
    names = ["os.py", "json/__init__.py", "json/__pycache__/a.pyc", "LICENSE.txt", "test/site-packages/kept.py"]
    for name in [*names, "config-3.11-x/Makefile", "_sysconfigdata_x.py", "dist-packages/no.py"]:
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text(name)
    (library / "linked").symlink_to(environment.root)
    source = environment.source(standard_library=True)
    origin = next(origin for origin in origins(source) if origin.owner == "python")
    assert (origin.url, origin.repo_name) == ("pkg:generic/python@3.11.7", "python/cpython-stdlib")
    assert origin.declared_license == "Python-2.0.1"
    found = {document.path.decode(): document for document in source.read(origin, PathRange(), SETTINGS)}
    assert list(found) == ["LICENSE.txt", "json/__init__.py", "linked", "os.py", "test/site-packages/kept.py"]
    assert found["linked"].reason == "source.symlink"
    assert found["os.py"].licence_scope is None


def test_parts_make_up_the_whole(environment: Environment) -> None:
    environment.install("tool", {f"tool/{number}.py": str(number) for number in range(50)})
    source = environment.source()
    origin = source.describe(source.locate()[0], shard_documents=10)
    assert origin.cuts
    bounds = [None, *origin.cuts, None]
    parts = [PathRange(start=start, stop=stop) for start, stop in itertools.pairwise(bounds)]
    whole = list(source.read(origin, PathRange(), SETTINGS))
    assert [document for part in parts for document in source.read(origin, part, SETTINGS)] == whole
    assert len(whole) == origin.documents == 51


def test_a_python_that_is_none(environment: Environment, tmp_path: Path) -> None:
    with pytest.raises(StarsmithError, match="does not run as a Python"):
        InstalledSource(path=str(tmp_path / "nowhere")).locate()
    with pytest.raises(StarsmithError, match="did not answer like a Python"):
        InstalledSource(path="/bin/echo").locate()
    with pytest.raises(StarsmithError, match="no distributions"):
        environment.source().locate()


def test_a_distribution_removed_during_the_build_ends_it(environment: Environment) -> None:
    info = environment.install("tool", {"tool.py": ""})
    source = environment.source()
    [origin] = origins(source)
    (info / "RECORD").unlink()
    with pytest.raises(StarsmithError, match=r"pypi/tool has changed since the build began.*Run it again"):
        list(source.read(origin, PathRange(), SETTINGS))


def test_the_running_environment() -> None:
    source = InstalledSource()
    assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301
    assert InstalledSource(path=sys.executable).locate() == source.locate()
    places = {Path(location).name.partition("-")[0]: location for location in source.locate()}
    assert len(places) > 10
    assert "starsmith" not in places
    described = source.describe(places["pytest"], shard_documents=4000)
    assert (described.error, described.declared_license) == (None, "MIT")
    found = {document.path: document for document in source.read(described, PathRange(), SETTINGS)}
    code = Path(pytest.__file__).parent.parent / "_pytest" / "python.py"
    assert found[b"_pytest/python.py"].content == code.read_bytes()
    assert all(document.reason is None for document in found.values())
    library = source.describe(str(Path(json.__file__).parent.parent), shard_documents=4000)
    assert (library.repo_name, library.error) == ("python/cpython-stdlib", None)
    part = PathRange(start=b"json/", stop=b"json0")
    paths = [document.path for document in source.read(library, part, SETTINGS)]
    assert b"json/decoder.py" in paths
