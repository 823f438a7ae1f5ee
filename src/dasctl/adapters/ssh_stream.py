"""A session of asyncssh as link.Stream.

What lives here: bytes and their back-pressure. What must not: connecting, authentication, messages.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from dasctl.adapters.link import STDERR_TAIL
from dasctl.adapters.ssh_packets import quicken

if TYPE_CHECKING:
    import asyncssh

_HIGH = 4 << 20  # bytes unread before the far side is held
_LOW = 1 << 20
WINDOW = 8 << 20  # bytes on their way to us at most; what we may send is the far side's choice
PACKET = 32 << 10
_SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "SEGV": 11, "PIPE": 13}
_UNKNOWN_SIGNAL = 15


class SessionStream:
    """link.Stream over one channel, and asyncssh's session of it (its callbacks are called by name)."""

    def __init__(self, *, far: bool = False) -> None:
        self._far = far
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._chunks = bytearray()
        self._stderr = bytearray()
        self._ended = False
        self._error: Exception | None = None
        self._held = False
        self._status: int | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = asyncio.Event()

    # link.Stream.

    async def read(self, size: int) -> bytes:
        while not self._chunks:
            if self._error is not None:
                raise ConnectionResetError(str(self._error) or type(self._error).__name__)
            if self._ended:
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = bytes(self._chunks[:size])
        del self._chunks[:size]
        if self._held and len(self._chunks) < _LOW and self._channel is not None:
            self._held = False
            self._channel.resume_reading()
        return data

    def write(self, data: bytes | memoryview) -> None:
        if self._channel is not None and data and not self._closed.is_set():
            # Closed by the far side a moment ago: the reader finds out.
            with contextlib.suppress(OSError):
                self._channel.write(data)

    async def drain(self) -> None:
        await self._writable.wait()
        if self._closed.is_set():
            raise ConnectionResetError("the session is closed")

    async def close(self) -> None:
        if self._channel is not None:
            self._channel.abort()

    def stderr_tail(self) -> str:
        return bytes(self._stderr).decode("utf-8", "replace")

    async def exit_status(self) -> int | None:
        await self._closed.wait()
        return self._status

    # asyncssh.SSHClientSession.

    def connection_made(self, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = channel
        quicken(channel, far=self._far)

    def session_started(self) -> None:
        pass

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype is not None:
            self._stderr += data
            del self._stderr[:-STDERR_TAIL]
            return
        self._chunks += data
        self._readable.set()
        if len(self._chunks) > _HIGH and not self._held and self._channel is not None:
            self._held = True
            self._channel.pause_reading()

    def eof_received(self) -> bool:
        self._ended = True
        self._readable.set()
        return True  # stay open: the exit status may still come

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def exit_status_received(self, status: int) -> None:
        self._status = status

    def exit_signal_received(self, signal: str, core_dumped: bool, message: str, lang: str) -> None:
        self._status = -_SIGNALS.get(signal, _UNKNOWN_SIGNAL)

    def xon_xoff_requested(self, client_can_do: bool) -> None:
        pass

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._error = error
        self._closed.set()
        self._readable.set()
        self._writable.set()
