"""Notebooks against the templates of section 8.2."""

from starsmith.format.notebooks import Notebook, Script, Step, script_segments, segments
from starsmith.format.sentinels import shown


def test_script():
    assert shown(script_segments(Script(code="x = 1", document_id=b"n"))) == "<jupyter_script>x = 1<|endoftext|>"


def test_structured():
    steps = (Step(text="t0", code="c0", output="o0"), Step(text="t1", code="c1"))
    assert shown(segments(Notebook(steps=steps, document_id=b"n"))) == (
        "<jupyter_start><jupyter_text>t0<jupyter_code>c0<jupyter_output>o0"
        "<jupyter_text>t1<jupyter_code>c1<jupyter_output><empty_output><|endoftext|>"
    )
