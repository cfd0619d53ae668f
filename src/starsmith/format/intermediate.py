"""Intermediate representations: a program and what a compiler made of it, one way round or the other.

The template is that of section 8.2 of the paper's data description: half of the pairs each way.
"""

from dataclasses import dataclass

from starsmith.format.choice import Draw
from starsmith.format.sentinels import (
    CODE_TO_INTERMEDIATE,
    END_OF_TEXT,
    INTERMEDIATE_TO_CODE,
    Segments,
    with_document,
)

CODE_FIRST_RATE = 0.5
"""8.2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """A program with its intermediate representation."""

    code: str
    intermediate: str
    document_id: bytes


def segments(compiled: Compiled, draw: Draw) -> Segments:
    """Return a pair as it is trained on."""
    told: list[int | str] = (
        [compiled.code, CODE_TO_INTERMEDIATE, compiled.intermediate]
        if draw.chance("intermediate/code-first", CODE_FIRST_RATE)
        else [compiled.intermediate, INTERMEDIATE_TO_CODE, compiled.code]
    )
    return with_document([*told, END_OF_TEXT], compiled.document_id)
