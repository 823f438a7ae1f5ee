"""Blocks of contents: made once for all who want the same, made again for who comes late, never more than fit."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Iterator
from hashlib import sha256

import pytest

from dasctl.adapters.memory_objects import MemoryObjects
from dasctl.adapters.memory_repository import MemoryRepository
from dasctl.core import sending
from dasctl.core.exchange import PIECE, Piece
from dasctl.core.sending import Plan, Progress, total
from dasctl.errors import ObjectLost
from dasctl.operations import contents
from dasctl.operations.contents import Blocks
from dasctl.operations.weighing import Order, Weights
from dasctl.remote import frames

CHANCE = random.Random(7)
SMALL = [b"small %d " % number * (number % 50) for number in range(500)]
NOISE = [CHANCE.randbytes(size) for size in (1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 17)]
TEXT = b"a line of text\n" * 100_000


def sha(data: bytes) -> str:
    return sha256(data).hexdigest()


class Counted(MemoryObjects):
    """Objects that count how often each was opened, and can be told to fail."""

    def __init__(self) -> None:
        super().__init__(MemoryRepository())
        self.opened: list[str] = []
        self.broken: dict[str, int] = {}  # after how many pieces
        self.deltas: dict[tuple[str, str], bytes] = {}

    def pieces(self, digest: str, *, offset: int = 0, as_they_are: bool = False) -> Iterator[Piece]:
        self.opened.append(digest)
        for number, piece in enumerate(super().pieces(digest, offset=offset, as_they_are=as_they_are)):
            if number == self.broken.get(digest):
                raise ObjectLost(digest)
            yield piece

    def delta(self, base: str, digest: str) -> bytes | None:
        return self.deltas.get((base, digest))


@pytest.fixture
def objects() -> Counted:
    made = Counted()
    made.kept.update({sha(data): data for data in [*SMALL, *NOISE, TEXT, b""]})
    return made


def planned(objects: Counted, *data: bytes, offsets: dict[str, int] | None = None) -> Plan:
    order = Order(contents={sha(item): len(item) for item in data}, offsets=offsets or {})
    return Weights(objects, {}).plan(order)


def blocks_of(objects: Counted, lost: list[str] | None = None) -> Blocks:
    return Blocks(objects, (lost if lost is not None else []).append)


async def sent(blocks: Blocks, plan: Plan, told: list[Progress] | None = None) -> list[bytes]:
    return [block async for block in blocks.frames(plan, (told if told is not None else []).append)]


def received(data: list[bytes]) -> dict[str, bytes]:
    """What a node makes of the frames; a content that was taken back is absent."""
    found: dict[str, bytes] = {}
    for header, body in frames.Decoder().feed(b"".join(data)):
        if "pack" in header:
            assert len(body) <= 1 << 20
            at = 0
            for digest, raw, packed, z in header["pack"]:
                piece = body[at : at + packed]
                at += packed
                found[digest] = zlib.decompress(piece) if z else piece
                assert len(found[digest]) == raw
            assert at == len(body)
        elif header.get("abort"):
            found.pop(header["content"], None)
        else:
            before = found.setdefault(header["content"], b"\0" * header["offset"])
            assert len(before) == header["offset"]
            found[header["content"]] = before + (zlib.decompress(body) if header["z"] else body)
    return found


def test_all_sizes_arrive(objects):
    data = [*SMALL, *NOISE, TEXT, b""]
    plan, told = planned(objects, *data), []
    got = received(asyncio.run(sent(blocks_of(objects), plan, told)))
    assert got == {sha(item): item for item in data}
    assert (told[-1].sent, told[-1].files) == (total(plan), len(plan))
    assert told == sorted(told, key=lambda progress: progress.sent)


def test_small_ones_travel_together(objects):
    data = asyncio.run(sent(blocks_of(objects), planned(objects, *SMALL)))
    headers = [header for header, _ in frames.Decoder().feed(b"".join(data))]
    assert [list(header) for header in headers] == [["pack"]]


def test_nothing_is_no_block(objects):
    assert asyncio.run(sent(blocks_of(objects), ())) == []


def test_a_content_goes_on_where_the_node_stopped(objects):
    large = NOISE[-1]
    plan = planned(objects, large, offsets={sha(large): 2 * PIECE + 5})
    assert total(plan) == PIECE + 17
    got = received(asyncio.run(sent(blocks_of(objects), plan)))
    assert got == {sha(large): b"\0" * 2 * PIECE + large[2 * PIECE :]}


def test_a_content_of_whole_pieces_that_the_node_has_to_its_end_is_not_lost(objects):
    large, lost = NOISE[-1][: 2 * PIECE], []
    objects.kept[sha(large)] = large
    plan = planned(objects, large, offsets={sha(large): len(large)})
    got = received(asyncio.run(sent(blocks_of(objects, lost), plan)))
    assert lost == []
    assert got == {sha(large): b"\0" * PIECE + large[PIECE:]}


def test_many_nodes_share_what_was_made_once(objects):
    blocks, plan = blocks_of(objects), planned(objects, *SMALL, *NOISE, TEXT)
    objects.opened.clear()

    async def all_nodes() -> list[list[bytes]]:
        return await asyncio.gather(*(sent(blocks, plan) for _ in range(8)))

    nodes = asyncio.run(all_nodes())
    assert all(node == nodes[0] for node in nodes)
    assert blocks.made == len(nodes[0])
    assert len(objects.opened) == len(plan)
    assert all(one is other for node in nodes for one, other in zip(node, nodes[0], strict=True))


def test_nodes_that_need_something_of_their_own_besides_share_all_the_rest(objects, monkeypatch):
    monkeypatch.setattr(sending, "RUN", 2 << 10)
    blocks, data = blocks_of(objects), (*SMALL, *NOISE, TEXT)
    own = [f"of instance {number}".encode() for number in range(8)]
    objects.kept.update({sha(item): item for item in own})
    plans = [planned(objects, item, *data) for item in own]
    objects.opened.clear()

    async def all_nodes() -> list[list[bytes]]:
        return await asyncio.gather(*(sent(blocks, plan) for plan in plans))

    for item, node in zip(own, asyncio.run(all_nodes()), strict=True):
        assert received(node) == {sha(content): content for content in (item, *data)}
    assert len(objects.opened) < 2 * len(data)


def test_a_slow_node_holds_nobody_up_and_gets_everything(objects, monkeypatch):
    monkeypatch.setattr(contents, "KEPT", 600 << 10)  # one block, so that all it needs is gone when it comes
    blocks, plan = blocks_of(objects), planned(objects, *NOISE, *SMALL, TEXT)

    async def race() -> tuple[list[bytes], list[bytes]]:
        slow = blocks.frames(plan)
        first = [await anext(slow)]
        fast = await sent(blocks, plan)
        return fast, first + [block async for block in slow]

    fast, slow = asyncio.run(race())
    assert len(fast) > 2
    assert slow == fast
    assert blocks.made > len(fast)


def test_what_is_kept_is_bounded(objects, monkeypatch):
    monkeypatch.setattr(contents, "KEPT", 1 << 20)
    blocks = blocks_of(objects)
    asyncio.run(sent(blocks, planned(objects, *NOISE)))
    assert 0 < sum(len(block.data) for block in blocks._kept.values()) <= 1 << 20
    assert blocks._kept_size == sum(len(block.data) for block in blocks._kept.values())


@pytest.mark.parametrize("after", [0, 1, 3])
def test_one_that_is_lost_is_taken_back_and_the_others_arrive(objects, after):
    large, lost = NOISE[-1], []
    plan = planned(objects, SMALL[1], large, SMALL[2])
    objects.broken[sha(large)] = after
    got = received(asyncio.run(sent(blocks_of(objects, lost), plan)))
    assert got == {sha(data): data for data in SMALL[1:3]}
    assert lost == [sha(large)]


def test_an_object_of_another_size_is_lost(objects):
    large, lost = NOISE[-1], []
    plan = planned(objects, large)

    class Longer(Counted):
        def pieces(self, digest: str, *, offset: int = 0, as_they_are: bool = False) -> Iterator[Piece]:
            yield from objects.pieces(digest, offset=offset, as_they_are=as_they_are)
            yield Piece(raw=1, data=b"x", packed=False)

    assert received(asyncio.run(sent(blocks_of(Longer(), lost), plan))) == {}
    assert lost == [sha(large)]


def test_a_large_delta_travels_in_blocks_and_as_one_frame(objects):
    delta = CHANCE.randbytes(3 << 20)
    objects.deltas["b" * 64, sha(TEXT)] = delta
    blocks, told = blocks_of(objects), []
    (item,) = planned(objects, TEXT)
    plan = (type(item)(digest=item.digest, size=item.size, base="b" * 64, travels=len(delta)),)
    data = asyncio.run(sent(blocks, plan, told))
    assert len(data) > 3
    assert frames.Decoder().feed(b"".join(data)) == [({"delta": sha(TEXT), "base": "b" * 64}, delta)]
    assert (told[-1].sent, told[-1].files) == (len(delta), 1)


def test_a_delta_is_chosen_where_it_is_smaller(objects):
    large, base = NOISE[-1], "b" * 64
    order = Order(contents={sha(large): len(large)}, ancestors={sha(large): base})
    for delta, chosen in [(None, None), (b"x" * len(large), None), (b"x" * 100, base)]:
        objects.deltas = {} if delta is None else {(base, sha(large)): delta}
        (item,) = Weights(objects, {}).plan(order)
        assert item.base == chosen
        assert item.travels == (100 if chosen else len(large))


def test_a_delta_that_is_gone_is_left_out(objects):
    (item,) = planned(objects, TEXT)
    plan = (
        type(item)(digest=item.digest, size=item.size, base="b" * 64, travels=5),
        *planned(objects, SMALL[3]),
    )
    assert received(asyncio.run(sent(blocks_of(objects), plan))) == {sha(SMALL[3]): SMALL[3]}


def test_a_delta_that_goes_in_the_middle_ends_the_stream_there(objects):
    """Whatever followed would be read as the rest of its frame."""
    delta = CHANCE.randbytes(4 << 20)
    objects.deltas["b" * 64, sha(TEXT)] = delta
    blocks = blocks_of(objects)
    (item,) = planned(objects, TEXT)
    plan = (type(item)(digest=item.digest, size=item.size, base="b" * 64, travels=len(delta)),)

    async def lose_it() -> None:
        async for _ in blocks.frames(plan):
            objects.deltas.clear()
            blocks._deltas._kept.clear()

    with pytest.raises(ObjectLost, match="while it is sent"):
        asyncio.run(lose_it())
