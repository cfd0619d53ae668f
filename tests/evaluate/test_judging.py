"""Completions at work, with runs made by hand: what runs next, and when a completion is judged."""

import pytest

from starsmith.evaluate.judging import Asked, Judging
from starsmith.evaluate.problem import Check, Verdict
from starsmith.evaluate.run import Program, Run


def asked(key, *, programs=1, until_failure=False, judge=None, test=""):
    def by_last(runs):
        return Verdict(passed=runs[-1].status == "passed", reason=",".join(run.status for run in runs))

    work = tuple(Program(id="same", source=f"{key}{number}", test=test) for number in range(programs))
    return Asked(key=key, task=key, check=Check(work=work, until_failure=until_failure, judge=judge or by_last))


def went(completions, statuses):
    """Judge by statuses in the order in which programs come; return the sources that ran, and the verdicts by key."""
    done, ran = {}, []
    judging = Judging(iter(completions), lambda key, judged: done.__setitem__(key, judged))
    for work in judging:
        ran.append((work.source, work.beside))
        judging.take(Run(id=work.id, status=statuses.pop(0)))
    return [source for source, _ in ran], done, ran


def test_all_programs_of_a_completion_are_handed_over_in_their_order():
    ran, done, _ = went([asked("a", programs=2), asked("b")], ["passed", "wrong", "passed"])
    assert ran == ["a0", "a1", "b0"]
    assert {key: judged.verdict.reason for key, judged in done.items()} == {"a": "passed,wrong", "b": "passed"}


def test_out_of_order():
    done = {}
    judging = Judging(iter([asked("a", programs=2)]), lambda key, judged: done.__setitem__(key, judged))
    first, second = next(judging), next(judging)
    judging.take(Run(id=second.id, status="wrong"))
    assert not done
    judging.take(Run(id=first.id, status="passed"))
    assert done["a"].verdict.reason == "passed,wrong"


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [(["wrong"], "wrong"), (["passed", "wrong"], "passed,wrong"), (["passed"] * 3, "passed,passed,passed")],
)
def test_until_failure_the_next_runs_only_after_a_pass(statuses, reason):
    _, done, _ = went([asked("a", programs=3, until_failure=True)], statuses)
    assert done["a"].verdict.reason == reason


def test_nothing_to_run_is_judged_at_once():
    verdict = Verdict(passed=True, reason="matched")
    _, done, _ = went([asked("a", programs=0, judge=lambda runs: verdict), asked("b")], ["passed"])
    assert done["a"].verdict == verdict
    assert list(done) == ["a", "b"]


def test_unjudged_is_run_once_more_beside_and_says_so():
    _, done, ran = went([asked("a", test="t"), asked("b", test="t")], ["unjudged", "passed", "unjudged", "unjudged"])
    assert ran == [("a0", False), ("a0", True), ("b0", False), ("b0", True)]
    assert [(each.beside, each.verdict.reason) for each in done.values()] == [(True, "passed"), (True, "unjudged")]


def test_unjudged_without_a_test_stays_so():
    _, done, ran = went([asked("a")], ["unjudged"])
    assert (len(ran), done["a"].beside) == (1, False)


def test_long_words_of_a_program_are_cut():
    verdict = Verdict(passed=False, reason="wrong", detail="x" * 1000, answer="y" * 1000)
    _, done, _ = went([asked("a", judge=lambda runs: verdict)], ["passed"])
    assert len(done["a"].verdict.detail) == len(done["a"].verdict.answer) == 200
