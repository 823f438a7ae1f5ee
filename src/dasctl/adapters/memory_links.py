"""Links in memory: the helper's `main` runs in a thread of this process, behind a socket pair.

Nothing is shipped, no process is started, round trips are counted, and faults strike where they are asked to.
Nodes' directories must be absolute: HOME is the same for all threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import BinaryIO, cast

from dasctl.adapters.link import SILENCE_S, Peer, Stream, StreamLink
from dasctl.adapters.streams import Fault, FaultyStream, OtherEnd, SocketStream
from dasctl.adapters.throttle import Throttle
from dasctl.core.domain import Node
from dasctl.errors import NodeError, NodeNotUsable

Main = Callable[[BinaryIO, BinaryIO], object]
_END_S = 10.0  # how long a thread may finish after its input has ended


@dataclass(slots=True, kw_only=True)
class Tally:
    """What went through the links to one node."""

    opened: int = 0
    further: int = 0
    round_trips: int = 0
    bytes_sent: int = 0


@dataclass(slots=True, kw_only=True)
class MemoryLinks:
    """ports.Links in this process. Per node, `open` raises `errors`, `faults` strike, `tallies` count. `round_trip_s` is how
    long the lines say they are; no more than `most_further` further links are to be had on each.
    """

    main: Main | None = None
    faults: Mapping[str, Fault] = field(default_factory=dict)
    errors: Mapping[str, NodeError] = field(default_factory=dict)
    greeting_s: float = SILENCE_S
    throttle: Throttle | None = None
    round_trip_s: float = 0.0
    most_further: int = 9
    tallies: dict[str, Tally] = field(default_factory=dict)

    @asynccontextmanager
    async def open(self, name: str, node: Node) -> AsyncIterator[StreamLink]:
        """A link to a thread of its own; see ports.Links.open."""
        tally = self.tallies.setdefault(name, Tally())
        if name in self.errors:
            raise self.errors[name]
        tally.opened += 1
        line = _Line(links=self, name=name, tally=tally)
        async with line.link() as link:
            yield link


@dataclass(slots=True, kw_only=True)
class _Line:
    """link.Line: each link on it has a helper of its own."""

    links: MemoryLinks
    name: str
    tally: Tally
    open: int = 0

    async def round_trip_s(self) -> float | None:
        return self.links.round_trip_s

    @asynccontextmanager
    async def link(self) -> AsyncIterator[StreamLink]:
        links, peer = self.links, Peer(name=self.name, address="in memory")
        if self.open > links.most_further:
            raise NodeNotUsable(f"{peer}: no further channel is to be had")
        self.tally.further += self.open > 0
        self.open += 1
        try:
            async with self._started(links, peer) as link:
                yield link
        finally:
            self.open -= 1

    @asynccontextmanager
    async def _started(self, links: MemoryLinks, peer: Peer) -> AsyncIterator[StreamLink]:
        stream: Stream = await _thread_started(links.main or _helper_main())
        if self.name in links.faults:
            stream = FaultyStream(stream, links.faults[self.name])
        link = StreamLink(peer, stream, greeting_s=links.greeting_s, throttle=links.throttle, line=self)
        try:
            yield link
        finally:
            self.tally.round_trips += link.round_trips
            self.tally.bytes_sent += link.bytes_sent
            await link.close()


def _helper_main() -> Main:
    return cast(Main, import_module("dasctl.remote.main").main)


async def _thread_started(main: Main) -> SocketStream:
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=_serve, args=(main, theirs), daemon=True)
    thread.start()
    return SocketStream(ours, _other_end(thread))


def _serve(main: Main, sock: socket.socket) -> None:
    with sock, sock.makefile("rb") as stdin:
        stdout = sock.makefile("wb")
        try:
            with contextlib.suppress(ConnectionError, SystemExit):
                main(stdin, stdout)
        finally:  # also after a fault of the helper: a socket that is still open would be silence, not an end
            with contextlib.suppress(OSError):  # a helper that met its reader's end has let the socket go
                stdout.close()


def _other_end(thread: threading.Thread) -> OtherEnd:
    async def ended() -> int | None:
        while thread.is_alive():  # noqa: ASYNC110 (a thread cannot set an event of the loop when it ends)
            await asyncio.sleep(0.001)
        return 0

    async def end() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await ended()

    return OtherEnd(exit_status=ended, stderr_tail=str, end=end)
