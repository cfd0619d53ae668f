"""Repositories as they are trained on, against the templates of section 8.2 and the rates of 8.3."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.format.choice import Draw
from starsmith.format.repository import (
    File,
    RepositoryFiles,
    completion_prompt,
    context,
    infilling_prompt,
    segments,
)
from starsmith.format.sentinels import FILE_SEP, FIM_PREFIX, REPO_NAME, SENTINELS, Piece, shown
from starsmith.format.settings import FormatSettings

NO_FIM = FormatSettings(metadata_rate=1, fim_rate=0)
BARE = FormatSettings(metadata_rate=0, fim_rate=0)
ALWAYS = FormatSettings(metadata_rate=1, fim_rate=1, fim_file_rate=1)


def repository(*texts, origin=b"origin"):
    files = tuple(File(path=f"path{i}", text=text, document_id=b"%d" % i) for i, text in enumerate(texts))
    return RepositoryFiles(name="acme/R", origin_id=origin, files=files)


def drawn(seed=0, epoch=0, origin=b"origin"):
    return Draw(seed=seed, epoch=epoch, document_id=origin)


def told(files, settings, **draw):
    return shown(segments(files, settings=settings, draw=drawn(**draw)))


def test_with_metadata():
    assert told(repository("code0"), NO_FIM) == "<repo_name>acme/R<file_sep>path0\ncode0<|endoftext|>"
    both = {told(repository("code0", "code1"), NO_FIM, seed=seed) for seed in range(20)}
    assert both == {
        "<repo_name>acme/R<file_sep>path0\ncode0<file_sep>path1\ncode1<|endoftext|>",
        "<repo_name>acme/R<file_sep>path1\ncode1<file_sep>path0\ncode0<|endoftext|>",
    }


def test_without_metadata():
    assert told(repository("code0"), BARE) == "<file_sep>code0<|endoftext|>"
    assert told(repository(""), BARE) == "<file_sep><|endoftext|>"


def test_fill_in_middle_in_a_repository():
    found = {told(repository("ab"), ALWAYS, seed=seed) for seed in range(300)}
    start, end = "<repo_name>acme/R<file_sep>", "<|endoftext|>"
    assert f"{start}<fim_prefix>path0\na<fim_suffix><fim_middle>b{end}" in found
    assert f"{start}<fim_prefix><fim_suffix>b<fim_middle>path0\na{end}" in found
    # Six pairs of cuts, each told in two ways; of these each shows in a text of its own, but for one prefix and middle.
    psm = {(i, j) for i in range(3) for j in range(i, 3)}
    expected = {f"<fim_prefix>path0\n{'ab'[:i]}<fim_suffix>{'ab'[j:]}<fim_middle>{'ab'[i:j]}" for i, j in psm}
    expected |= {f"<fim_prefix><fim_suffix>{'ab'[j:]}<fim_middle>path0\n{'ab'[:j]}" for i, j in psm}
    assert found == {start + each + end for each in expected}


def test_names_are_cut_only_where_that_is_asked_for():
    settings = replace(ALWAYS, fim_names=True)
    found = [told(repository("code"), settings, seed=seed) for seed in range(60)]
    assert all(text.startswith("<repo_name><fim_prefix>") for text in found)
    assert any("<fim_prefix>pat<fim_suffix>" in text for text in found) or any("<fim_prefix>p<" in t for t in found)
    whole = [told(repository("code"), ALWAYS, seed=seed) for seed in range(60)]
    assert all(text.startswith("<repo_name>acme/R<file_sep>") and "path0\n" in text for text in whole)


def test_the_rates_of_the_paper():
    settings = FormatSettings()
    assert settings == FormatSettings(
        metadata_rate=0.5, fim_rate=0.5, fim_file_rate=0.5, fim_spm_rate=0.5, fim_names=False
    )
    with_name = with_fim = files_with_fim = 0
    for number in range(1500):
        origin = b"o%d" % number
        files = tuple(File(path="p", text="text", document_id=b"%d/%d" % (number, i)) for i in range(4))
        files = RepositoryFiles(name="n", origin_id=origin, files=files)
        made = segments(files, settings=settings, draw=drawn(origin=origin))
        with_name += REPO_NAME in made
        with_fim += FIM_PREFIX in made
        files_with_fim += made.count(FIM_PREFIX)
    assert 0.46 <= with_name / 1500 <= 0.54
    assert 0.43 <= with_fim / 1500 <= 0.51, "half of the repositories, less those of which no file was drawn"
    assert 0.23 <= files_with_fim / 6000 <= 0.27, "0.5 times 0.5"


@given(st.lists(st.text(max_size=8), max_size=6), st.integers(0, 2**63 - 1), st.integers(0, 5))
def test_every_choice_is_a_function_of_seed_epoch_and_document(texts, seed, epoch):
    files = repository(*texts)
    made = segments(files, settings=FormatSettings(), draw=drawn(seed, epoch))
    turned = replace(files, files=tuple(reversed(files.files)))
    assert made == segments(turned, settings=FormatSettings(), draw=drawn(seed, epoch))
    for file in files.files:
        others = replace(files, files=tuple(each for each in files.files if each is not file))
        own = [each for each in made if not (isinstance(each, Piece) and each.document_id == file.document_id)]
        rest = segments(others, settings=FormatSettings(), draw=drawn(seed, epoch))
        assert [each for each in own if isinstance(each, Piece)] == [each for each in rest if isinstance(each, Piece)]


@given(st.lists(st.text(max_size=8), max_size=6), st.integers(0, 2**63 - 1))
def test_nothing_of_a_text_is_lost_or_added(texts, seed):
    made = segments(repository(*texts), settings=FormatSettings(metadata_rate=0), draw=drawn(seed))
    assert made.count(FILE_SEP) == len(texts)
    for number, text in enumerate(texts):
        pieces = [each.text for each in made if isinstance(each, Piece) and each.document_id == b"%d" % number]
        assert sorted("".join(pieces)) == sorted(text)


@pytest.mark.parametrize("name", SENTINELS)
def test_the_text_of_a_sentinel_stays_text(name):
    files = replace(repository(name), name=name)
    made = segments(files, settings=NO_FIM, draw=drawn())
    assert [each for each in made if isinstance(each, int)] == [REPO_NAME, FILE_SEP, 0]


def test_prompts():
    assert context("", []) == []
    assert shown(completion_prompt("acme/R", [("a.py", "1")], path="b.py", prefix="x =")) == (
        "<repo_name>acme/R<file_sep>a.py\n1<file_sep>b.py\nx ="
    )
    assert shown(infilling_prompt("acme/R", [("a.py", "1")], path="b.py", prefix="x", suffix="y")) == (
        "<repo_name>acme/R<file_sep>a.py\n1<file_sep><fim_prefix>b.py\nx<fim_suffix>y<fim_middle>"
    )
