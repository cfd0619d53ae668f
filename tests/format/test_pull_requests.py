"""Pull requests against the templates of section 8.2."""

from starsmith.format.issues import Comment
from starsmith.format.pull_requests import (
    BaseFile,
    Closing,
    CodeRemark,
    FileDiff,
    NewHead,
    PullRequest,
    Remark,
    Review,
    segments,
)
from starsmith.format.sentinels import shown

OPENING = (
    "<pr>Title: T\nusername_0: desc<pr_status>opened<repo_name>acme/R<pr_base><pr_file>p<pr_base_code>text"
    "<pr_file>q<pr_base_code>more<pr_diff><pr_file>p<pr_diff_hunk>hunk1<pr_diff_hunk>hunk2<pr_file>q<pr_diff_hunk>hunk3"
)


def told(*events):
    return shown(
        segments(
            PullRequest(
                title="T",
                description=Comment(author=0, text="desc"),
                repo_name="acme/R",
                base=(BaseFile(path="p", text="text"), BaseFile(path="q", text="more")),
                diffs=(FileDiff(path="p", hunks=("hunk1", "hunk2")), FileDiff(path="q", hunks=("hunk3",))),
                events=events,
                document_id=b"pr",
            )
        )
    )


def said(author, text):
    return Comment(author=author, text=text)


def test_opening():
    assert told() == f"{OPENING}<|endoftext|>"


def test_comment():
    assert told(Remark(comment=said(1, "text"), event_id=12)) == (
        f"{OPENING}<pr_comment>username_1: text<pr_event_id>12<|endoftext|>"
    )


def test_review_with_words_and_without():
    words = Review(comment=said(1, "text"), event_id=12, state="approved")
    assert told(words) == (
        f"{OPENING}<pr_review>username_1: text\n<pr_event_id>12<pr_review_state>approved<|endoftext|>"
    )
    silent = Review(comment=said(1, ""), event_id=12, state="changes_requested")
    assert told(silent) == (
        f"{OPENING}<pr_review>username_1: <pr_event_id>12<pr_review_state>changes_requested<|endoftext|>"
    )


def test_comment_on_code():
    remark = {"comment": said(1, "text"), "event_id": 12, "path": "p", "line": 3, "hunk": "hunk1"}
    assert told(CodeRemark(**remark, review_id=10, comment_id=11)) == (
        f"{OPENING}<pr_review_comment><pr_event_id>12<pr_in_reply_to_review_id>10<pr_in_reply_to_comment_id>11"
        "<pr_file>p<pr_diff_hunk_comment_line>3<pr_diff_hunk>hunk1<pr_comment>username_1: text<|endoftext|>"
    )
    assert told(CodeRemark(**remark, review_id=None, comment_id=None)) == (
        f"{OPENING}<pr_review_comment><pr_event_id>12"
        "<pr_file>p<pr_diff_hunk_comment_line>3<pr_diff_hunk>hunk1<pr_comment>username_1: text<|endoftext|>"
    )


def test_new_commits_and_the_end():
    assert told(NewHead(diffs=(FileDiff(path="p", hunks=("hunk4",)),)), Closing(author=2, is_merged=True)) == (
        f"{OPENING}<pr_diff><pr_file>p<pr_diff_hunk>hunk4<pr>username_2<pr_status>closed<pr_is_merged>True<|endoftext|>"
    )
    assert told(Closing(author=0, is_merged=False)).endswith(
        "<pr>username_0<pr_status>closed<pr_is_merged>False<|endoftext|>"
    )
