"""The environment for judged programs, and what the doctor finds."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from starsmith.cli import main
from starsmith.errors import StarsmithError
from starsmith.evaluate import environment
from starsmith.evaluate.benchmarks import PLACES, benchmark
from starsmith.evaluate.run import Program
from starsmith.evaluate.sandbox import Sandbox
from starsmith.evaluate.toolchains import TOOLCHAINS


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A package of our own, found in a folder; no registry is asked."""
    import zipfile

    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "starsmith_probe-1.5-py3-none-any.whl", "w") as made:
        head = "starsmith_probe-1.5.dist-info"
        made.writestr("starsmith_probe.py", "ANSWER = 42\n")
        made.writestr(f"{head}/METADATA", "Metadata-Version: 2.1\nName: starsmith-probe\nVersion: 1.5\n")
        made.writestr(f"{head}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{head}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return "starsmith-probe"


@pytest.fixture
def readable(tmp_path):
    """A folder that the unprivileged user can reach, which pytest's own is not."""
    folder = Path(f"/var/tmp/starsmith-test-{tmp_path.name}")
    shutil.rmtree(folder, ignore_errors=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_programs_find_the_packages(wheel, readable, box):
    made = environment.set_up(readable / "env", [wheel])
    assert made.packages == {wheel: "1.5"}
    assert environment.found(readable / "env") == made
    with Sandbox(python=Path(made.python)) as own:
        (run,) = own.run([Program(id="x", source="import starsmith_probe\nassert starsmith_probe.ANSWER == 42")])
    assert run.status == "passed", run.detail
    with pytest.raises(StarsmithError, match="the packages cannot be installed"):
        environment.set_up(readable / "env", ["starsmith-no-such-package"])
    (readable / "env" / environment.RECORD).write_text("{")
    with pytest.raises(StarsmithError, match="setup` again"):
        environment.found(readable / "env")


def test_it_is_used_where_a_benchmark_needs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "default_folder", lambda: tmp_path)
    assert environment.python_for(benchmark("ds-1000")) is None
    known = {"folder": "f", "python": "/p", "version": "3", "packages": {"numpy": "2"}, "constraints": ""}
    (tmp_path / environment.RECORD).write_text(json.dumps(known))
    assert environment.python_for(benchmark("ds-1000")) == Path("/p")
    assert environment.python_for(benchmark("humaneval")) is None


def test_every_small_package_has_a_version():
    text = (Path(environment.__file__).parent.parent / "data" / environment.CONSTRAINTS).read_text()
    pinned = {line.partition("==")[0] for line in text.splitlines() if "==" in line}
    wanted = environment.packages_for(map(benchmark, PLACES))
    assert set(wanted) <= pinned
    assert not pinned & environment.LARGE
    assert environment.packages_for([], also=["torch"]) == ["numpy", "torch"]


def test_the_doctor_knows_each_language(box, capsys):
    assert main(["eval", "doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["works"]
    of_multipl_e = {tool["language"]: tool for tool in found["tools"] if tool["benchmark"] == "multipl-e"}
    assert of_multipl_e.keys() == {tools.language for tools in TOOLCHAINS.values()}
    assert "GNU bash" in of_multipl_e["Bash"]["said"] or not of_multipl_e["Bash"]["found"]
    for tool in of_multipl_e.values():
        assert tool["said"]
        assert tool["get"]


def test_the_doctor_says_what_is_wrong(tmp_path):
    # In a process of its own, without bubblewrap on its path.
    code = "import sys; from starsmith.cli import main; sys.exit(main(['eval', 'doctor']))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "apt-get install bubblewrap" in done.stderr
