"""Contents on their way to nodes: the same immutable blocks of encoded frames for all nodes that want the same.

What lives here: making blocks from objects, keeping some of them. What must not: what is wanted (`weighing.py`), links.

    A plan is an ordered list of contents, and is cut into runs that others' plans have as well: no two nodes need quite
    the same, as each instance has its own part of domain.yaml. The blocks of a run follow from it and from the objects
    alone, so a block that is not kept any more is made again for whoever needs it: nobody waits for a slow node, and
    nothing is buffered for it. Objects are read in threads, one block ahead of each node.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

from dasctl.core.exchange import PIECE, CutOff, Piece
from dasctl.core.sending import Item, Plan, Progress, runs
from dasctl.errors import ObjectLost
from dasctl.operations.ports import Objects
from dasctl.remote import frames

BLOCK = (
    512 << 10
)  # bytes, and a piece more at most: large enough for a thread's hop, small enough for many nodes
KEPT = 32 << 20  # bytes of blocks that are kept for the nodes that come behind
KEPT_DELTAS = 32 << 20  # bytes of deltas that are kept while their blocks are cut from them
END = frames.encode({"end": True})

OnSent = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Where a block begins: at which item of the plan, and at which byte of it (of the content; of a delta's frame)."""

    item: int
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Encoded frames. `sent`: the bytes of contents among them; `files`: contents that end here; `after`: what follows."""

    data: bytes
    sent: int
    files: int
    after: _Cursor | None


class Blocks:
    """Makes the blocks of plans. `lose` is told of contents that cannot be read any more; may come from any thread."""

    def __init__(self, objects: Objects, lose: Callable[[str], None]) -> None:
        self._deltas = _Deltas(objects)
        self._objects = objects
        self._lose = lose
        self._shelves: dict[Plan, _Shelf] = {}
        self._kept: OrderedDict[tuple[int, int], Block] = OrderedDict()
        self._kept_size = 0
        self._making: dict[tuple[int, int], asyncio.Future[Block]] = {}
        self.made = 0  # blocks, for tests: what is shared is made once

    async def frames(self, plan: Plan, on_sent: OnSent = lambda progress: None) -> AsyncIterator[bytes]:
        """The frames of `plan`, without an `end`; `on_sent` is told what was handed on so far."""
        progress = Progress()
        shelves = [self._shelf(run) for run in runs(plan)]
        for shelf, following in zip_longest(shelves, shelves[1:]):
            number, more = 0, True
            while more:
                block = await self._block(shelf, number)
                number, more = number + 1, block.after is not None
                if more:
                    self._ahead(shelf, number)
                elif following is not None:
                    self._ahead(following, 0)
                if block.data:
                    yield block.data
                progress = progress.plus(block.sent, block.files)
                on_sent(progress)

    def _shelf(self, run: Plan) -> _Shelf:
        shelf = self._shelves.get(run)
        if shelf is None:
            shelf = self._shelves[run] = _Shelf(len(self._shelves), run, self._reader)
        return shelf

    def _reader(self, plan: Plan, cursor: _Cursor) -> _Reader:
        return _Reader(self._objects, self._deltas, plan, cursor, self._lose)

    async def _block(self, shelf: _Shelf, number: int) -> Block:
        block = self._kept.get((shelf.number, number))
        if block is None:
            return await asyncio.shield(self._ahead(shelf, number))
        self._kept.move_to_end((shelf.number, number))
        return block

    def _ahead(self, shelf: _Shelf, number: int) -> asyncio.Future[Block]:
        """The block, in the making or made."""
        loop, key = asyncio.get_running_loop(), (shelf.number, number)
        if key in self._kept:
            done: asyncio.Future[Block] = loop.create_future()
            done.set_result(self._kept[key])
            return done
        if key not in self._making:
            self.made += 1
            self._making[key] = loop.run_in_executor(None, shelf.make, number)
            self._making[key].add_done_callback(lambda future: self._keep(key, future))
        return self._making[key]

    def _keep(self, key: tuple[int, int], future: asyncio.Future[Block]) -> None:
        del self._making[key]
        if future.cancelled() or future.exception() is not None:
            return
        block = future.result()
        self._kept[key] = block
        self._kept_size += len(block.data)
        while self._kept_size > KEPT:
            _, dropped = self._kept.popitem(last=False)
            self._kept_size -= len(dropped.data)


class _Shelf:
    """One run: where its blocks begin, as far as that is known, and a reader that stands behind the last one.

    The reader goes through each content from its beginning to its end, so the objects can check it. Who comes later and
    finds a block gone reads that one alone.
    """

    def __init__(self, number: int, plan: Plan, reader: Callable[[Plan, _Cursor], _Reader]) -> None:
        self.number = number
        self._plan = plan
        self._reader = reader
        self._cursors = [_Cursor(0, plan[0].offset)]
        self._front = reader(plan, self._cursors[0])
        self._next = 0  # the block that the front reader makes next
        self._lock = threading.Lock()

    def make(self, number: int) -> Block:
        """The block, made anew. `number` is at most one more than that of any made before. Runs in a thread."""
        with self._lock:
            if number == self._next:
                block = self._front.block()
                self._next += 1
                if block.after is not None:
                    self._cursors.append(block.after)
                return block
            cursor = self._cursors[number]
        return self._reader(self._plan, cursor).block()


class _Deltas:
    """Deltas of contents as whole frames, the last of them kept: their blocks are cut from them one by one."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._kept: OrderedDict[tuple[str, str], tuple[int, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def frame(self, base: str, digest: str) -> tuple[int, bytes] | None:
        """(length of its header, frame); None where there is no such delta any more."""
        with self._lock:
            if (base, digest) not in self._kept:
                data = self._objects.delta(base, digest)
                if data is None:
                    return None
                frame = frames.encode({"delta": digest, "base": base}, data)
                self._kept[base, digest] = len(frame) - len(data), frame
                while len(self._kept) > 1 and self._size() > KEPT_DELTAS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end((base, digest))
            return self._kept[base, digest]

    def _size(self) -> int:
        return sum(len(frame) for _, frame in self._kept.values())


