"""Progress: what is told while a build runs."""

import sys

from starsmith.progress import Bars, Lines, Quiet


def test_a_query_has_a_bar_while_it_runs_and_none_before_it_says_anything(capsys):
    with Bars() as bars:
        with bars.query("facts") as advance:
            (task,) = bars._progress.tasks
            assert not task.visible
            advance(3, 8)
            assert (task.visible, task.completed, task.total) == (True, 3, 8)
            advance(0, 0)
            assert task.total == 1
        assert bars._progress.tasks == []


def test_lines_and_quiet_say_nothing_of_queries(capsys):
    for reporter in (Lines(), Quiet()):
        with reporter.query("facts") as advance:
            advance(3, 8)
    sys.stderr.flush()
    assert capsys.readouterr() == ("", "")
