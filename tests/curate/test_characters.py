import re
import sys

import numpy as np

from starsmith.curate.characters import ALNUM, ALPHA, SPACE, character_flags


def test_flags_are_those_of_python_for_every_code_point() -> None:
    flags = character_flags()
    characters = [chr(code_point) for code_point in range(sys.maxunicode + 1)]
    for bit, method in ((ALPHA, str.isalpha), (ALNUM, str.isalnum), (SPACE, str.isspace)):
        expected = np.fromiter(map(method, characters), np.bool_, len(characters))
        assert np.array_equal(flags & bit != 0, expected)


def test_word_and_space_are_those_of_re() -> None:
    flags = character_flags()
    word, space = re.compile(r"\w"), re.compile(r"\s")
    for code_point in range(0x3100):
        assert bool(word.match(chr(code_point))) == (code_point == ord("_") or bool(flags[code_point] & ALNUM))
        assert bool(space.match(chr(code_point))) == bool(flags[code_point] & SPACE)


def test_flags_cannot_be_changed() -> None:
    assert not character_flags().flags.writeable
