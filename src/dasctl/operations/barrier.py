"""The barrier of `--together`: nobody commits before all nodes have staged; if one cannot, nobody commits.

What lives here: the decision, and the wait for it. What must not: what staging and committing are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum

from dasctl.core.domain import Node
from dasctl.core.targets import fold
from dasctl.operations.ports import Link, Links


class Decision(Enum):
    WAIT = "wait"
    COMMIT = "commit"
    GIVE_UP = "give up"


def decide(waited_for: Collection[str], failed: Collection[str]) -> Decision:
    """`waited_for`: nodes that have neither staged nor failed yet."""
    if failed:
        return Decision.GIVE_UP
    return Decision.WAIT if waited_for else Decision.COMMIT


class Barrier:
    """Nodes with their instances. What is decided once stays decided: who fails later fails alone."""

    def __init__(self, nodes: Mapping[str, Sequence[str]]) -> None:
        self._instances = {node: tuple(instances) for node, instances in nodes.items()}
        self._waited_for = set(nodes)
        self._failed: list[str] = []
        self._decided = asyncio.Event()
        self.decision = Decision.WAIT

    @property
    def culprits(self) -> str:
        """The instances that could not stage: `web[2-3]`."""
        return fold(self._failed)

    async def staged(self, node: str) -> Decision:
        """`node` has staged; wait for the others."""
        self._waited_for.discard(node)
        self._judge()
        await self._decided.wait()
        return self.decision

    def fails(self, node: str, instances: Collection[str] = ()) -> None:
        """`node` cannot stage: these of its instances, or all where none is named."""
        if self.decision is Decision.WAIT:
            self._failed += instances or self._instances.get(node, (node,))
            self._waited_for.discard(node)
            self._judge()

    def _judge(self) -> None:
        if self.decision is Decision.WAIT:
            self.decision = decide(self._waited_for, self._failed)
            if self.decision is not Decision.WAIT:
                self._decided.set()


class Watched:
    """ports.Links whose nodes fail the barrier when they cannot be reached, or break off before they have staged."""

    def __init__(self, links: Links, barrier: Barrier) -> None:
        self._links = links
        self._barrier = barrier

    def open(self, name: str, node: Node) -> AbstractAsyncContextManager[Link]:
        """See ports.Links.open."""
        return self._opened(name, node)

    @asynccontextmanager
    async def _opened(self, name: str, node: Node) -> AsyncIterator[Link]:
        try:
            async with self._links.open(name, node) as link:
                yield link
        except BaseException:
            self._barrier.fails(name)
            raise
