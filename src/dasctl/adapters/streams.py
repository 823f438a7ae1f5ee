"""Streams over a socket, and one that breaks on purpose: for helpers on this machine, and behind the program `ssh`.

What lives here: link.Stream over one connected socket. What must not: who sits at its other end.
"""

from __future__ import annotations

import asyncio
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
    """link.Stream over a connected socket, which it takes over. What the kernel takes at once is never copied here."""

    def __init__(self, sock: socket.socket, other: OtherEnd) -> None:
        sock.setblocking(False)
        self._sock = sock
        # For the loop, which describes a socket in words where it knows none yet.
        self._number = sock.fileno()
        self._other = other
        self._loop = asyncio.get_running_loop()
        self._rest = memoryview(b"")  # what the kernel has not taken yet
        self._broken: OSError | None = None
        self._closed = False
        self._readable: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    async def read(self, size: int) -> bytes:
        while not self._closed:
            try:
                return self._sock.recv(size)
            except (BlockingIOError, InterruptedError):
                await self._until_readable()
        return b""

    async def spoken(self) -> bool:
        """Wait for the first byte without taking it; False: the end came first."""
        while not self._closed:
            try:
                return bool(self._sock.recv(1, socket.MSG_PEEK))
            except (BlockingIOError, InterruptedError):
                await self._until_readable()
            except OSError:
                return False
        return False

    def write(self, data: bytes | memoryview) -> None:
        if self._closed or self._broken is not None or not data:
            return
        if self._rest:
            self._rest = memoryview(b"".join((self._rest, data)))  # whoever drains never comes here
            return
        self._rest = memoryview(data)
        self._push()
        if self._rest:
            self._loop.add_writer(self._number, self._pushed)

    async def drain(self) -> None:
        while self._rest and self._broken is None and not self._closed:
            self._writable = self._loop.create_future()
            await self._writable
        if self._broken is not None:
            raise ConnectionResetError(self._broken.strerror)
        if self._closed:
            raise ConnectionResetError("the stream is closed")

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._number)
            self._loop.remove_writer(self._number)
            self._sock.close()  # what was not taken yet is of no interest any more
            self._rest = memoryview(b"")
            self._wake(self._readable)
            self._wake(self._writable)
        await self._other.end()

    def stderr_tail(self) -> str:
        return self._other.stderr_tail()

    async def exit_status(self) -> int | None:
        return await self._other.exit_status()

    async def _until_readable(self) -> None:
        """Nothing is read while nobody asks: what is not taken makes the other end wait. For one who waits at a time."""
        self._readable = self._loop.create_future()
        self._loop.add_reader(self._number, self._wake, self._readable)
        try:
            await self._readable
        finally:
            self._readable = None
            if not self._closed:
                self._loop.remove_reader(self._number)

    def _pushed(self) -> None:
        self._push()
        if not self._rest:
            self._loop.remove_writer(self._number)
            self._wake(self._writable)

    def _push(self) -> None:
        try:
            while self._rest:
                self._rest = self._rest[self._sock.send(self._rest) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:  # the reader finds out what the other end said before
            self._broken, self._rest = error, memoryview(b"")

    @staticmethod
    def _wake(future: asyncio.Future[None] | None) -> None:
        if future is not None and not future.done():
            future.set_result(None)


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

    def write(self, data: bytes | memoryview) -> None:
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
