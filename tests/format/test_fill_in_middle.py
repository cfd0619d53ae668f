"""Fill in the middle: nothing is lost, cuts fall anywhere, and both ways of telling occur."""

from hypothesis import given
from hypothesis import strategies as st

from starsmith.format.choice import Draw
from starsmith.format.fill_in_middle import Cut, cut, prompt
from starsmith.format.sentinels import shown

DRAWS = st.builds(Draw, seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 9), document_id=st.binary(max_size=20))


def test_both_ways_of_telling():
    parts = {"prefix": "pre", "middle": "mid", "suffix": "suf"}
    psm = Cut(**parts, suffix_first=False).segments()
    spm = Cut(**parts, suffix_first=True).segments()
    assert shown(psm) == "<fim_prefix>pre<fim_suffix>suf<fim_middle>mid"
    assert shown(spm) == "<fim_prefix><fim_suffix>suf<fim_middle>premid"
    assert spm[-2:] == ["pre", "mid"], "a model that goes on after the prefix must find a token's end there"


def test_empty_parts_leave_their_sentinels():
    assert shown(Cut(prefix="", middle="", suffix="", suffix_first=False).segments()) == (
        "<fim_prefix><fim_suffix><fim_middle>"
    )
    assert shown(prompt(prefix="", suffix="")) == "<fim_prefix><fim_suffix><fim_middle>"


@given(st.text(), DRAWS)
def test_the_parts_joined_are_the_text(text, draw):
    made = cut(text, draw)
    assert made.text == text
    assert made == cut(text, draw)
    told = [each for each in made.segments() if isinstance(each, str)]
    assert sorted("".join(told)) == sorted(text)


@given(st.text(), st.text(), DRAWS)
def test_what_is_kept_is_whole_in_the_prefix(heading, text, draw):
    assert cut(heading + text, draw, kept=len(heading)).prefix.startswith(heading)


def test_cuts_fall_everywhere():
    places, middles = [0] * 6, 0
    for number in range(3000):
        made = cut("abcde", Draw(seed=1, epoch=0, document_id=number.to_bytes(4, "big")))
        places[len(made.prefix)] += 1
        places[len(made.prefix + made.middle)] += 1
        middles += made.suffix_first
    assert all(870 <= count <= 1130 for count in places), "each of the six places takes a sixth of all cuts"
    assert 1400 <= middles <= 1600


def test_the_ways_can_be_set():
    draw = Draw(seed=1, epoch=0, document_id=b"x")
    assert cut("abc", draw, spm_rate=1).suffix_first
    assert not cut("abc", draw, spm_rate=0).suffix_first
