"""Numbers over completions: pass@k, likeness of texts, and how sure a mean over problems is.

pass@k is the unbiased estimator of the HumanEval paper (Chen et al. 2021, section 2.1). Edit similarity is the one of
the harness in question: fuzzywuzzy gives two different numbers, depending on what is installed beside it.
"""

import difflib
import math
import random
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

RESAMPLES: Final = 1000
"""Bootstrap resamples: the ends of a 95% interval of 164 problems then vary by about 0.3 points from seed to seed."""

_CONFIDENCE: Final = 0.95
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|\'[^\'\\]*(?:\\.[^\'\\]*)*\'')
_WORD = re.compile(r"\w+")
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over problems with a 95% interval, as shares (0 to 1) or numbers."""

    value: float
    low: float
    high: float
    problems: int


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Return the chance that at least one of `k` of the samples, drawn without putting back, has passed.

    Raises ValueError where fewer than `k` samples were made: there is no unbiased estimate then.

    >>> pass_at_k(5, 2, 1)
    0.4
    """
    if not 0 <= passed <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {passed} in {samples}")
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


def estimate(values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Return the mean of one value a problem, and the interval by a bootstrap over problems.

    The same values give the same interval. Raises ValueError for no values.
    """
    if not values:
        raise ValueError("no values")
    size, value = len(values), sum(values) / len(values)
    # Seeded, and for statistics only.
    draw = random.Random(seed)
    means = sorted(sum(draw.choices(values, k=size)) / size for _ in range(resamples))
    low, high = (_quantile(means, share) for share in ((1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2))
    return Estimate(value=value, low=min(low, value), high=max(high, value), problems=size)


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def ratio(first: str, second: str) -> float:
    """Return fuzzywuzzy's likeness of two texts in percent, a whole number, as it is without python-Levenshtein.

    >>> ratio("return x", "return y")
    88.0
    """
    if first == second:
        return 100.0
    # Rounded to a whole number, halves to even, because fuzzywuzzy does so.
    return float(round(100 * difflib.SequenceMatcher(None, first, second).ratio()))


def indel_ratio(first: str, second: str) -> float:
    """Return the likeness in percent, a whole number, as fuzzywuzzy gives it with python-Levenshtein.

    That is twice the longest common subsequence over both lengths. It takes time in the product of the lengths.
    """
    if first == second:
        return 100.0
    return float(round(200 * _common(first, second) / (len(first) + len(second))))


def _common(first: str, second: str) -> int:
    """Return the length of the longest common subsequence, a column of it kept in the bits of one number."""
    places: dict[str, int] = {}
    for place, letter in enumerate(first):
        places[letter] = places.get(letter, 0) | 1 << place
    everything = (1 << len(first)) - 1
    row = everything
    for letter in second:
        met = row & places.get(letter, 0)
        row = ((row + met) | (row - met)) & everything
    return len(first) - row.bit_count()


def identifiers(code: str, keywords: Collection[str]) -> list[str]:
    """Return the identifiers of `code` in order, without those in string literals and without keywords.

    As CrossCodeEval's scorer does: a word counts when it begins like an identifier, whatever follows.
    """
    words = _WORD.findall(_STRING.sub("", code))
    return [word for word in words if _IDENTIFIER.match(word) and word not in keywords]


def f1(found: Collection[str], expected: Collection[str]) -> float:
    """Return the harmonic mean of precision and recall of two sets; 0 where both are empty, as CrossCodeEval has it."""
    found, expected = set(found), set(expected)
    return 2 * len(found & expected) / (len(found) + len(expected)) if found or expected else 0.0
