"""The automaton of a gate: built from the prefixes, names and words that secrets are known by.

What is done with it stands in `secret_gate`. No section of the paper.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from starsmith.curate.kernel import Bytes, Indices, read_only
from starsmith.curate.secret_gate import (
    BEGINNING,
    BEGINNING_BITS,
    CLASSES,
    COLUMNS,
    GOES_ON,
    IS_LONGER,
    IS_WHOLE,
    LONGER_BITS,
    PREFIX,
    STEP,
    TOKEN_BYTES,
    WITHIN_WORDS,
    scan,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """An automaton and, by number, the patterns it looks for."""

    fold: Bytes
    """Class of each byte; bytes that stand in no pattern are of class 0."""
    following: npt.NDArray[np.uint32]
    """Next state shifted left by `shift`, by the same of a state plus class."""
    shift: int
    output: npt.NDArray[np.int32]
    """The longest pattern that ends in a state, or -1; `link` leads from a pattern to the next shorter one."""
    link: npt.NDArray[np.int32]
    returns: Bytes
    """Bytes that were read into a state if these are fewer than BEGINNING and no pattern ends in it, else GOES_ON."""
    letters: Bytes
    bounds: Indices
    """The exact bytes of pattern p: ``letters[bounds[p] : bounds[p + 1]]``."""
    kinds: npt.NDArray[np.uint8]
    least: Indices
    beginnings: Bytes
    """IS_LONGER and IS_WHOLE by hash of BEGINNING bytes."""
    longer: Bytes
    """Whether a pattern begins with four bytes, by their hash."""


def build_gate(patterns: Sequence[tuple[bytes, int, int]]) -> Gate:
    """Return the automaton for (pattern, kind, least body length) triples; the same pattern may stand there once."""
    folded = [pattern.lower() for pattern, _, _ in patterns]
    fold = np.zeros(256, np.uint8)
    for number, byte in enumerate(sorted(set(b"".join(folded))), 1):
        fold[byte] = number
        fold[ord(chr(byte).upper())] = number
    shift = int(fold.max()).bit_length()
    table, output, shorter, depth = _automaton(
        [[int(fold[byte]) for byte in pattern] for pattern in folded], 1 << shift
    )
    going_on = (np.array(depth) >= BEGINNING) | (np.array(output) >= 0)
    return Gate(
        fold=read_only(fold),
        following=read_only((np.array(table, np.uint32) << shift).astype(np.uint32).ravel()),
        shift=shift,
        output=read_only(np.array(output, np.int32)),
        link=read_only(np.array(shorter, np.int32)),
        returns=read_only(np.where(going_on, GOES_ON, depth).astype(np.uint8)),
        letters=read_only(np.frombuffer(b"".join(pattern for pattern, _, _ in patterns), np.uint8)),
        bounds=read_only(np.cumsum([0] + [len(pattern) for pattern, _, _ in patterns]).astype(np.int64)),
        kinds=read_only(np.array([kind for _, kind, _ in patterns], np.uint8)),
        least=read_only(np.array([least for _, _, least in patterns], np.int64)),
        beginnings=_beginnings(patterns),
        longer=_longer(patterns),
    )


def _beginnings(patterns: Sequence[tuple[bytes, int, int]]) -> Bytes:
    table = np.zeros(1 << BEGINNING_BITS, np.uint8)
    for pattern, kind, least in patterns:
        for spelled in _spellings(pattern[:BEGINNING], kind, least):
            place = int.from_bytes(spelled, "little") * (STEP << 8) % 2**32 >> 32 - BEGINNING_BITS
            known = IS_LONGER if len(pattern) > BEGINNING else IS_WHOLE
            # A prefix counts at the start of a word, if a word may begin with it.
            is_anywhere = kind != PREFIX or not spelled[:1].isalnum()
            table[place] |= known << WITHIN_WORDS | known if is_anywhere else known
    return read_only(table)


def _longer(patterns: Sequence[tuple[bytes, int, int]]) -> Bytes:
    table = np.zeros(1 << LONGER_BITS, np.uint8)
    for pattern, kind, least in patterns:
        if len(pattern) > BEGINNING:
            for spelled in _spellings(pattern[: BEGINNING + 1], kind, least):
                table[int.from_bytes(spelled, "little") * STEP % 2**32 >> 32 - LONGER_BITS] = 1
    return read_only(table)


def _spellings(start: bytes, kind: int, least: int) -> Iterator[bytes]:
    """Yield what may stand where a pattern begins: in any case if it counts so, made long enough by bytes of a body."""
    if len(start) + least < BEGINNING:
        raise ValueError(f"The pattern {start!r} is too short: with its body it must have {BEGINNING} bytes.")
    each = [{byte} if kind == PREFIX else {ord(chr(byte).lower()), ord(chr(byte).upper())} for byte in start]
    each += [set(TOKEN_BYTES)] * (BEGINNING - len(start))
    return map(bytes, product(*each))


def _automaton(patterns: list[list[int]], width: int) -> tuple[list[list[int]], list[int], list[int], list[int]]:
    """Return (next state by state and class, longest pattern by state, next shorter pattern by pattern, bytes read by
    state)."""
    table: list[list[int]] = [[-1] * width]
    output, depth = [-1], [0]
    shorter = [-1] * len(patterns)
    for number, pattern in enumerate(patterns):
        state = 0
        for byte in pattern:
            if table[state][byte] < 0:
                table[state][byte] = len(table)
                table.append([-1] * width)
                output.append(-1)
                depth.append(depth[state] + 1)
            state = table[state][byte]
        # Patterns that differ in case only end in the same state; each leads to the one before it.
        shorter[number], output[state] = output[state], number
    last = {state: _last_of_chain(output[state], shorter) for state in range(len(table)) if output[state] >= 0}
    fallback = [0] * len(table)
    queue: deque[int] = deque([0])
    while queue:
        state = queue.popleft()
        for byte in range(width):
            child, elsewhere = table[state][byte], table[fallback[state]][byte] if state else 0
            if child < 0:
                table[state][byte] = elsewhere
                continue
            fallback[child] = elsewhere
            if child in last:
                shorter[last[child]] = output[elsewhere]
            else:
                output[child] = output[elsewhere]
            queue.append(child)
    return table, output, shorter, depth


def _last_of_chain(number: int, shorter: list[int]) -> int:
    while shorter[number] >= 0:
        number = shorter[number]
    return number


def hits(gate: Gate, data: Bytes, offsets: Indices) -> Indices:
    """Return the places worth an exact rule, int64 of shape (hits, COLUMNS), positions counting from `data`'s start.

    `data` and `offsets` as `kernel.text_buffers` returns them.
    """
    room = 256 + (int(offsets[-1]) - int(offsets[0])) // 256
    while True:
        found = np.empty((room, COLUMNS), np.int64)
        count = scan(
            data,
            offsets,
            gate.fold,
            gate.following,
            gate.shift,
            gate.output,
            gate.link,
            gate.returns,
            gate.letters,
            gate.bounds,
            gate.kinds,
            gate.least,
            gate.beginnings,
            gate.longer,
            CLASSES,
            found,
        )
        if count <= room:
            return found[:count]
        room = count
