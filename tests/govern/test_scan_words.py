"""The words for scans keep step with what scans and replaces, and are sentences in every setting."""

from dataclasses import fields, replace

import pytest

from starsmith.curate.findings import GROUPS, PRECEDENCE, TOKEN, USER_NAME, group_of
from starsmith.curate.redact import IPV4_POOL, IPV6_POOL, replacement
from starsmith.govern.card_scans import redaction
from starsmith.govern.composition import Composition
from starsmith.govern.scan_story import MOST_LINES, ScanStory
from starsmith.govern.scan_words import (
    GROUP_WORDS,
    kind_words,
    left_as_they_are,
    listed,
    looked_for,
    match_words,
    not_looked_for,
    replaced_by,
    rule_words,
)
from starsmith.recipe import Recipe, loads
from starsmith.settings import DecontaminationSettings, RedactionSettings

KINDS = [f"{TOKEN}github" if kind == TOKEN else kind for kind in PRECEDENCE]


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    return loads('[[source]]\nkind = "installed"', base=tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_words_of_its_own(kind):
    assert kind_words(kind) != kind_words(kind, 2) != kind
    assert len({kind_words(each) for each in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != USER_NAME])
def test_the_mark_is_the_one_that_is_written(kind):
    written = replacement(kind, b"2001:470:1::1" if kind == "ipv6" else b"any value", b"").decode()
    if kind in ("ipv4", "ipv6"):
        assert written.encode() in IPV4_POOL + IPV6_POOL
        assert (replaced_by(kind), len(IPV4_POOL), len(IPV6_POOL)) == ("one of five private addresses", 5, 5)
    else:
        assert replaced_by(kind) == written


def test_what_can_be_looked_for_is_what_can_be_set():
    settings = {field.name for field in fields(RedactionSettings) if not field.name.startswith("keep_")}
    assert set(GROUP_WORDS) == settings == set(GROUPS) - {"names"}
    assert {group_of(kind) for kind in KINDS} - {None, "names"} == settings
    exempt = RedactionSettings()
    assert len(left_as_they_are(exempt)) == len(fields(RedactionSettings)) - len(settings)
    assert left_as_they_are(replace(exempt, emails=False)) == []


@pytest.mark.parametrize("name", GROUP_WORDS)
def test_what_is_switched_off_is_told(name):
    off = replace(RedactionSettings(), **{name: False})
    assert not_looked_for(off) == [GROUP_WORDS[name]]
    assert looked_for(off) == [words for each, words in GROUP_WORDS.items() if each != name]


def test_lists_are_english():
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert listed(["a", "b"], last="or") == "a or b"


def test_rules_are_told_as_they_are_set():
    paper = DecontaminationSettings(tests=False, min_length=0)
    assert rule_words(paper) == (
        "Left out is what holds one of a problem's texts, whatever the letter case and white space. Its texts are "
        "prompt, docstring and solution; four solutions that anybody writes are not looked for."
    )
    runs = rule_words(DecontaminationSettings(rule="ngram", ngram=8, ngram_share=0.25))
    assert "at least 25 % of the runs of 8 words of one of a problem's texts." in runs
    assert "those shorter than 30 bytes without white space and four solutions" in runs
    assert ", or at least 50 % of the runs of 10 words" in rule_words(DecontaminationSettings(rule="both"))


def test_matches_are_told_with_what_they_rest_on():
    assert match_words("HumanEval HumanEval/0 (prompt)", None, None) == "HumanEval HumanEval/0 (prompt) stands in it"
    assert match_words("a b\n(tests)", 0.5, 0.5) == "a b\\n(tests): 50 % of its runs of words, left out from 50 % on"


SCANNED = {"reason": None, "detail": None, "value": None, "threshold": None, "signature": None}


def lines_of(recipe, **given) -> list[str]:
    usual = {"verdict": "keep", "before": False, "database": None, "scan": SCANNED}
    return [line.strip() for line in ScanStory(recipe=recipe, **usual | given).words()]


def test_what_was_not_looked_for_is_not_called_clean(recipe):
    off = RedactionSettings(emails=False, ip_addresses=False, keys=False, passwords=False)
    said = ["Secrets and personal data", "Benchmarks", "Malware"]
    assert lines_of(replace(recipe, redaction=off)) == [f"{each}: not looked for." for each in said]


def test_of_many_lines_and_problems_the_first_are_told(recipe):
    findings = [{"kind": "email", "line": line, "start": 0, "end": 1} for line in range(1, MOST_LINES + 8)]
    (line, *_) = lines_of(recipe, findings=findings, verdict="duplicate.near")
    assert line.startswith("Secrets and personal data: found 17 e-mail addresses (lines 1, 2, 3, ")
    assert line.endswith("9, 10 and 7 more).")
    named = loads(
        '[[source]]\nkind = "installed"\n[[benchmark]]\nname = "own"\npath = "x.jsonl"\nprompt = "p"', base=recipe.base
    )
    matches = [
        {"benchmark": "own", "problem": f"{n}", "field": "prompt", "kind": "text", "position": 0, "share": 1.0}
        for n in range(MOST_LINES + 3)
    ]
    assert lines_of(named, matches=matches)[1].endswith("own 9 (prompt) stands in it, from byte 0 on; and 3 more.")


def test_card_with_more_kinds_than_it_shows(recipe, composition_of_nothing):
    rows = [{"kind": f"token:issuer{n}", "findings": 2, "documents": 1} for n in range(50)]
    everything = {"kind": "any", "findings": 100, "documents": 9}
    text = redaction(replace(composition_of_nothing, replaced=[everything, *rows]), recipe)
    assert "**100 values in 9 of 0 documents were replaced.**" in text
    assert "and 10 further kinds with 20 values." in text
    assert "**Nothing was found to be replaced.**" in redaction(composition_of_nothing, recipe)


@pytest.fixture
def composition_of_nothing() -> Composition:
    empty = {field.name: 0 if field.type in (int, "int") else [] for field in fields(Composition)}
    return Composition(**empty)
