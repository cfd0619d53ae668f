"""Issues: a title and what people wrote below it, in order.

The template is that of section 8.2 of the paper's data description. Records come with their authors numbered already
(3.1: by first appearance); names, bots and reply boiler-plate are the source's business.
"""

from dataclasses import dataclass

from starsmith.format.sentinels import END_OF_TEXT, ISSUE_CLOSED, ISSUE_COMMENT, ISSUE_START, Segments, with_document


@dataclass(frozen=True, kw_only=True, slots=True)
class Comment:
    """What one participant wrote. `author` is a number."""

    author: int
    text: str

    @property
    def told(self) -> str:
        return f"username_{self.author}: {self.text}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Issue:
    """An issue. `closed_after` is the number of comments before it was closed; None while it is open."""

    title: str
    opening: Comment
    comments: tuple[Comment, ...]
    closed_after: int | None
    document_id: bytes


def segments(issue: Issue) -> Segments:
    """Return an issue as it is trained on."""
    told: list[int | str] = [ISSUE_START, f"Title: {issue.title}\n{issue.opening.told}"]
    for number, comment in enumerate(issue.comments):
        if number == issue.closed_after:
            told.append(ISSUE_CLOSED)
        told += [ISSUE_COMMENT, comment.told]
    if issue.closed_after is not None and issue.closed_after >= len(issue.comments):
        told.append(ISSUE_CLOSED)
    return with_document([*told, END_OF_TEXT], issue.document_id)
