"""The channel between a member and the DAS, seen from the DAS: frames on standard input and output.

What lives here: bytes, frames, time limits, and the relay to a helper that the member starts on its side. What must not:
what is asked and answered (`operations/serve_members.py`). Whatever a member sends is taken for hostile: sizes are
limited, and every wait has an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from dasctl.adapters import bootstrap
from dasctl.adapters.link import STDERR_TAIL, Peer, Stream, StreamLink
from dasctl.core.domain import Node
from dasctl.errors import LinkLost, NodeTimeout, NodeUnreachable, OperationFailed, ProtocolError
from dasctl.remote import frames

MARKER = b"DASCTL-MEMBERS-1"
LARGEST_BODY = 1 << 20  # bytes of one frame, from either side
LONGEST_HEADER = 1 << 20  # bytes of one frame's header
MAX_NOISE = 64 << 10  # bytes that a login script may print before the DAS speaks
IDLE_S = 120.0  # how long the other end may take to ask, or to take what was sent
GRACE_S = 10.0  # how long the member's helper may take to end
RELAY_S = 300.0  # how long a conversation with a helper may last, and …
RELAY_BYTES_S = (
    32 << 10
)  # … how many bytes must have been taken for each second more: it holds the domain's lock
_PIECE = 64 << 10
_READ = 256 << 10

Header = dict[str, Any]


class FrameChannel:
    """Frames over a stream, for either end. `peer` is how messages name the other one."""

    def __init__(self, stream: Stream, peer: str, *, marker: bytes = MARKER) -> None:
        self.stream = stream
        self._peer = peer
        self._mark = b"\n" + marker + b"\n"
        self._decoder = frames.Decoder(LARGEST_BODY, LONGEST_HEADER)
        self._frames: deque[tuple[Header, bytes]] = deque()
        self._noise: bytearray | None = None

    def expect_marker(self) -> None:
        """The other end speaks first, behind the marker; what comes before it is noise."""
        self._noise = bytearray(b"\n")

    @property
    def noise(self) -> str:
        """What came instead of the marker, so far."""
        return "" if self._noise is None else bytes(self._noise).decode("utf-8", "replace").strip()

    async def receive(self, limit_s: float) -> tuple[Header, bytes] | None:
        """The next frame; None where the stream ended between two frames. May be cancelled without losing any."""
        try:
            async with asyncio.timeout(limit_s):
                while not self._frames:
                    data = await self.stream.read(_READ)
                    if not data:
                        self._check_end()
                        return None
                    self._take(data)
        except TimeoutError as error:
            raise NodeTimeout(f"{self._peer} was silent for {limit_s:g} s") from error
        except OSError as error:
            raise LinkLost(f"the connection to {self._peer} broke: {error}") from error
        except frames.FrameError as error:
            raise ProtocolError(f"{self._peer} sent {error}") from error
        return self._frames.popleft()

    def _check_end(self) -> None:
        if self._decoder.pending() or self._noise is not None:
            raise LinkLost(f"the connection to {self._peer} was closed in the middle")

    def _take(self, data: bytes) -> None:
        if self._noise is not None:
            searched = max(0, len(self._noise) - len(self._mark))
            self._noise += data
            at = self._noise.find(self._mark, searched)
            if at < 0:
                if len(self._noise) > MAX_NOISE:
                    raise ProtocolError(
                        f"{self._peer} printed more than {MAX_NOISE >> 10} KiB, none of it ours"
                    )
                return
            data, self._noise = bytes(self._noise[at + len(self._mark) :]), None
        self._frames.extend(self._decoder.feed(data))

    def write(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        self.stream.write(frames.encode(dict(header), body))

    async def drain(self, limit_s: float = IDLE_S) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await self.stream.drain()
        except TimeoutError as error:
            raise NodeTimeout(f"{self._peer} took nothing for {limit_s:g} s") from error
        except OSError as error:
            raise LinkLost(f"the connection to {self._peer} broke: {error}") from error

    async def send(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        self.write(header, body)
        await self.drain()


class ServedChannel:
    """ports.MemberChannel over a stream whose other end is a member."""

    def __init__(self, stream: Stream) -> None:
        self._channel = FrameChannel(stream, "the member")

    async def greet(self, facts: Mapping[str, Any]) -> None:
        self._channel.stream.write(b"\n" + MARKER + b"\n")
        await self._channel.send({"greeting": 1, **facts})

    async def receive(self) -> Header | None:
        frame = await self._channel.receive(IDLE_S)
        return None if frame is None else frame[0]

    async def send(self, header: Mapping[str, Any]) -> None:
        await self._channel.send(header)

    async def send_frames(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            self._channel.stream.write(data[start : start + _PIECE])
            await self._channel.drain()

    def links(self, node: str) -> RelayedLinks:
        return RelayedLinks(self._channel, node)


class RelayedLinks:
    """ports.Links to the one helper that a member starts on its side."""

    def __init__(self, channel: FrameChannel, node: str) -> None:
        self._channel = channel
        self._node = node

    @asynccontextmanager
    async def open(self, name: str, node: Node) -> AsyncIterator[StreamLink]:
        """See ports.Links.open; no other node than the member's own is reached."""
        if name != self._node:
            raise NodeUnreachable(f"node {name} is not the member that asks")
        stream = RelayedStream(self._channel)
        link = StreamLink(Peer(name=name, address="through its own connection"), stream)
        self._channel.write({"helper": "open"})
        link.begin(bootstrap.payload())
        try:
            yield link
        finally:
            await link.close()


