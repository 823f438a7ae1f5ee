"""What shall travel to a node, content by content, and how: as a whole, from an offset on, or as a delta.

What lives here: the values, and the choices that need no look at the objects. What must not: reading, frames, waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from dasctl.core.exchange import PIECE

RUN = 2 << 20  # bytes that travel in a run of a plan, on average


class Item(NamedTuple):
    """One content on its way. `size` is its raw bytes, `offset` how many of them the node has, `travels` how many bytes
    go over the line; `base` is the SHA-256 of the content that it is a delta against, or None; `as_it_is`: it is not packed.

    A tuple, because tens of thousands of them are looked up for each node.
    """

    digest: str
    size: int
    offset: int = 0
    base: str | None = None
    travels: int = 0
    as_it_is: bool = False


Plan = tuple[Item, ...]  # in the order in which they are sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How much of a plan went out: bytes that travel, without frames' headers, and contents."""

    sent: int = 0
    files: int = 0

    def plus(self, sent: int, files: int) -> Progress:
        return Progress(sent=self.sent + sent, files=self.files + files)


def total(plan: Iterable[Item]) -> int:
    """Bytes that a plan moves over the line."""
    return sum(item.travels for item in plan)


def whole(digest: str, size: int, packed: int, offset: int = 0) -> Item:
    """The content without a delta, from the piece on in which `offset` lies. `packed`: bytes of all its pieces, packed.

    What part of the packed bytes lies behind an offset is not known without reading: the raw share stands for it. The last
    piece is sent even to a node that has it: a helper that was killed before it could give a complete content its name.
    """
    start = _start(size, offset)
    travels = packed if not start else packed * (size - start) // size
    return Item(digest=digest, size=size, offset=start, travels=travels)


def as_it_is(digest: str, size: int, offset: int = 0) -> Item:
    """The same for a content that is not packed on the way."""
    start = _start(size, offset)
    return Item(digest, size, start, None, size - start, True)


def _start(size: int, offset: int) -> int:
    """Where the piece begins in which `offset` lies; the last one, where that is the end."""
    return min(offset, max(size - 1, 0)) // PIECE * PIECE


def runs(plan: Plan) -> list[Plan]:
    """`plan` in runs that end where the contents themselves say so, and not where a number of bytes is reached: plans that
    differ in a few contents have all other runs in common, wherever they differ. What is made of a run is made once.
    """
    found: list[Plan] = []
    start = 0
    for end, item in enumerate(plan, 1):
        # Of all contents a share ends a run that grows with what travels, so that runs are alike in bytes.
        if crc32(item.digest.encode()) * RUN < item.travels << 32:
            found.append(plan[start:end])
            start = end
    return [*found, plan[start:]] if start < len(plan) else found


def offsets(needs: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """What several instances of a node need, as one: a beginning counts only where all of them have the same."""
    together: dict[str, int] = {}
    for need in needs:
        for digest, have in need.items():
            together[digest] = have if together.get(digest, have) == have else 0
    return together


def shares(plan: Plan, count: int) -> list[Plan]:
    """`plan` in `count` disjoint shares of about the same bytes; some may be empty. Each keeps the order of `plan`."""
    loads = [0] * count
    owner: dict[str, int] = {}
    for item in sorted(plan, key=lambda item: -item.travels):
        lightest = loads.index(min(loads))
        owner[item.digest] = lightest
        loads[lightest] += item.travels
    return [tuple(item for item in plan if owner[item.digest] == number) for number in range(count)]
