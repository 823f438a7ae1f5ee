"""A content as instructions against another one: copies from the base, and bytes that are inserted.

What lives here: checking and applying the instructions (docs/protocol.md, `sync`), with little memory whatever the sizes.
What must not: where base and result lie; whether the result is right (its SHA-256 tells).
"""

from __future__ import annotations

import sys

from dasctl.remote import quick_json
from dasctl.remote.staging import BadContent
from dasctl.remote.system import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Iterator

FORMAT = 1
MOST_HEADER = 1 << 10  # bytes of the first line
MOST_OPS = 1 << 20  # instructions; they are kept in memory, 16 bytes each
PIECE = (
    256 << 10
)  # bytes handed on at a time: they stay in the processor's cache while they are hashed and written


def result(pieces: Iterable[bytes], base: int, size: int) -> Iterator[memoryview]:
    """The content of `size` bytes that the instructions in `pieces` make of the file behind the handle `base`.

    What is handed out is valid until the next one. Raises BadContent where they cannot be right, OSError.
    """
    source = _Source(pieces)
    seeks, copies, inserts = _instructions(source, size)
    end, at = os.fstat(base).st_size, 0
    buffer, filled = (
        memoryview(bytearray(min(size, PIECE))),
        0,
    )  # one for all: new memory costs as much as the copying
    for seek, copy, insert in zip(seeks, copies, inserts):
        at += seek
        if not 0 <= at <= end - copy:
            raise BadContent("a copy of %d bytes at %d of a base of %d" % (copy, at, end))
        stop = at + copy
        while at < stop:
            count = os.preadv(base, [buffer[filled : filled + stop - at]], at)
            if not count:
                raise BadContent("the base became shorter while it was read")
            at += count
            filled += count
            if filled == len(buffer):
                yield buffer
                filled = 0
        while insert:
            piece = source.some(min(insert, len(buffer) - filled))
            insert -= len(piece)
            buffer[filled : filled + len(piece)] = piece
            filled += len(piece)
            if filled == len(buffer):
                yield buffer
                filled = 0
    if source.more():
        raise BadContent("more inserted bytes than the instructions say")
    yield buffer[:filled]


def _instructions(source: _Source, size: int) -> tuple[array[int], array[int], array[int]]:
    from array import array

    try:
        header = quick_json.loads(source.line(MOST_HEADER))
        count, promised = header["ops"], header["size"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadContent("instructions without a header") from None
    if header.get("format") != FORMAT or type(count) is not int or not 0 <= count <= MOST_OPS:
        raise BadContent("instructions of another format, or too many of them")
    if promised != size:
        raise BadContent("instructions for another size")
    seeks = array("q", source.exactly(8 * count))
    copies = _unsigned(source.exactly(4 * count))
    inserts = _unsigned(source.exactly(4 * count))
    if sys.byteorder == "big":
        for numbers in (seeks, copies, inserts):
            numbers.byteswap()
    if sum(copies) + sum(inserts) != size:
        raise BadContent("instructions that do not make up the size")
    return seeks, copies, inserts


def _unsigned(data: bytes) -> array[int]:
    from array import array

    code = next(code for code in "IL" if array(code).itemsize == 4)
    return array(code, data)


class _Source:
    """The unpacked bytes, taken in the sizes that they are needed in."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held, self._at = b"", 0

    def more(self) -> bool:
        """Whether anything is left."""
        while self._at >= len(self._held):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._held, self._at = piece, 0
        return True

    def some(self, most: int) -> bytes:
        """At least one byte, at most so many."""
        if not self.more():
            raise BadContent("instructions that are cut off")
        taken = self._held[self._at : self._at + most]
        self._at += len(taken)
        return taken

    def exactly(self, count: int) -> bytes:
        taken = bytearray()
        while len(taken) < count:
            taken += self.some(count - len(taken))
        return bytes(taken)

    def line(self, most: int) -> bytes:
        taken = bytearray()
        while not taken.endswith(b"\n"):
            if len(taken) >= most:
                raise BadContent("a header that does not end")
            taken += self.some(1)
        return bytes(taken)