class RelayedStream:
    """link.Stream of a helper behind a channel: `{"helper": true}` frames are its bytes, in both directions."""

    def __init__(self, channel: FrameChannel) -> None:
        self._channel = channel
        self._chunks = bytearray()
        self._stderr = ""
        self._status: int | None = None
        self._ended = False
        self._closed = False
        self._sent = 0
        self._began = asyncio.get_running_loop().time()

    async def read(self, size: int) -> bytes:
        while not self._chunks and not self._ended:
            await self._hear(self._left())
        data = bytes(self._chunks[:size])
        del self._chunks[:size]
        return data

    def write(self, data: bytes | memoryview) -> None:
        if self._ended or self._closed:
            return
        self._sent += len(data)
        for start in range(0, len(data), _PIECE):
            self._channel.write({"helper": True}, bytes(data[start : start + _PIECE]))

    async def drain(self) -> None:
        if not self._closed:
            await self._channel.drain(self._left())

    async def close(self) -> None:
        """Let the helper end; what it says meanwhile is of no interest any more."""
        if self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(GRACE_S):
                if not self._ended:
                    self._channel.write({"helper": "close"})
                    await self._channel.drain(GRACE_S)
                while not self._ended:
                    await self._hear(GRACE_S)
                    self._chunks.clear()
        except (TimeoutError, LinkLost, NodeTimeout, ProtocolError):
            self._ended = True  # the next use of the channel finds out

    def stderr_tail(self) -> str:
        return self._stderr

    async def exit_status(self) -> int | None:
        while not self._ended:
            await self._hear(GRACE_S)
        return self._status

    def _left(self) -> float:
        """Seconds that this conversation may still last."""
        spent = asyncio.get_running_loop().time() - self._began
        left = RELAY_S + self._sent / RELAY_BYTES_S - spent
        if left <= 0:
            raise NodeTimeout("the member takes too long; the domain cannot wait for it")
        return left

    async def _hear(self, limit_s: float) -> None:
        frame = await self._channel.receive(limit_s)
        if frame is None:
            self._ended = True
            return
        header, body = frame
        match header.get("helper"):
            case True:
                self._chunks += body
            case "end":
                self._ended = True
                status, tail = header.get("status"), header.get("stderr")
                self._status = status if type(status) is int else None
                self._stderr = tail[-STDERR_TAIL:] if isinstance(tail, str) else ""
            case _:
                raise ProtocolError("the member sent something else in the middle of a helper's words")


# Standard input and output.


class PipeStream:
    """link.Stream over two descriptors: pipes, sockets or terminals. Takes them over."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: asyncio.BaseTransport
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._source = source

    @classmethod
    async def open(cls, stdin: int, stdout: int) -> PipeStream:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ)
        try:
            source, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(stdin, "rb", buffering=0)
            )
            sink, protocol = await loop.connect_write_pipe(
                asyncio.streams.FlowControlMixin, os.fdopen(stdout, "wb", buffering=0)
            )
        except (ValueError, OSError) as error:
            raise OperationFailed(
                "a member is answered on pipes, not on files",
                hint="serve-members is a forced command for authorized_keys: see dasctl member-key",
            ) from error
        return cls(reader, asyncio.StreamWriter(sink, protocol, None, loop), source)

    async def read(self, size: int) -> bytes:
        return await self._reader.read(size)

    def write(self, data: bytes | memoryview) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)

    async def drain(self) -> None:
        await self._writer.drain()

    async def close(self) -> None:
        """Let what was written go out, for a while."""
        sink = self._writer.transport
        sink.set_write_buffer_limits(high=0)  # so that draining means: all of it
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await self._writer.drain()
        sink.abort()
        self._source.close()
        await asyncio.sleep(0)  # lets the transports close their files

    def stderr_tail(self) -> str:
        return ""

    async def exit_status(self) -> int | None:
        return None


@asynccontextmanager
async def standard_channel(*, restricted: bool) -> AsyncIterator[ServedChannel]:
    """The member at this process's standard input and output, to which nothing else can be printed from now on.

    `restricted`: neither to standard error, which the member sees as well.
    """
    stdin, stdout = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere if restricted else 2, 1)
    if restricted:
        os.dup2(nowhere, 2)
    os.close(nowhere)
    stream = await PipeStream.open(stdin, stdout)
    try:
        yield ServedChannel(stream)
    finally:
        await stream.close()
