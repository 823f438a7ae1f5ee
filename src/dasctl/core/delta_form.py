"""The form of a delta: how its instructions are written down for the helper (docs/protocol.md).

What lives here: copies and what stands between them, as bytes. What must not: finding the copies (`delta.py`), and
applying them (`remote/delta.py`).
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dasctl.core.equal_runs import Content

FORMAT = 1
LONGEST = 0xFFFF_FFFF  # bytes that one instruction can say
INSERTED = 64 << 10  # bytes of the new content that are taken out of it at a time


class Copy(NamedTuple):
    """`size` bytes of the new content from `new` on are those of the old one from `old` on."""

    old: int
    new: int
    size: int


def encoded(copies: Sequence[Copy], new: Content) -> bytes:
    """The instructions in the protocol's form."""
    begins, sizes, follow = array("q"), array("I"), array("I")
    inserted: list[bytes] = []
    at = 0  # where the copy before ends in the old content
    for copy, stop in _with_ends(copies, len(new)):
        here = copy.new + copy.size
        inserted += [new[start : min(start + INSERTED, stop)] for start in range(here, stop, INSERTED)]
        for begin, size, more in _instructions(copy.old - at, copy.size, stop - here):
            begins.append(begin)
            sizes.append(size)
            follow.append(more)
        at = copy.old + copy.size
    head = json.dumps({"format": FORMAT, "ops": len(begins), "size": len(new)}).encode() + b"\n"
    if sys.byteorder == "big":
        for numbers in (begins, sizes, follow):
            numbers.byteswap()
    return b"".join((head, begins.tobytes(), sizes.tobytes(), follow.tobytes(), *inserted))


def _with_ends(copies: Sequence[Copy], size: int) -> Iterator[tuple[Copy, int]]:
    """Each copy, and where in the new content the next one begins. What stands before the first one follows an empty one."""
    first = copies[0].new if copies else size
    if first:
        yield Copy(0, 0, 0), first
    ends = [copy.new for copy in copies[1:]] + [size]
    yield from zip(copies, ends, strict=True) if copies else ()


def _instructions(begin: int, size: int, more: int) -> Iterator[tuple[int, int, int]]:
    """One instruction; several where a number would not fit."""
    while size > LONGEST:
        yield begin, LONGEST, 0
        begin, size = 0, size - LONGEST
    while more > LONGEST:
        yield begin, size, LONGEST
        begin, size, more = 0, 0, more - LONGEST
    yield begin, size, more
