"""Documents that crash, stall or provoke a native library: each stands alone in the ledger, the rest is as without it.

What goes wrong is put into Starsmith's processes from outside: a `sitecustomize` module on their path, which patches
one function to misbehave on contents that say so.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from starsmith import isolation
from starsmith.document import ANNOTATIONS, TEXTS, content_id
from starsmith.isolation import Isolated, allowance, processor_time
from starsmith.ledger import LEDGER
from starsmith.storage import Store
from starsmith.workspace import read_build

MISCHIEF = """
    import importlib.abc, importlib.machinery, importlib.util, os, signal, sys

    class Patch(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name not in ("starsmith.curate.language", "starsmith.isolation"):
                return None
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            run = spec.loader.exec_module
            def exec_module(module):
                run(module)
                patch(module)
            spec.loader.exec_module = exec_module
            return spec

    def patch(module):
        if module.__name__ == "starsmith.isolation":
            module.ALLOWANCE_SECONDS = 1.0
            return
        sound = module.is_generated
        def is_generated(name, text):
            if b"MARK abort" in text:
                os.abort()
            if b"MARK segfault" in text:
                os.kill(os.getpid(), signal.SIGSEGV)
            if b"MARK raise" in text:
                raise RuntimeError("provoked")
            if b"MARK forever" in text:
                while True:
                    pass
            return sound(name, text)
        module.is_generated = is_generated

    sys.meta_path.insert(0, Patch())
"""


@pytest.fixture
def mischief(tmp_path):
    """The environment of processes in which marked documents misbehave."""
    folder = tmp_path / "mischief"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(textwrap.dedent(MISCHIEF))
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run(recipe, workspace, environment):
    """Build in processes of their own; return what each stage did."""
    file = workspace.with_suffix(".toml")
    file.write_text(recipe)
    command = [sys.executable, "-m", "starsmith", "build", str(file), "--workspace", str(workspace), "--workers", "2"]
    done = subprocess.run([*command, "--json"], env=environment, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    return {stage["name"]: stage for stage in json.loads(done.stdout)["stages"]}


def rows(workspace, name, schema, columns=None):
    store = Store(str(workspace))
    return read_build(store).table(name, schema).read(store, columns)


def verdicts(workspace):
    table = rows(workspace, "ledger", LEDGER, ["path", "verdict"])
    return dict(zip(table["path"].to_pylist(), table["verdict"].to_pylist(), strict=True))


def others(table, excluded):
    """Rows of contents that do not misbehave, in a fixed order and without the column that counts rows."""
    ids = pa.array(sorted(excluded), table.schema.field("content_id").type)
    kept = table.filter(pc.invert(pc.is_in(table["content_id"], ids)))
    kept = kept.drop_columns([name for name in ("shingle_row",) if name in kept.column_names])
    return kept.sort_by([(name, "ascending") for name in kept.column_names]).to_pylist()


def fill(own_corpus, mit, source_code, marks):
    """Three repositories, one of them with a marked file for each of `marks`; return their contents by mark."""
    marked = {mark: source_code(mark) + b"# MARK " + mark.encode() + b"\n" for mark in marks}
    sound = {f"s{i}.py": source_code(i) for i in range(2)}
    bad = {f"{mark}.py": content for mark, content in marked.items()}
    own_corpus.add("a/sound", {"LICENSE": mit, **{f"a{i}.py": source_code(f"a{i}") for i in range(9)}})
    own_corpus.add("b/mixed", {"LICENSE": mit, **sound, **bad})
    own_corpus.add("c/sound", {"LICENSE": mit, **{f"c{i}.py": source_code(f"c{i}") for i in range(9)}})
    return marked


def test_crashes_are_isolated_and_remembered(own_corpus, mit, source_code, mischief, tmp_path, build_into):
    marked = fill(own_corpus, mit, source_code, ("abort", "segfault", "raise"))
    recipe = own_corpus.recipe(documents=8)
    build_into(recipe, tmp_path / "sound", workers=0)
    run(recipe, tmp_path / "w", mischief)
    found = verdicts(tmp_path / "w")
    assert {path for path, verdict in found.items() if verdict == "error.crashed"} == {f"{mark}.py" for mark in marked}
    assert verdicts(tmp_path / "sound").keys() == found.keys()
    details = rows(tmp_path / "w", "texts", TEXTS).filter(pc.equal(pc.field("reason"), "error.crashed"))["detail"]
    assert sorted(details.to_pylist()) == [
        "RuntimeError: provoked",
        "the process ended with exit code -11",
        "the process ended with exit code -6",
    ]
    ids = {content_id(content) for content in marked.values()}
    for name, schema in (("texts", TEXTS), ("annotations", ANNOTATIONS)):
        with_them, without = (rows(tmp_path / place, name, schema) for place in ("w", "sound"))
        assert others(with_them, ids) == others(without, ids)
        assert with_them.num_rows == without.num_rows
    again = run(recipe, tmp_path / "w", mischief)
    assert {stage["ran"] for stage in again.values()} == {0}


def test_a_stalled_document_is_tried_again_by_the_next_build(
    own_corpus, mit, source_code, mischief, tmp_path, build_into, tree_digest
):
    marked = fill(own_corpus, mit, source_code, ("forever",))
    recipe = own_corpus.recipe(documents=8)
    build_into(recipe, tmp_path / "sound", workers=0)
    first = run(recipe, tmp_path / "w", mischief)
    found = verdicts(tmp_path / "w")
    assert {path for path, verdict in found.items() if verdict == "error.stalled"} == {"forever.py"}
    ids = {content_id(content) for content in marked.values()}
    assert others(rows(tmp_path / "w", "texts", TEXTS), ids) == others(rows(tmp_path / "sound", "texts", TEXTS), ids)
    assert first["annotate"]["ran"] == first["annotate"]["items"] > 1

    second = {stage.name: stage.ran for stage in build_into(recipe, tmp_path / "w", workers=0).record.stages}
    assert second["collect"] == 0
    assert second["annotate"] == 1, "its shard, and no other"
    assert tree_digest(tmp_path / "w") == tree_digest(tmp_path / "sound")


# ---- the parts


def work(batch):
    """Square whole numbers; some of them are poison."""
    values = batch["value"].to_pylist()
    if 13 in values:
        os._exit(3)
    if 17 in values:
        os.kill(os.getpid(), signal.SIGKILL)
    if 19 in values:
        raise ValueError("nineteen")
    return [value * value for value in values]


def poisoned(batch, reason, detail):
    return [(reason, detail)]


def warm():
    """Nothing to load."""


def squares(values):
    isolated = Isolated(work, poisoned, warm)
    try:
        batch = pa.RecordBatch.from_pydict({"value": pa.array(values, pa.int64())})
        return [each for result in isolated.results(batch) for each in result]
    finally:
        isolated.close()


def test_sound_rows_pass():
    assert squares([1, 2, 3]) == [1, 4, 9]


def test_bad_rows_stand_alone():
    assert squares([1, 13, 2, 19]) == [
        1,
        ("crashed", "the process ended with exit code 3"),
        4,
        ("crashed", "ValueError: nineteen"),
    ]


def test_a_process_that_the_system_ended_says_nothing_lasting():
    ((reason, detail),) = squares([17])
    assert reason == "stalled"
    assert "memory" in detail


def test_the_allowance_grows_with_the_content(monkeypatch):
    assert allowance(0) < allowance(10_000_000)
    monkeypatch.setattr(isolation, "ALLOWANCE_SECONDS", 0.25)
    assert allowance(0) == 0.25


def test_processor_time_is_not_time_on_the_wall():
    with processor_time(0.2):
        time.sleep(0.4)
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_processor_time_ends_native_code_too():
    code = """
        from starsmith.isolation import processor_time
        with processor_time(0.2):
            sum(range(10**12))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, timeout=60)
    assert done.returncode == -signal.SIGPROF
