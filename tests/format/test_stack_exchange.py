"""Questions and answers against the template of section 8.2."""

from starsmith.format.choice import Draw
from starsmith.format.issues import Comment
from starsmith.format.sentinels import shown
from starsmith.format.stack_exchange import Answer, Question, segments

QUESTION = Question(
    question=Comment(author=0, text="why?"),
    answers=(
        Answer(comment=Comment(author=1, text="so"), votes=3, is_selected=True, answer_id=b"1"),
        Answer(comment=Comment(author=2, text="no"), votes=-1, is_selected=False, answer_id=b"2"),
    ),
    document_id=b"q",
)


def test_template_with_answers_in_both_orders():
    found = {shown(segments(QUESTION, Draw(seed=seed, epoch=0, document_id=b"q"))) for seed in range(20)}
    selected = "<issue_comment>username_1: so\nUpvotes: 3 [selected answer]"
    other = "<issue_comment>username_2: no\nUpvotes: -1"
    assert found == {
        f"<issue_start>username_0: why?{selected}{other}<|endoftext|>",
        f"<issue_start>username_0: why?{other}{selected}<|endoftext|>",
    }
