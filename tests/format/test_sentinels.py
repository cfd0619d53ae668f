"""The sentinels: their order, and that text stays text."""

from starsmith.format import sentinels
from starsmith.format.sentinels import SENTINELS, Piece, shown, with_document


def test_the_order_of_the_paper():
    """Written out again: an id that moves makes every checkpoint useless."""
    expected = (
        "<|endoftext|> <fim_prefix> <fim_middle> <fim_suffix> <fim_pad> <repo_name> <file_sep> <issue_start> "
        "<issue_comment> <issue_closed> <jupyter_start> <jupyter_text> <jupyter_code> <jupyter_output> "
        "<jupyter_script> <empty_output> <code_to_intermediate> <intermediate_to_code> <pr> <pr_status> "
        "<pr_is_merged> <pr_base> <pr_file> <pr_base_code> <pr_diff> <pr_diff_hunk> <pr_comment> <pr_event_id> "
        "<pr_review> <pr_review_state> <pr_review_comment> <pr_in_reply_to_review_id> <pr_in_reply_to_comment_id> "
        "<pr_diff_hunk_comment_line> <NAME> <EMAIL> <KEY> <PASSWORD>"
    )
    assert " ".join(SENTINELS) == expected


def test_every_constant_is_the_id_of_its_name():
    for number, name in enumerate(SENTINELS[1:34], start=1):
        assert getattr(sentinels, name.strip("<>").upper()) == number
    assert sentinels.END_OF_TEXT == 0


def test_text_of_documents_is_marked_and_nothing_else():
    told = with_document([5, "<file_sep>", 6, ""], b"id")
    assert told == [5, Piece("<file_sep>", b"id"), 6, Piece("", b"id")]
    assert shown(told) == "<repo_name><file_sep><file_sep>"
