"""The form of one object on disk (docs/history-format.md).

What lives here: reading and writing that form. What must not: names of files, where they lie, who needs them.

A content that does not shrink is kept as it is: the file is the content. Any other, and one that happens to begin with the
mark, is packed:

    DASCTL-OBJECT-1 SIZE\\n        SIZE: bytes of the content, 20 digits, so that it can be written last
    LENGTH DATA                   for each piece: LENGTH is 4 bytes, little-endian; its highest bit says that DATA is as
                                  it is, and otherwise it is a zlib stream

Every piece but the last holds PIECE bytes of the content; an empty content has one, empty.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

from dasctl.core import packing
from dasctl.core.exchange import PIECE, Piece

LEVEL = packing.LEVEL
SAMPLE = 512  # bytes
MANY_VALUES = 200  # different bytes in a sample that does not shrink
MARK = b"DASCTL-OBJECT-1 "
HEAD = len(MARK) + 21  # bytes before the first piece
AS_IT_IS = 1 << 31
MOST_SINGLE = HEAD + 4 + PIECE  # bytes of the file of an object with one piece


class Damaged(Exception):
    """Bytes that are not an object, or not this one."""


def head(size: int) -> bytes:
    """What stands before the pieces of a content of `size` bytes."""
    return b"%s%020d\n" % (MARK, size)


def packed(raw: bytes) -> Piece:
    """The piece of `raw`, packed where that is worth it."""
    return packing.packed(raw) if shrinks(raw) else packing.as_it_is(raw)


def shrinks(raw: bytes) -> bool:
    """Whether packing `raw` may be worth it: a sample of its middle, as beginnings are often headers, tells at a glance.

    Of 256 byte values, 512 packed, encrypted or random bytes hold about 220, and text and programs less than 150.
    """
    if len(raw) <= SAMPLE:
        return bool(raw)
    middle = len(raw) // 2
    return len(set(raw[middle : middle + SAMPLE])) < MANY_VALUES


def framed(piece: Piece) -> bytes:
    """A piece as it lies in a packed object."""
    return (len(piece.data) | (0 if piece.packed else AS_IT_IS)).to_bytes(4, "little") + piece.data


def unpacked(piece: Piece) -> bytes:
    """The bytes of the content that `piece` holds. Raises Damaged."""
    if not piece.packed:
        return piece.data
    try:
        unpacking = zlib.decompressobj()
        raw = unpacking.decompress(piece.data, piece.raw + 1)
    except zlib.error as error:
        raise Damaged(f"a piece cannot be unpacked: {error}") from error
    if len(raw) != piece.raw or not unpacking.eof or unpacking.unused_data:
        raise Damaged("a piece has another size than it should")
    return raw


def size_of(handle: int) -> tuple[int, bool]:
    """The bytes of the content in an object's file, and whether it is packed. Raises Damaged, OSError."""
    start = os.pread(handle, HEAD, 0)
    if not start.startswith(MARK):
        return os.fstat(handle).st_size, False
    if len(start) != HEAD or not start[len(MARK) : -1].isdigit():
        raise Damaged("it does not begin as an object does")
    return int(start[len(MARK) : -1]), True


def packed_size(handle: int) -> int:
    """What the pieces are together, without their lengths. Raises Damaged, OSError."""
    size, is_packed = size_of(handle)
    if not is_packed:
        return size
    return max(os.fstat(handle).st_size - HEAD - 4 * max(-(-size // PIECE), 1), 0)


def single(data: bytes) -> Piece | None:
    """The piece of an object that has no other, from all the bytes of its file; None where it has more, or is damaged."""
    if not data.startswith(MARK):
        return Piece(raw=len(data), data=data, packed=False) if len(data) <= PIECE else None
    size, body = data[len(MARK) : HEAD - 1], data[HEAD + 4 :]
    if len(data) < HEAD + 4 or not size.isdigit() or int(size) > PIECE:
        return None
    number = int.from_bytes(data[HEAD : HEAD + 4], "little")
    length, as_it_is = number & ~AS_IT_IS, bool(number & AS_IT_IS)
    if length != len(body) or (as_it_is and length != int(size)):
        return None
    return Piece(raw=int(size), data=body, packed=not as_it_is)


def pieces(handle: int, offset: int = 0) -> Iterator[Piece]:
    """The pieces from the one at byte `offset` of the content on. Raises Damaged, OSError."""
    size, is_packed = size_of(handle)
    place = HEAD
    for start in range(0, max(size, 1), PIECE):
        raw = min(PIECE, size - start)
        if is_packed:
            length, as_it_is = _length(os.pread(handle, 4, place))
            if start >= offset:
                yield _piece(handle, place + 4, length, raw, as_it_is)
            place += 4 + length
        elif start >= offset:
            yield _piece(handle, start, raw, raw, True)
    if is_packed and os.fstat(handle).st_size != place:
        raise Damaged("it has another size than it should")


def _piece(handle: int, place: int, length: int, raw: int, as_it_is: bool) -> Piece:
    data = os.pread(handle, length, place)
    if len(data) != length or (as_it_is and length != raw):
        raise Damaged("it is cut off")
    return Piece(raw=raw, data=data, packed=not as_it_is)


def _length(four: bytes) -> tuple[int, bool]:
    if len(four) != 4:
        raise Damaged("it is cut off")
    number = int.from_bytes(four, "little")
    length = number & ~AS_IT_IS
    if not 0 <= length <= PIECE:
        raise Damaged("a piece has a length that no piece has")
    return length, bool(number & AS_IT_IS)
