"""Links under a common rate: what really went out, how it was shared, and that waiting for leave is no silence.

What is measured is bounded closely on one side only: too fast is never right, late a busy machine may be.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import BinaryIO

import pytest

from dasctl.adapters.link import StreamLink
from dasctl.adapters.local import LocalLinks
from dasctl.adapters.memory_links import MemoryLinks
from dasctl.adapters.streams import Fault
from dasctl.adapters.throttle import LEAST_PIECE, MOST_PIECE, Throttle
from dasctl.core.domain import Node
from dasctl.core.rates import BURST_S
from dasctl.errors import NodeTimeout
from dasctl.remote import frames
from tests.contracts.shipping import standin_payload
from tests.contracts.standin import main as standin_main

HERE = Node(host="here")
FRAME = b"z" * 20_000


async def contents(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield frames.encode({"content": "x"}, FRAME)
    yield frames.encode({"end": True})


def test_pieces_are_small_enough_for_a_slow_line_and_large_enough_for_a_fast_one() -> None:
    assert Throttle(1024.0).piece == LEAST_PIECE
    assert Throttle(200_000.0).piece == 10_000
    assert Throttle(1e9).piece == MOST_PIECE


async def test_all_links_together_keep_the_rate_and_share_it() -> None:
    rate, count = 200_000.0, 10
    links = MemoryLinks(main=standin_main, throttle=Throttle(rate))
    opened: dict[str, StreamLink] = {}
    snapshots: list[dict[str, int]] = []  # when the first link has sent a quarter, and three quarters

    async def noted(link: StreamLink) -> AsyncIterator[bytes]:
        async for frame in contents(count):
            yield frame
            if link is opened["n1"] and link.bytes_sent > count * len(FRAME) * (1 + 2 * len(snapshots)) / 4:
                snapshots.append({name: other.bytes_sent for name, other in opened.items()})

    async def visit(name: str) -> None:
        async with links.open(name, HERE) as link:
            opened[name] = link
            reply = await link.ask({"op": "drain"}, then=noted(link))
            assert reply.header["received"] == count * len(FRAME)

    began = time.monotonic()
    await asyncio.gather(*(visit(name) for name in ("n1", "n2", "n3", "n4")))
    seconds = time.monotonic() - began
    total = sum(tally.bytes_sent for tally in links.tallies.values())
    assert total > 4 * count * len(FRAME)
    assert seconds >= total / rate - BURST_S - 0.1
    assert seconds < 3 * total / rate + 5
    early, late = snapshots[:2]
    shares = [late[name] - early[name] for name in ("n1", "n2", "n3", "n4")]
    assert max(shares) - min(shares) <= 2 * len(FRAME), shares


async def test_a_node_that_takes_nothing_leaves_the_whole_rate_to_the_others() -> None:
    over = threading.Event()

    def deaf_or_not(stdin: BinaryIO, stdout: BinaryIO) -> None:
        if next(turns) == "deaf":
            over.wait(60)
        else:
            standin_main(stdin, stdout)

    turns = iter(("deaf", "well"))
    links = MemoryLinks(main=deaf_or_not, throttle=Throttle(2_000_000.0))
    async with links.open("n1", HERE) as deaf:
        stuck = asyncio.create_task(deaf.ask({"op": "drain"}, then=contents(1000), silence_s=30))
        while deaf.bytes_sent < 50_000:  # noqa: ASYNC110 (a link tells nobody what it has sent)
            await asyncio.sleep(0.01)
        async with links.open("n2", HERE) as well:
            await asyncio.wait_for(well.ask({"op": "drain"}, then=contents(50)), 25)
        assert not stuck.done()
        over.set()
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)


async def test_a_wait_for_leave_is_not_silence() -> None:
    """Ten links at 40 KB/s: each waits longer for its turn than it may be silent; so does the helper that is shipped."""
    links = MemoryLinks(main=standin_main, throttle=Throttle(40_000.0), greeting_s=0.15)

    async def visit(name: str) -> None:
        async with links.open(name, HERE) as link:
            link.begin(b"")
            await link.ask({"op": "ping"}, b"y" * 12_000, silence_s=0.15)

    await asyncio.gather(*(visit(f"n{number}") for number in range(10)))


async def test_silence_is_still_found_out_under_a_rate() -> None:
    links = MemoryLinks(
        main=standin_main, throttle=Throttle(100_000.0), faults={"n1": Fault(hang_after_sent=20_000)}
    )
    async with links.open("n1", HERE) as link:
        with pytest.raises(NodeTimeout, match="node n1"):
            await link.ask({"op": "drain"}, then=contents(3), silence_s=0.3)


async def test_the_helper_that_is_shipped_counts() -> None:
    payload = standin_payload()
    links = LocalLinks(payload=payload, throttle=Throttle(len(payload) / 1.5))
    began = time.monotonic()
    async with links.open("n1", HERE) as link:
        assert link.bytes_sent == 0
        await link.ask({"op": "ping"}, silence_s=0.3)
        assert link.bytes_sent > len(payload)
    assert time.monotonic() - began >= 1.5 - BURST_S - 0.1
