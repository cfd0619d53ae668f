from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from starsmith.curate.kernel import text_buffers


def test_buffers_of_a_slice_and_of_an_empty_array() -> None:
    texts = pa.array([b"one", b"", b"three"], pa.large_binary())
    data, offsets = text_buffers(texts.slice(1))
    assert [bytes(data[first:end]) for first, end in pairwise(offsets)] == [b"", b"three"]
    assert text_buffers(texts.slice(3))[1].tolist() == [0]
    assert text_buffers(pa.array([b""], pa.large_binary()))[1].tolist() == [0, 0]


def test_buffers_have_one_type_whatever_they_are_made_from() -> None:
    offsets, data = np.array([0, 2], np.int64), np.frombuffer(bytearray(b"ab"), np.uint8)
    writable = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    for texts in (writable, pa.array([b"ab"], pa.large_binary()), pa.array([], pa.large_binary())):
        for buffer in text_buffers(texts):
            assert buffer.flags.c_contiguous
            assert not buffer.flags.writeable


def test_other_types_and_nulls_are_refused() -> None:
    with pytest.raises(TypeError, match="large_binary, not binary"):
        text_buffers(pa.array([b"a"]))
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        text_buffers(pa.array([b"a", None], pa.large_binary()))
