"""Messages over a descriptor: a length of four bytes, then as many bytes."""

import os
import struct

_LENGTH = struct.Struct("!I")
_PIECE = 1 << 20


class Ended(EOFError):
    """The other side is gone, or sent what is no message."""


def send(descriptor: int, message: bytes) -> None:
    """Write a message. Raises Ended where nobody reads any more."""
    rest = memoryview(_LENGTH.pack(len(message)) + message)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise Ended(str(error)) from None


def receive(descriptor: int, *, limit: int) -> bytes:
    """Read a message of at most `limit` bytes. Raises Ended for the end, and for a longer one."""
    (length,) = _LENGTH.unpack(_exactly(descriptor, _LENGTH.size))
    if length > limit:
        raise Ended(f"a message of {length} bytes, where {limit} are allowed")
    return _exactly(descriptor, length)


def _exactly(descriptor: int, size: int) -> bytes:
    read = bytearray()
    while len(read) < size:
        try:
            piece = os.read(descriptor, min(size - len(read), _PIECE))
        except OSError as error:
            raise Ended(str(error)) from None
        if not piece:
            raise Ended("the end")
        read += piece
    return bytes(read)


def split(received: bytes | bytearray) -> list[bytes]:
    """Return the whole messages in `received`; an unfinished one at its end is left out."""
    messages, at = [], 0
    while at + _LENGTH.size <= len(received):
        (length,) = _LENGTH.unpack_from(received, at)
        at += _LENGTH.size + length
        if at <= len(received):
            messages.append(bytes(received[at - length : at]))
    return messages
