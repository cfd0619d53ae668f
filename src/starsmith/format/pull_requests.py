"""Pull requests: what was proposed, what was said about it, what became of it.

The templates are those of section 8.2 of the paper's data description. Which files, lines and hunks are shown, and who
is left out (3.2), is the source's business: a record holds what is told, in order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from starsmith.format.issues import Comment
from starsmith.format.sentinels import (
    END_OF_TEXT,
    PR,
    PR_BASE,
    PR_BASE_CODE,
    PR_COMMENT,
    PR_DIFF,
    PR_DIFF_HUNK,
    PR_DIFF_HUNK_COMMENT_LINE,
    PR_EVENT_ID,
    PR_FILE,
    PR_IN_REPLY_TO_COMMENT_ID,
    PR_IN_REPLY_TO_REVIEW_ID,
    PR_IS_MERGED,
    PR_REVIEW,
    PR_REVIEW_COMMENT,
    PR_REVIEW_STATE,
    PR_STATUS,
    REPO_NAME,
    Segments,
    with_document,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseFile:
    """A file, or the part of it that is shown, before the change."""

    path: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FileDiff:
    """What changes in one file."""

    path: str
    hunks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Remark:
    """A comment on the pull request as a whole."""

    comment: Comment
    event_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """A verdict. `comment.text` may be empty; `state` is a word of GitHub's: approved, commented …"""

    comment: Comment
    event_id: int
    state: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeRemark:
    """A comment on a line of a hunk. `review_id` and `comment_id` are what it belongs to and replies to, if known."""

    comment: Comment
    event_id: int
    review_id: int | None
    comment_id: int | None
    path: str
    line: int
    hunk: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NewHead:
    """New commits: what changes now, from the base on."""

    diffs: tuple[FileDiff, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Closing:
    """The end of a pull request."""

    author: int
    is_merged: bool


Event = Remark | Review | CodeRemark | NewHead | Closing


@dataclass(frozen=True, kw_only=True, slots=True)
class PullRequest:
    """A pull request from its opening on."""

    title: str
    description: Comment
    repo_name: str
    base: tuple[BaseFile, ...]
    diffs: tuple[FileDiff, ...]
    events: tuple[Event, ...]
    document_id: bytes


def segments(pull_request: PullRequest) -> Segments:
    """Return a pull request as it is trained on."""
    told = _opening(pull_request)
    for event in pull_request.events:
        told += _told(event)
    return with_document([*told, END_OF_TEXT], pull_request.document_id)


def _opening(pull_request: PullRequest) -> list[int | str]:
    heading = f"Title: {pull_request.title}\n{pull_request.description.told}"
    told: list[int | str] = [PR, heading, PR_STATUS, "opened", REPO_NAME, pull_request.repo_name, PR_BASE]
    for file in pull_request.base:
        told += [PR_FILE, file.path, PR_BASE_CODE, file.text]
    return told + _diff(pull_request.diffs)


def _diff(diffs: Sequence[FileDiff]) -> list[int | str]:
    told: list[int | str] = [PR_DIFF]
    for diff in diffs:
        told += [PR_FILE, diff.path]
        for hunk in diff.hunks:
            told += [PR_DIFF_HUNK, hunk]
    return told


def _told(event: Event) -> list[int | str]:
    match event:
        case Remark():
            return [PR_COMMENT, event.comment.told, PR_EVENT_ID, str(event.event_id)]
        case Review():
            return [PR_REVIEW, _reviewer(event), PR_EVENT_ID, str(event.event_id), PR_REVIEW_STATE, event.state]
        case CodeRemark():
            return _code_remark(event)
        case NewHead():
            return _diff(event.diffs)
        case Closing():
            return [PR, f"username_{event.author}", PR_STATUS, "closed", PR_IS_MERGED, str(event.is_merged)]


def _reviewer(review: Review) -> str:
    """Return who reviewed and what was said; a line end follows what was said."""
    return f"{review.comment.told}\n" if review.comment.text else review.comment.told


def _code_remark(event: CodeRemark) -> list[int | str]:
    told: list[int | str] = [PR_REVIEW_COMMENT, PR_EVENT_ID, str(event.event_id)]
    if event.review_id is not None:
        told += [PR_IN_REPLY_TO_REVIEW_ID, str(event.review_id)]
    if event.comment_id is not None:
        told += [PR_IN_REPLY_TO_COMMENT_ID, str(event.comment_id)]
    told += [PR_FILE, event.path, PR_DIFF_HUNK_COMMENT_LINE, str(event.line), PR_DIFF_HUNK, event.hunk]
    return [*told, PR_COMMENT, event.comment.told]
