"""The kernel against BeautifulSoup, as the paper's predecessor used it."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st
from processor_time import takes_at_most

from starsmith.curate.kernel import text_buffers
from starsmith.curate.visible_text import count_visible_characters


def visible(*texts: str) -> list[int]:
    buffers = text_buffers(pa.array([text.encode() for text in texts], pa.large_binary()))
    return count_visible_characters(*buffers, np.ones(len(texts), np.bool_)).tolist()


def reference(text: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        soup = BeautifulSoup(text, "html.parser")
    for element in soup(["script", "style"]):
        element.decompose()
    return len(soup.get_text())


CASES = {
    "markup": ("<html><body><p class='a'>One <b>two</b></p></body></html>", 7),
    "comment": ("a<!-- <b>x</b> -->b", 2),
    "comment with hyphens": ("a<!-- x - > y ---->b", 2),
    "doctype and processing instruction": ("<!DOCTYPE html><?php echo 1 ?>a", 1),
    "script and style": ("<script>if (a<b) {'</b>'}</script>a<STYLE>p{}</Style >b", 2),
    "self-closing script": ("<script src='a'/>b", 1),
    "greater-than in a value": ("<a title='x>y' href=\"<b>\">z</a>", 1),
    "greater-than in an unquoted value": ('<a href=a="b>c">d</a>', 4),
    "references": ("&amp;&#65;&#x41;&eacute;&NotEqualTilde;", 6),
    "references without semicolon": ("R&D &lt &#65 x&y=1", None),
    "unknown reference": ("&nonsense; ok", 12),
    "lone signs": ("a & b < c > d", 13),
    "white space between markup": ("<p>  \n </p>   <b>a</b>\n\n", None),
    "white space that is preserved": ("<pre>  \n <b> </b>\n</pre> ", None),
    "text area": ("<textarea>   </textarea>", 3),
    "no-break space": ("<p>\xa0\xa0</p>", 2),
    "template": ("a<template><p>hidden</p></template>b", 2),
    "ruby": ("<ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>", 1),
    "CDATA": ("a<![CDATA[<b>&amp;]]>c", 10),
    "conditional comments": ("<!--[if IE]>x<![endif]-->a<![if !IE]>b<![endif]>", 2),
    "not ASCII": ("<p>Käse 漢字 \U0001d54f</p>", 9),
    "empty end tag": ("a</>b", 2),
    "end tag without start": ("a</b>c", 2),
    "empty": ("", 0),
}


@pytest.mark.parametrize(("text", "count"), CASES.values(), ids=CASES.keys())
def test_cases_equal_the_reference(text: str, count: int | None) -> None:
    assert visible(text)[0] == reference(text)
    assert count is None or visible(text) == [count]


UNFINISHED = {
    "tag": ("a<b class='", 1),
    "tag, then text": ("a<b title='x>yyy</b> zzz", 1),
    "comment": ("a<!-- b <p>c</p>", 1),
    "script": ("a<script>b <p>c</p>", 1),
    "template": ("a<template>b <p>c</p>", 1),
    "CDATA": ("a<![CDATA[b", 1),
    "less-than": ("a<", 2),
    "reference": ("a&", 2),
    "numeric reference": ("a&#", 3),
    "named reference": ("a&am", 4),
}


@pytest.mark.parametrize(("text", "count"), UNFINISHED.values(), ids=UNFINISHED.keys())
def test_what_never_ends_is_not_visible(text: str, count: int) -> None:
    assert visible(text) == [count]


# Not `br`: BeautifulSoup does not take `</br>` for the end of a stretch of text.
names = st.sampled_from(["p", "div", "b", "li", "h1", "span", "td"])
words = st.text(alphabet="ab1 .é漢\xa0", max_size=20)
pieces = st.recursive(
    st.one_of(
        words,
        st.sampled_from(["&amp;", "&nbsp;", "&#x20ac;", "&eacute", " & ", "&unknown;", " < "]),
        st.sampled_from(["\n", "  \n  ", "<br>", "<br/>"]),
        words.map("<!--{}-->".format),
        words.map("<script>{}</script>".format),
        words.map("<style type='a>b'>{}</style>".format),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5).map("".join),
        st.builds('<{0} title="a > b" x=y>{1}</{0}>'.format, names, inner),
        st.builds("<pre>{}</pre>".format, inner),
    ),
    max_leaves=20,
)


@settings(max_examples=500, deadline=None)
@given(pieces)
def test_generated_documents_equal_the_reference(text: str) -> None:
    ended = text + "#"  # `html.parser` takes a reference that ends the text for plain text; here it is one.
    assert visible(ended)[0] == reference(ended)


@settings(max_examples=1000, deadline=None)
@given(st.text(alphabet="<>/!-?&#;=\"' abscriptylem[]CDATx1é\n", max_size=200))
def test_any_text_has_at_most_as_many_visible_characters(text: str) -> None:
    assert 0 <= visible(text)[0] <= len(text) + 1


def test_texts_do_not_read_into_each_other() -> None:
    texts = ["a<script>", "b</script>c", "<template>", "d", "&am", "p;<pre>", "  <i>  "]
    assert visible(*texts) == [visible(text)[0] for text in texts]


def test_real_html_is_judged_as_by_the_reference() -> None:
    folders = {Path(sys.prefix), Path(sys.base_prefix) / "lib"}
    paths = sorted(path for folder in folders for path in folder.rglob("*.htm*") if path.stat().st_size < 500_000)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths[:40]]
    texts = [text for text in texts if text]
    if not texts:
        pytest.skip("this environment holds no HTML files")
    for text, count in zip(texts, visible(*texts), strict=True):
        expected = reference(text)
        assert (count > 100 and count > 0.2 * len(text)) == (expected > 100 and expected > 0.2 * len(text))
        assert abs(count - expected) <= 0.02 * len(text)


HOSTILE = {
    "less-than": "<",
    "tags that never end": "<a ",
    "quotes that never end": "<a b='<c d=\"",
    "comments that never end": "<!--",
    "comments that nearly end": "<!-- ->",
    "scripts that never end": "<script></scrip",
    "CDATA that never ends": "<![CDATA[]>",
    "ampersands": "&",
    "references that never end": "&a",
    "numeric references": "&#1",
    "nested": "<div><template><pre>",
    "equals signs": "<a =",
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_texts_take_linear_time(unit: str) -> None:
    """Ten times the text may not take much more than ten times as long; quadratic time would take a hundred."""
    text = unit * (10_000_000 // len(unit))
    assert takes_at_most(60, lambda: _count(text), lambda: _count(text[: len(text) // 10]))


def _count(text: str) -> object:
    return count_visible_characters(*text_buffers(pa.array([text.encode()], pa.large_binary())), np.ones(1, np.bool_))