class _Reader:
    """Goes through a plan from a place on, a block at a time."""

    def __init__(
        self, objects: Objects, deltas: _Deltas, plan: Plan, cursor: _Cursor, lose: Callable[[str], None]
    ) -> None:
        self._objects = objects
        self._deltas = deltas
        self._plan = plan
        self._item, self._place = cursor.item, cursor.place
        self._lose = lose
        self._pieces: Iterator[Piece] | None = None  # of the content that is open
        self._out = _Output()

    def block(self) -> Block:
        """The next block."""
        out = self._out = _Output()
        while self._item < len(self._plan) and out.size < BLOCK:
            item = self._plan[self._item]
            if item.base is not None:
                self._part_of_delta(item, item.base)
            else:
                self._piece(item)
        more = self._item < len(self._plan)
        cut_off = more and self._plan[self._item].base is not None and self._place > 0
        return Block(
            data=CutOff(out.taken()) if cut_off else out.taken(), sent=out.sent, files=out.files,
            after=_Cursor(self._item, self._place) if more else None,
        )  # fmt: skip

    def _piece(self, item: Item) -> None:
        try:
            piece, last = self._next(item)
        except ObjectLost:
            self._lose(item.digest)
            self._out.add(frames.encode({"content": item.digest, "abort": True}))
            self._go_on()
            return
        if last and self._place == 0:
            self._out.add_small(item.digest, piece)
        else:
            header = {"content": item.digest, "z": piece.packed, "offset": self._place, "last": last}
            self._out.add(frames.encode(header, piece.data), sent=len(piece.data))
        self._place += piece.raw
        if last:
            self._out.files += 1
            self._go_on()

    def _next(self, item: Item) -> tuple[Piece, bool]:
        """The next piece, and whether it is the last one: then the object has been read to its end, and checked."""
        if self._pieces is None:
            self._pieces = iter(
                self._objects.pieces(item.digest, offset=self._place, as_they_are=item.as_it_is)
            )
        piece = next(self._pieces, None)
        last = piece is not None and self._place + piece.raw == item.size
        if (
            piece is None
            or not (last or piece.raw == PIECE)
            or (last and next(self._pieces, None) is not None)
        ):
            raise ObjectLost(f"object {item.digest}: it has another size than it should")
        return piece, last

    def _part_of_delta(self, item: Item, base: str) -> None:
        made = self._deltas.frame(base, item.digest)
        if made is None:
            if (
                self._place
            ):  # half of the frame is with the node: what followed would be read as the rest of it
                raise ObjectLost(
                    f"the delta of {item.digest} is gone while it is sent, and cannot be made anew",
                    hint="run the command again: it goes on from where the node stands",
                )
            self._go_on()  # it is asked for as a whole then
            return
        head, frame = made
        end = min(self._place + BLOCK, len(frame))
        self._out.add(frame[self._place : end], sent=max(end - head, 0) - max(self._place - head, 0))
        self._place = end
        if end == len(frame):
            self._out.files += 1
            self._go_on()

    def _go_on(self) -> None:
        self._item += 1
        self._pieces = None
        self._place = self._plan[self._item].offset if self._item < len(self._plan) else 0


class _Output:
    """Frames of one block. Small contents are gathered in one `pack` until another frame has to follow."""

    def __init__(self) -> None:
        self.size = 0
        self.sent = 0
        self.files = 0
        self._frames: list[bytes] = []
        self._rows: list[list[str | int]] = []
        self._bodies: list[bytes] = []

    def add(self, frame: bytes, *, sent: int = 0) -> None:
        self._close_pack()
        self._frames.append(frame)
        self.size += len(frame)
        self.sent += sent

    def add_small(self, digest: str, piece: Piece) -> None:
        self._rows.append([digest, piece.raw, len(piece.data), int(piece.packed)])
        self._bodies.append(piece.data)
        self.size += len(piece.data) + len(digest)
        self.sent += len(piece.data)

    def taken(self) -> bytes:
        self._close_pack()
        return b"".join(self._frames)

    def _close_pack(self) -> None:
        if self._rows:
            self._frames.append(frames.encode({"pack": self._rows}, b"".join(self._bodies)))
            self._rows, self._bodies = [], []
