"""Issues against the template of section 8.2."""

import pytest

from starsmith.format.issues import Comment, Issue, segments
from starsmith.format.sentinels import shown


def issue(closed_after, comments=2):
    said = tuple(Comment(author=number, text=f"text {number}") for number in range(1, comments + 1))
    return Issue(
        title="T",
        opening=Comment(author=0, text="text 0"),
        comments=said,
        closed_after=closed_after,
        document_id=b"i",
    )


OPENING = "<issue_start>Title: T\nusername_0: text 0"
FIRST = "<issue_comment>username_1: text 1"
SECOND = "<issue_comment>username_2: text 2"


@pytest.mark.parametrize(
    ("closed_after", "expected"),
    [
        (None, f"{OPENING}{FIRST}{SECOND}<|endoftext|>"),
        (0, f"{OPENING}<issue_closed>{FIRST}{SECOND}<|endoftext|>"),
        (1, f"{OPENING}{FIRST}<issue_closed>{SECOND}<|endoftext|>"),
        (2, f"{OPENING}{FIRST}{SECOND}<issue_closed><|endoftext|>"),
    ],
)
def test_template(closed_after, expected):
    assert shown(segments(issue(closed_after))) == expected


def test_without_comments():
    assert shown(segments(issue(0, comments=0))) == f"{OPENING}<issue_closed><|endoftext|>"
