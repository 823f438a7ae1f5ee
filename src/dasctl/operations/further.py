"""Several channels to one node: on a long line one channel moves no more than its window in a round trip.

What lives here: when that is worth it, and the way of the shares. What must not: how a channel is opened (`ports.Link`).

    The first channel's request is open; it carries its own share while the others stage theirs, and ends when they have.
    What another channel could not carry goes through the first one in the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from dasctl.core import requests, sending
from dasctl.core.lines import is_short
from dasctl.core.sending import Plan, Progress
from dasctl.errors import DasctlError
from dasctl.operations.contents import END, OnSent
from dasctl.remote import words

if TYPE_CHECKING:
    from dasctl.operations.conversation import Conversation, Course

WORTH = 8 << 20  # bytes to send: below, opening costs more than it brings
CHANNELS = 4  # besides the first one; sshd's MaxSessions is 10


async def frames(
    talk: Conversation, courses: Sequence[Course], plan: Plan, on_sent: OnSent
) -> AsyncIterator[bytes]:
    """The frames of `plan` for the first channel; others are opened for their shares where that helps."""
    if not await _is_worth_it(talk, plan):
        async for block in talk.run.streams.frames(plan, on_sent):
            yield block
        return
    own, *others = sending.shares(plan, 1 + CHANNELS)
    told = _Told(on_sent, 1 + CHANNELS)
    carried = [
        asyncio.ensure_future(_carried(talk, courses, share, told.of(number)))
        for number, share in enumerate(others, 1)
        if share
    ]
    try:
        async for block in talk.run.streams.frames(own, told.of(0)):
            yield block
        left = [item for rest in await asyncio.gather(*carried) for item in rest]
        async for block in talk.run.streams.frames(tuple(left)):
            yield block
    finally:
        for task in carried:
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)


async def _is_worth_it(talk: Conversation, plan: Plan) -> bool:
    if sending.total(plan) < WORTH:
        return False
    return not is_short(await talk.link.measure())


async def _carried(talk: Conversation, courses: Sequence[Course], share: Plan, on_sent: OnSent) -> Plan:
    """Stage `share` through a channel of its own; what could not be staged."""
    run = talk.run
    left = [item for item in share if item.base is not None]  # a channel stages whole contents only
    whole = tuple(item for item in share if item.base is None)
    try:
        async with talk.link.further() as link:
            for course in courses:
                own = tuple(item for item in whole if item.digest in course.needs)
                whole = tuple(item for item in whole if item.digest not in course.needs)
                if own:
                    header = requests.envelope(
                        words.STAGE, run.now.domain, talk.node, run.now.revision.epoch,
                        instance=course.want.slice.instance,
                        contents=[[item.digest, item.size] for item in own],
                    )  # fmt: skip
                    reply = await link.ask(
                        header, then=_ended(run.streams.frames(own, on_sent)), silence_s=run.ctx.patience_s
                    )
                    staged = set(reply.header.get("staged") or ())
                    left += [item for item in own if item.digest not in staged]
    except DasctlError:  # MaxSessions, MaxStartups, a channel that broke: the first one carries it
        return share
    return (*left, *whole)


async def _ended(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for block in blocks:
        yield block
    yield END


class _Told:
    """Adds up what all channels have sent."""

    def __init__(self, on_sent: OnSent, channels: int) -> None:
        self._on_sent = on_sent
        self._each = [Progress()] * channels

    def of(self, number: int) -> OnSent:
        """What channel `number` tells."""

        def on_sent(progress: Progress) -> None:
            self._each[number] = progress
            self._on_sent(
                Progress(sent=sum(p.sent for p in self._each), files=sum(p.files for p in self._each))
            )

        return on_sent
