"""The tables on the terminal: right numbers, 80 columns, no control characters, commands that can be typed."""

import io
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from starsmith.build import BuildResult, status
from starsmith.govern.composition import Composition
from starsmith.govern.look_up import LookUp
from starsmith.govern.terminal import build_table, status_table
from starsmith.verdict import REASONS
from starsmith.workspace import BuildRecord, open_store, read_build


@pytest.fixture
def record(small_workspace) -> BuildRecord:
    return read_build(open_store(small_workspace, create=False))


@pytest.fixture
def printed(small_workspace, record, capsys, monkeypatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    build_table(
        BuildResult(
            workspace=str(small_workspace),
            address=str(small_workspace),
            record=record,
            seconds=12.3,
            report="report.html",
        )
    )
    return capsys.readouterr().out


def test_every_stage_and_reason_is_told(printed, small_workspace, record):
    composition = Composition.of_build(open_store(small_workspace, create=False), record)
    for stage in record.stages:
        assert re.search(rf"^ {stage.name} +{stage.documents_in} +{stage.kept}\b", printed, re.MULTILINE)
    for row in composition.left_out():
        assert row["verdict"] in REASONS
        assert re.search(rf"{row['verdict']} +{row['documents']} ", printed)
    assert f"{composition.kept_documents} of {composition.documents} documents" in printed


def test_tables_fit_and_obey_nothing(printed):
    labelled = ("Release", "Report", "Licences", "Languages", "  starsmith", "  less")
    assert [line for line in printed.splitlines() if len(line) > 80 and not line.startswith(labelled)] == []
    assert {char for char in printed if not char.isprintable()} == {"\n"}


def test_paths_stand_on_one_line(printed, small_workspace, record):
    assert f"{small_workspace}/{record.release}" in printed.replace("Release   ", "").splitlines()


def test_first_suggestion_can_be_asked(printed, small_workspace):
    line = next(line for line in printed.splitlines() if "starsmith why" in line)
    _, command, workspace, target = shlex.split(line.partition("#")[0])
    assert (command, workspace) == ("why", str(small_workspace))
    answer = LookUp(open_store(small_workspace, create=False)).target(target)
    assert "near/first.py" in answer.words()


def test_status_says_what_building_again_would_do(small_workspace, capsys):
    status_table(status(small_workspace))
    assert "would do nothing" in capsys.readouterr().out


def test_status_says_where_the_work_was_done_and_what_it_moved(small_workspace, record, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    known = status(small_workspace)
    status_table(known)
    printed = capsys.readouterr().out
    assert "Engine    local, 2 workers\n" in printed
    assert "Bytes moved" not in printed
    first, *others = record.stages
    moved = {"spilled_disk": 3_000_000, "shuffle_written": 2_000, "shuffle_read": 2_000}
    spark = replace(record, engine="spark", executors=3, workers=12, stages=(replace(first, moved=moved), *others))
    status_table(replace(known, record=spark))
    printed = capsys.readouterr().out
    assert "Engine    spark, 12 workers on 3 executors\n" in printed
    (line,) = [line for line in printed.splitlines() if line.strip().startswith(first.name) and "3.0 MB" in line]
    assert line.split() == [first.name, "3.0", "MB", "2.0", "kB", "2.0", "kB"]
    assert "spilled from memory" not in printed


def test_build_that_stopped_early_has_stages_only(small_workspace, record, capsys):
    early = replace(record, stages=record.stages[:1], tables={}, release=None, until="collect")
    build_table(
        BuildResult(
            workspace=str(small_workspace), address=str(small_workspace), record=early, seconds=1.0, report=None
        )
    )
    printed = capsys.readouterr().out
    assert "collect" in printed
    assert "--until" in printed
    assert "Languages" not in printed


def test_encoding_that_lacks_a_character(small_workspace, record, monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    foreign = replace(record, notes=("Größe\x1b[2J\u202e [bold]x",))
    build_table(
        BuildResult(
            workspace=str(small_workspace),
            address=str(small_workspace),
            record=foreign,
            seconds=1.0,
            report=str(Path("r\xe9.html")),
        )
    )
    output.flush()
    assert b"Gr\\xf6\\xdfe\\x1b[2J\\u202e [bold]x" in output.buffer.getvalue()
