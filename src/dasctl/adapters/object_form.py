"""The form of one object on disk: pieces behind each other, each with its length before it (docs/history-format.md).

What lives here: reading and writing that form. What must not: names of files, where they lie, who needs them.

    DASCTL-OBJECT-1 SIZE\\n        SIZE: bytes of the content, 20 digits, so that it can be written last
    LENGTH DATA                   for each piece: LENGTH is 4 bytes, little-endian;
                                  its highest bit says that DATA is as it is, and otherwise it is a zlib stream

Every piece but the last holds PIECE bytes of the content; an empty content has one, empty.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

from dasctl.core.exchange import Piece

PIECE = 256 << 10  # bytes of a content, before packing
LEVEL = 1  # of zlib
WORTH = 0.95  # a piece that zlib leaves larger than this share is kept as it is
MARK = b"DASCTL-OBJECT-1 "
HEAD = len(MARK) + 21  # bytes before the first piece
AS_IT_IS = 1 << 31


class Damaged(Exception):
    """Bytes that are not an object, or not this one."""


def head(size: int) -> bytes:
    """What stands before the pieces of a content of `size` bytes."""
    return b"%s%020d\n" % (MARK, size)


def packed(raw: bytes) -> Piece:
    """The piece of `raw`, packed where that is worth it."""
    data = zlib.compress(raw, LEVEL)
    if len(data) < len(raw) * WORTH:
        return Piece(raw=len(raw), data=data, packed=True)
    return Piece(raw=len(raw), data=raw, packed=False)


def framed(piece: Piece) -> bytes:
    """A piece as it lies in the file."""
    return (len(piece.data) | (0 if piece.packed else AS_IT_IS)).to_bytes(4, "little") + piece.data


def unpacked(piece: Piece) -> bytes:
    """The bytes of the content that `piece` holds. Raises Damaged."""
    try:
        raw = zlib.decompress(piece.data) if piece.packed else piece.data
    except zlib.error as error:
        raise Damaged(f"a piece cannot be unpacked: {error}") from error
    if len(raw) != piece.raw:
        raise Damaged("a piece has another size than it should")
    return raw


def size_of(handle: int) -> int:
    """The bytes of the content in an object's file. Raises Damaged, OSError."""
    start = os.pread(handle, HEAD, 0)
    if len(start) != HEAD or not start.startswith(MARK) or not start[len(MARK) : -1].isdigit():
        raise Damaged("it does not begin as an object does")
    return int(start[len(MARK) : -1])


def packed_size(handle: int) -> int:
    """What the pieces are together, without their lengths. Raises Damaged, OSError."""
    pieces = max(-(-size_of(handle) // PIECE), 1)
    return os.fstat(handle).st_size - HEAD - 4 * pieces


def pieces(handle: int, offset: int = 0) -> Iterator[Piece]:
    """The pieces from the one at byte `offset` of the content on. Raises Damaged, OSError."""
    size = size_of(handle)
    place = HEAD
    for start in range(0, max(size, 1), PIECE):
        length, as_it_is = _length(os.pread(handle, 4, place))
        if start >= offset:
            data = os.pread(handle, length, place + 4)
            if len(data) != length:
                raise Damaged("it is cut off")
            yield Piece(raw=min(PIECE, size - start), data=data, packed=not as_it_is)
        place += 4 + length
    if os.fstat(handle).st_size != place:
        raise Damaged("it has another size than it should")


def _length(four: bytes) -> tuple[int, bool]:
    if len(four) != 4:
        raise Damaged("it is cut off")
    number = int.from_bytes(four, "little")
    length = number & ~AS_IT_IS
    if not 0 <= length <= PIECE:
        raise Damaged("a piece has a length that no piece has")
    return length, bool(number & AS_IT_IS)
