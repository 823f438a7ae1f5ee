"""Links that count how many of them are open at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from dasctl.core.domain import Node
from dasctl.operations.ports import Link, Links


@dataclass(slots=True, kw_only=True)
class Counted:
    """ports.Links that are `links`. `most`: how many were open, `most_opening`: how many were on their way, at a time."""

    links: Links
    open_now: int = 0
    opening: int = 0
    most: int = 0
    most_opening: int = 0

    @asynccontextmanager
    async def open(self, name: str, node: Node) -> AsyncIterator[Link]:
        self.opening += 1
        self.most_opening = max(self.most_opening, self.opening)
        try:
            await asyncio.sleep(0.05)  # as a login takes its time
            async with self.links.open(name, node) as link:
                self.opening -= 1
                self.open_now += 1
                self.most = max(self.most, self.open_now)
                try:
                    yield link
                finally:
                    self.open_now -= 1
                    self.opening += 1
        finally:
            self.opening -= 1
