"""Fill in the middle: a text cut in three and told out of order, so that a model learns to write what is missing.

Section 8.3 of the paper's data description: the two cuts are uniform over the characters of the text, any part may be
empty; half of the texts are told as prefix, suffix, middle (PSM), half as suffix, prefix, middle (SPM, its second
variant, in which prefix and middle follow each other). What is transformed, and how often, `repository` decides.
"""

from dataclasses import dataclass

from starsmith.format.choice import Draw
from starsmith.format.sentinels import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX

SPM_RATE = 0.5
"""8.3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """A text in three parts. `suffix_first` tells it as SPM."""

    prefix: str
    middle: str
    suffix: str
    suffix_first: bool

    @property
    def text(self) -> str:
        return self.prefix + self.middle + self.suffix

    def segments(self) -> list[int | str]:
        """Return the parts in the order they are told."""
        if self.suffix_first:
            return [FIM_PREFIX, FIM_SUFFIX, self.suffix, FIM_MIDDLE, self.prefix, self.middle]
        return [FIM_PREFIX, self.prefix, FIM_SUFFIX, self.suffix, FIM_MIDDLE, self.middle]


def cut(text: str, draw: Draw, *, kept: int = 0, spm_rate: float = SPM_RATE) -> Cut:
    """Cut a text at two characters of its own; none lies within its first `kept` characters."""
    first, second = sorted(kept + draw.below(f"fim/cut/{number}", len(text) - kept + 1) for number in (1, 2))
    return Cut(
        prefix=text[:first],
        middle=text[first:second],
        suffix=text[second:],
        suffix_first=draw.chance("fim/suffix-first", spm_rate),
    )


def prompt(*, prefix: str, suffix: str) -> list[int | str]:
    """Return what a model is given to write the text between `prefix` and `suffix`.

    >>> from starsmith.format.sentinels import shown
    >>> shown(prompt(prefix="a = ", suffix="\\n"))
    '<fim_prefix>a = <fim_suffix>\\n<fim_middle>'
    """
    return [FIM_PREFIX, prefix, FIM_SUFFIX, suffix, FIM_MIDDLE]
