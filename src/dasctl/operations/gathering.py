"""Lines from many nodes on their way to one reader, as they come.

What lives here: when what has come is shown. Whoever brings lines of a log that is followed waits until they have been, so
a slow reader makes nodes wait, and fills nobody's memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dasctl.core.log_lines import Line, Said, folded
from dasctl.core.outcome import Problem

WINDOW_S = 0.1  # lines that come so close together are shown together, equal ones once
LOOK_S = 1.0  # how often it is looked whether somebody still reads, where nothing comes
FIRST_S = 1.0  # how long the first lines of one node wait for those of the others
MOST = 50_000  # lines that wait to be shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is to be shown: lines, as they came (`lines`) and with equal ones as one (`said`); and what went wrong.

    An empty one asks whether anybody reads.
    """

    lines: Sequence[Line] = ()
    said: Sequence[Said] = ()
    troubles: Sequence[tuple[str, Problem]] = ()  # whose, and what


Show = Callable[[Batch], bool]  # False: nobody reads any more. Called in a thread, never twice at a time.


@dataclass(slots=True, kw_only=True)
class Gathering:
    """Takes lines and troubles of `expected` nodes, and shows them in `order` of the instances."""

    show: Show
    order: Mapping[str, int]
    expected: int
    follow: bool
    _lines: list[Line] = field(default_factory=list)
    _troubles: list[tuple[str, Problem]] = field(default_factory=list)
    _shown: asyncio.Event = field(default_factory=asyncio.Event)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _begun: set[str] = field(default_factory=set)
    _over: bool = False

    async def take(self, node: str, lines: Sequence[Line]) -> None:
        """Take what a node said; returns when there is room for more."""
        self._begun.add(node)
        self._lines += lines
        self._woken.set()
        if lines and (self.follow or len(self._lines) > MOST):
            await self._shown.wait()

    def trouble(self, node: str, whose: str, problem: Problem) -> None:
        self._begun.add(node)
        self._troubles.append((whose, problem))
        self._woken.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._over = True
        self._woken.set()

    async def shown(self) -> bool:
        """Show all until `close`; False where nobody reads any more."""
        await self._first()
        while True:
            if (self._lines or self._troubles) and not await self._flush():
                return False
            if self._over and not (self._lines or self._troubles):
                return True
            if not await self._more():
                return False

    async def _more(self) -> bool:
        """Until something comes; False where nobody reads any more, which is looked for meanwhile."""
        while not self._woken.is_set():
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._woken.wait()
            except TimeoutError:
                if not await asyncio.to_thread(self.show, Batch()):
                    return False
        self._woken.clear()
        if not self._over:
            await asyncio.sleep(WINDOW_S)
        return True

    async def _first(self) -> None:
        """Until all nodes have begun to speak; where logs are followed, no longer than FIRST_S."""
        try:
            async with asyncio.timeout(FIRST_S if self.follow else None):
                while not self._over and len(self._lines) <= MOST and self._waits():
                    await self._woken.wait()
                    self._woken.clear()
        except TimeoutError:
            pass

    def _waits(self) -> bool:
        return len(self._begun) < self.expected or not self.follow

    async def _flush(self) -> bool:
        lines, self._lines = self._lines, []
        troubles, self._troubles = self._troubles, []
        batch = Batch(lines=lines, said=folded(lines, self.order), troubles=troubles)
        read = await asyncio.to_thread(self.show, batch)
        self._shown.set()
        self._shown = asyncio.Event()
        return read
