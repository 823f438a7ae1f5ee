"""Streams over a socket, and one that breaks on purpose: for helpers on this machine.

What lives here: link.Stream over one connected socket. What must not: who sits at its other end.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dasctl.adapters.link import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEnd:
    """Whoever holds the other end of the socket: how to learn its end, its last words, and how to end it."""

    exit_status: Callable[[], Awaitable[int | None]]
    stderr_tail: Callable[[], str]
    end: Callable[[], Awaitable[None]]


class SocketStream:
    """link.Stream over a connected socket. `open` takes the socket over."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, other: OtherEnd) -> None:
        self._reader = reader
        self._writer = writer
        self._other = other

    @classmethod
    async def open(cls, sock: socket.socket, other: OtherEnd) -> SocketStream:
        try:
            reader, writer = await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            await other.end()
            raise
        return cls(reader, writer, other)

    async def read(self, size: int) -> bytes:
        return await self._reader.read(size)

    def write(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)

    async def drain(self) -> None:
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.transport.abort()  # what was not taken yet is of no interest any more
        try:
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        finally:
            await self._other.end()

    def stderr_tail(self) -> str:
        return self._other.stderr_tail()

    async def exit_status(self) -> int | None:
        return await self._other.exit_status()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with a stream, after how many bytes, seen from the DAS. A hang says and takes nothing."""

    cut_after_received: int | None = None
    cut_after_sent: int | None = None
    hang_after_received: int | None = None
    hang_after_sent: int | None = None
    delay_s: float = 0.0  # before each read


class FaultyStream:
    """A stream that works as `inner` does until its fault strikes."""

    def __init__(self, inner: Stream, fault: Fault) -> None:
        self._inner = inner
        self._fault = fault
        self._sent = 0
        self._received = 0
        self._struck = asyncio.Event()  # a write has met its fault; a read that waits must see it

    async def read(self, size: int) -> bytes:
        await asyncio.sleep(self._fault.delay_s)
        if self._hung():
            await asyncio.Event().wait()
        if self._cut():
            return await self._broken()
        data = await self._read_or_struck(self._allowed(size))
        self._received += len(data)
        return data

    async def _read_or_struck(self, size: int) -> bytes:
        reading = asyncio.ensure_future(self._inner.read(size))
        striking = asyncio.ensure_future(self._struck.wait())
        try:
            await asyncio.wait({reading, striking}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
        finally:
            for waiting in (reading, striking):
                waiting.cancel()
            await asyncio.gather(reading, striking, return_exceptions=True)
        if self._cut():
            return await self._broken()
        return await asyncio.Event().wait() and b""  # hung: waits for ever

    def _allowed(self, size: int) -> int:
        limits = (self._fault.cut_after_received, self._fault.hang_after_received)
        return min([size, *(limit - self._received for limit in limits if limit is not None)])

    def write(self, data: bytes) -> None:
        limits = (self._fault.cut_after_sent, self._fault.hang_after_sent)
        allowed = min([len(data), *(max(0, limit - self._sent) for limit in limits if limit is not None)])
        self._sent += allowed
        self._inner.write(data[:allowed])
        if self._cut() or self._hung():
            self._struck.set()

    async def drain(self) -> None:
        if self._hung():
            await asyncio.Event().wait()
        if self._cut():
            raise ConnectionResetError("cut on purpose")
        await self._inner.drain()

    async def close(self) -> None:
        await self._inner.close()

    def stderr_tail(self) -> str:
        return self._inner.stderr_tail()

    async def exit_status(self) -> int | None:
        return None if self._cut() else await self._inner.exit_status()

    async def _broken(self) -> bytes:
        await self._inner.close()
        raise ConnectionResetError("cut on purpose")

    def _cut(self) -> bool:
        return _reached(self._fault.cut_after_sent, self._sent) or _reached(
            self._fault.cut_after_received, self._received
        )

    def _hung(self) -> bool:
        return _reached(self._fault.hang_after_sent, self._sent) or _reached(
            self._fault.hang_after_received, self._received
        )


def _reached(limit: int | None, count: int) -> bool:
    return limit is not None and count >= limit
