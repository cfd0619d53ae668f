"""Results side by side, made by hand: scores, differences, the paper's figures, what may not be compared; the pages."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from starsmith.cli import main
from starsmith.errors import StarsmithError
from starsmith.evaluate.comparison import compare, paper_rows
from starsmith.evaluate.problem import Verdict
from starsmith.evaluate.result import Result, Score, read_result
from starsmith.evaluate.verdict_file import Judged
from starsmith.govern.score_report import comparison_text, page, plot, score_lines

HOSTILE = "<b>`x`|\x1b[31m\u202e"


def judged(passed, reason="wrong", task="T/0", **other):
    return Judged(task=task, verdict=Verdict(passed=passed, reason="passed" if passed else reason, **other))


def result(tasks, *, benchmark="humaneval", value=0.5, **changes):
    score = Score(group="", metric="pass@1", unit="percent", value=value, low=0.4, high=0.6, problems=len(tasks))
    record = {
        "command": ["starsmith", "eval", "score"],
        "recipe": "r.",
        "problems": {"all": 2, "chosen": 2, "judged": len(tasks), "complete": len(tasks) == 2},
        "generations": {"file": "G.jsonl", "sha256": "0", "samples": None, "provenance": {"model": {"name": HOSTILE}}},
        "data": [{"key": "", "path": "d", "digest": "1", "version": "", "rows": 2}],
        "sandbox": {"isolated": True, "limits": {"cpu_seconds": 5.0}, "judged_beside": 0},
        "missing": {},
        "versions": {"python": "3.11.2"},
    }
    made = Result(
        benchmark=benchmark,
        title="HumanEval",
        version="1",
        options={"test": "apart"},
        scores=[score],
        tasks=tasks,
        warnings=[],
        record=record,
    )
    return replace(made, **changes)


ONE = result({"T/0": [judged(True), judged(False, detail=HOSTILE)], "T/1": [judged(True, task="T/1")]})
OTHER = result({"T/0": [judged(True), judged(True)], "T/1": [judged(True, task="T/1")]}, value=1.0)


def test_a_result_comes_back_as_it_was_written(tmp_path):
    ONE.write(tmp_path)
    assert read_result(tmp_path) == ONE
    assert read_result(tmp_path / "result.json") == ONE
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "scores": 3, "tasks": []}'])
def test_what_is_no_result(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(StarsmithError, match="is no result of `starsmith eval score`"):
        read_result(tmp_path)


def test_a_result_of_another_format(tmp_path):
    (tmp_path / "result.json").write_text('{"format": 2}')
    with pytest.raises(StarsmithError, match="has format 2; this version reads 1"):
        read_result(tmp_path)


def test_problems_with_other_verdicts_are_named():
    found = compare({"a": ONE, "b": OTHER}, paper=False)
    assert [(each.task, each.passed) for each in found.differences] == [("T/0", ("1/2 wrong", "2/2"))]
    assert [[cell.value for cell in line.cells] for line in found.lines] == [[0.5, 1.0]]
    assert found.warnings == ()
    assert "T/0" in comparison_text(found, paper=False)


def test_results_of_two_benchmarks_stand_in_lines_of_their_own():
    found = compare({"a": ONE, "b": replace(OTHER, benchmark="mbpp", title="MBPP")}, paper=False)
    assert [[bool(cell) for cell in line.cells] for line in found.lines] == [[True, False], [False, True]]
    assert found.differences == ()


def test_what_may_not_compare_is_said():
    other = replace(OTHER, options={"test": "beside"}, tasks={"T/0": [judged(True)]})
    other.record["problems"]["complete"] = False
    told = compare({"a": ONE, "b": other}, paper=False).warnings
    assert told[0] == "a and b differ in options, problems, samples: their scores may not compare."
    assert told[1] == "b is of 2 of 2 problems."
    other.record["problems"]["complete"] = True


def test_the_papers_figures_are_beside_their_own_benchmark_alone():
    crux = replace(ONE, benchmark="cruxeval-output", options={})
    assert compare({"a": crux}, paper=True).lines[0].paper == pytest.approx((0.342, 0.36, 0.471))
    assert compare({"a": ONE}, paper=True).lines[0].paper == (None, None, None)
    score = replace(ONE.scores[0], metric="pass@1 base")
    mbpp = replace(ONE, benchmark="mbpp-plus", scores=[score], options={"edition": "0.1.0"})
    assert compare({"a": mbpp}, paper=True).lines[0].paper == (None, None, 0.662)
    # The figure is of another edition.
    assert compare({"a": replace(mbpp, options={"edition": "0.2.0"})}, paper=True).lines[0].paper[2] is None


def test_every_figure_of_the_paper_is_of_a_benchmark_that_is_here():
    from starsmith.evaluate.benchmarks import benchmark

    for row in paper_rows():
        made = benchmark(row["benchmark"], dict([row["options"].split("=")]) if row["options"] else {})
        assert row["metric"] in {metric.name for metric in made.metrics}
        assert row["source"].startswith("https://")


def test_the_page_obeys_nothing_that_a_program_said():
    text = page(ONE)
    assert "1 of 2" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "`<b>\\x60x\\x60\\x7c\\x1b[31m\\u202e`" in text
    assert "HumanEval pass@1: 50.00 % (40.00 % to 60.00 %), 2 problems" in score_lines(ONE)


def test_the_plot_is_an_image_with_a_bar_for_every_score():
    drawn = plot(compare({HOSTILE: ONE, "b": replace(OTHER, benchmark="cruxeval-output")}, paper=True))
    tree = ElementTree.fromstring(drawn)
    assert tree.tag.endswith("svg")
    bars = [each for each in tree.iter() if each.tag.endswith("rect") and each.get("height") == "14"]
    assert len(bars) == 1 + 1 + 3


def test_the_command(tmp_path, capsys):
    for name, each in (("a", ONE), ("b", OTHER)):
        (tmp_path / name).mkdir()
        each.write(tmp_path / name)
    places = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["eval", "compare", *places, "--paper", "--plot", str(tmp_path / "p.svg")]) == 0
    assert "1 problem with other verdicts" in capsys.readouterr().out
    assert (tmp_path / "p.svg").read_text().startswith("<svg")
    assert main(["eval", "compare", *places, "--json"]) == 0
    assert main(["eval", "compare", places[0], places[0]]) == 2
    assert main(["eval", "compare", str(tmp_path)]) == 1
