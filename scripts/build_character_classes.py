"""Rebuild `src/starsmith/data/character_classes.tsv`: what the library `tokenizers` takes for letter, digit and space.

    pip install tokenizers && python scripts/build_character_classes.py

Every code point is asked about. Letters (\\p{L}) and white space (\\s) are those of its regular expressions, digits
those of its pre-tokenizer `Digits`; the two may follow different versions of Unicode.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import tokenizers
from tokenizers import Regex, pre_tokenizers

TARGET = Path(__file__).parent.parent / "src/starsmith/data/character_classes.tsv"
_CHUNK = 20_000


def characters() -> Iterator[str]:
    """Yield all of them, a chunk at a time."""
    every = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
    for start in range(0, len(every), _CHUNK):
        yield "".join(every[start : start + _CHUNK])


def matching(pattern: str) -> set[str]:
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    return {each for chunk in characters() for text, _ in split.pre_tokenize_str(chunk) for each in text}


def digits() -> set[str]:
    """Return what is split off from letters around it, though no letters touch each other."""
    split = pre_tokenizers.Digits(individual_digits=True)
    return {text for chunk in characters() for text, _ in split.pre_tokenize_str("a".join(chunk)) if len(text) == 1} - {
        "a"
    }


def ranges(found: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of runs of code points."""
    points = sorted(map(ord, found))
    starts = [point for point, before in zip(points, [-2, *points], strict=False) if point != before + 1]
    ends = [point for point, after in zip(points, [*points[1:], -2], strict=False) if point != after - 1]
    return zip(starts, ends, strict=True)


def main() -> None:
    lines = [
        f"# Letters, digits and spaces among all code points, as tokenizers {tokenizers.__version__} has them.",
        "# Facts of the Unicode Character Database. Rebuild with scripts/build_character_classes.py.",
    ]
    for name, found in (("letter", matching(r"\p{L}")), ("digit", digits()), ("space", matching(r"\s"))):
        lines += [f"{name}\t{first:x}\t{last:x}" for first, last in ranges(found)]
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
