"""Sentinels: the tokens that stand for structure, and the segments a formatted text is made of.

The names and their order, which gives the ids, follow section 8.1 of the paper's data description. A formatted text is
a list of segments, never one string: a sentinel is a number in it and everything else is text. So what a document says
cannot become a sentinel, whatever it says; nothing is escaped, and nothing has to be.

This module does not encode: `encoder` does.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

SENTINELS: Final = (
    "<|endoftext|>",
    "<fim_prefix>",
    "<fim_middle>",
    "<fim_suffix>",
    "<fim_pad>",
    "<repo_name>",
    "<file_sep>",
    "<issue_start>",
    "<issue_comment>",
    "<issue_closed>",
    "<jupyter_start>",
    "<jupyter_text>",
    "<jupyter_code>",
    "<jupyter_output>",
    "<jupyter_script>",
    "<empty_output>",
    "<code_to_intermediate>",
    "<intermediate_to_code>",
    "<pr>",
    "<pr_status>",
    "<pr_is_merged>",
    "<pr_base>",
    "<pr_file>",
    "<pr_base_code>",
    "<pr_diff>",
    "<pr_diff_hunk>",
    "<pr_comment>",
    "<pr_event_id>",
    "<pr_review>",
    "<pr_review_state>",
    "<pr_review_comment>",
    "<pr_in_reply_to_review_id>",
    "<pr_in_reply_to_comment_id>",
    "<pr_diff_hunk_comment_line>",
    "<NAME>",
    "<EMAIL>",
    "<KEY>",
    "<PASSWORD>",
)
"""Every sentinel, at the place that is its id."""

(
    END_OF_TEXT,
    FIM_PREFIX,
    FIM_MIDDLE,
    FIM_SUFFIX,
    FIM_PAD,
    REPO_NAME,
    FILE_SEP,
    ISSUE_START,
    ISSUE_COMMENT,
    ISSUE_CLOSED,
    JUPYTER_START,
    JUPYTER_TEXT,
    JUPYTER_CODE,
    JUPYTER_OUTPUT,
    JUPYTER_SCRIPT,
    EMPTY_OUTPUT,
    CODE_TO_INTERMEDIATE,
    INTERMEDIATE_TO_CODE,
    PR,
    PR_STATUS,
    PR_IS_MERGED,
    PR_BASE,
    PR_FILE,
    PR_BASE_CODE,
    PR_DIFF,
    PR_DIFF_HUNK,
    PR_COMMENT,
    PR_EVENT_ID,
    PR_REVIEW,
    PR_REVIEW_STATE,
    PR_REVIEW_COMMENT,
    PR_IN_REPLY_TO_REVIEW_ID,
    PR_IN_REPLY_TO_COMMENT_ID,
    PR_DIFF_HUNK_COMMENT_LINE,
) = range(34)


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that comes from one document. Its tokens are traced to it."""

    text: str
    document_id: bytes


Segment = int | str | Piece
"""A sentinel by its id, text of ours, or text of a document. Each text is encoded by itself."""

Segments = list[Segment]


def text_of(segment: str | Piece) -> str:
    return segment.text if isinstance(segment, Piece) else segment


def shown(segments: Iterable[Segment]) -> str:
    """Return segments as people read them, sentinels by name. It cannot be read back.

    >>> shown([REPO_NAME, "acme/alpha", FILE_SEP, "a.py\\n1", END_OF_TEXT])
    '<repo_name>acme/alpha<file_sep>a.py\\n1<|endoftext|>'
    """
    return "".join(SENTINELS[each] if isinstance(each, int) else text_of(each) for each in segments)


def with_document(segments: Sequence[int | str], document_id: bytes) -> Segments:
    """Return segments whose every text comes from one document."""
    return [Piece(each, document_id) if isinstance(each, str) else each for each in segments]


_SENTINEL: Final = re.compile("(" + "|".join(map(re.escape, SENTINELS)) + ")")


def with_sentinels(text: str) -> list[Segment]:
    """Return a text in which the names of sentinels are sentinels, as public prompts and some editors mean them.

    >>> with_sentinels("<fim_prefix>a<fim_suffix>b<fim_middle>")
    [1, 'a', 3, 'b', 2]
    """
    numbers = {name: number for number, name in enumerate(SENTINELS)}
    return [numbers.get(part, part) for part in _SENTINEL.split(text) if part]
