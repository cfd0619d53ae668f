"""How kernels are compiled, and how they see a column of texts: as two flat buffers, without a copy.

A kernel is a plain function over arrays that numba turns into machine code. Its cache on disk is keyed by the file the
kernel stands in and by nothing else, so **a kernel must not call compiled functions of another file**: a change there
would leave the caller's cached code as it was.

Nothing here knows what a kernel computes.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Whole = int | np.integer[Any]
"""A whole number inside a kernel, where numba decides on its width."""

F = TypeVar("F", bound=Callable[..., object])
Item = TypeVar("Item", bound=np.generic)


def compiled(function: F) -> F:
    """Compile `function` to machine code on its first call, cache it on disk, and let other threads run beside it."""
    return cast(F, numba.njit(cache=True, nogil=True)(function))


def text_buffers(texts: pa.LargeBinaryArray) -> tuple[Bytes, Indices]:
    """Return (data, offsets) of `texts`: text i is ``data[offsets[i] : offsets[i + 1]]``.

    Both are contiguous and read-only whatever the array was made from, so that every kernel is compiled for one
    signature only. Slices are honoured. Raises TypeError for another type and ValueError for nulls.

    >>> data, offsets = text_buffers(pa.array([b"ab", b"", b"c"], pa.large_binary())[1:])
    >>> offsets.tolist(), bytes(data[offsets[1] : offsets[2]])
    ([2, 2, 3], b'c')
    """
    if not pa.types.is_large_binary(texts.type):
        raise TypeError(f"Texts must be large_binary, not {texts.type}.")
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} texts are null.")
    _, raw_offsets, raw_data = texts.buffers()
    if raw_offsets is None or len(texts) == 0:
        return read_only(np.zeros(0, np.uint8)), read_only(np.zeros(1, np.int64))
    offsets = np.frombuffer(raw_offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.zeros(0, np.uint8) if raw_data is None else np.frombuffer(raw_data, np.uint8)
    return read_only(data), read_only(offsets)


def read_only(array: npt.NDArray[Item]) -> npt.NDArray[Item]:
    """Return a contiguous read-only view: a kernel is compiled once per kind of array, so callers offer one kind."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
