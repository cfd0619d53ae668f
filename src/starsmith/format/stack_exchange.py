"""Questions and answers: a question of StackExchange with its answers in random order.

The template is that of section 8.2 of the paper's data description: no title, votes below each answer, a mark on the
one that was accepted.
"""

from dataclasses import dataclass

from starsmith.format.choice import Draw, shuffled
from starsmith.format.issues import Comment
from starsmith.format.sentinels import END_OF_TEXT, ISSUE_COMMENT, ISSUE_START, Segments, with_document


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One answer. `answer_id` is what its place is drawn by."""

    comment: Comment
    votes: int
    is_selected: bool
    answer_id: bytes

    @property
    def told(self) -> str:
        mark = " [selected answer]" if self.is_selected else ""
        return f"{self.comment.told}\nUpvotes: {self.votes}{mark}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question with its answers."""

    question: Comment
    answers: tuple[Answer, ...]
    document_id: bytes


def segments(question: Question, draw: Draw) -> Segments:
    """Return a question as it is trained on."""

    def draw_of(answer: Answer) -> Draw:
        return Draw(seed=draw.seed, epoch=draw.epoch, copy=draw.copy, document_id=answer.answer_id)

    told: list[int | str] = [ISSUE_START, question.question.told]
    for answer in shuffled(question.answers, draw_of, "answers"):
        told += [ISSUE_COMMENT, answer.told]
    return with_document([*told, END_OF_TEXT], question.document_id)
