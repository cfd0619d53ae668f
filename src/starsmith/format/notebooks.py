"""Notebooks: as a script, or as text, code and output in turn.

The templates are those of section 8.2 of the paper's data description. How cells are joined, and outputs cut (3.3), is
the source's business.
"""

from dataclasses import dataclass

from starsmith.format.sentinels import (
    EMPTY_OUTPUT,
    END_OF_TEXT,
    JUPYTER_CODE,
    JUPYTER_OUTPUT,
    JUPYTER_SCRIPT,
    JUPYTER_START,
    JUPYTER_TEXT,
    Segments,
    with_document,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """A notebook written as a script."""

    code: str
    document_id: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A text and the code below it. `output` is empty where there is none."""

    text: str
    code: str
    output: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Notebook:
    """A notebook as pairs of text and code."""

    steps: tuple[Step, ...]
    document_id: bytes


def script_segments(script: Script) -> Segments:
    """Return a notebook written as a script as it is trained on."""
    return with_document([JUPYTER_SCRIPT, script.code, END_OF_TEXT], script.document_id)


def segments(notebook: Notebook) -> Segments:
    """Return a notebook as it is trained on."""
    told: list[int | str] = [JUPYTER_START]
    for step in notebook.steps:
        told += [JUPYTER_TEXT, step.text, JUPYTER_CODE, step.code, JUPYTER_OUTPUT, step.output or EMPTY_OUTPUT]
    return with_document([*told, END_OF_TEXT], notebook.document_id)
