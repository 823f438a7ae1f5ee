"""A link over any stream of bytes: the greeting behind its marker, requests, events, replies, failures.

What lives here: the conversation of docs/protocol.md, seen from the DAS. What must not: SSH, processes, the
helper's own logic. Errors of the stream (OSError, EOF) become errors of `dasctl.errors` here, with the node's
name.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dasctl.core.exchange import CutOff, Reply
from dasctl.errors import LinkLost, NodeError, NodeNotUsable, NodeTimeout, ProtocolError
from dasctl.remote import frames
from dasctl.remote.words import MARKER, MINIMUM_PYTHON, PROTOCOL

if TYPE_CHECKING:
    from dasctl.adapters.throttle import Throttle

SILENCE_S = 60.0  # a link that neither says nor takes anything for so long counts as gone; helpers beat
MAX_REPLY = 1 << 24  # bytes of a reply's body: the helper's have none, and a node must not fill our memory
MAX_WISHES = 64  # times that a helper may ask for modules: it has fewer
MAX_NOISE = 64 << 10  # bytes that a login script may print before the helper speaks
STDERR_TAIL = 4 << 10  # bytes of standard error that are kept for messages
_PIECE = 64 << 10  # bytes written between two looks at the far side's appetite
_READ = 256 << 10  # bytes asked for at once
_TAIL_LINES = 5  # lines of noise or standard error in a message
_NOT_FOUND = 127  # the exit status of a shell that has not found a command
_LAST_WORDS_S = 0.5  # how long the exit status may lag behind the end of the output

Header = dict[str, Any]


class Stream(Protocol):
    """A session in which COMMAND runs: its standard input, output and error. Bytes in order, nothing else.

    `read` gives b"" at the end, also when the session was cut; it may be cancelled without losing bytes.
    `drain` returns as soon as the stream takes more. Both raise OSError when the session broke; `write` never raises.
    `close` may be called twice and does not wait for a far side that does not answer.
    """

    async def read(self, size: int) -> bytes: ...

    def write(self, data: bytes | memoryview) -> None: ...

    async def drain(self) -> None: ...

    async def close(self) -> None: ...

    def stderr_tail(self) -> str:
        """The last lines of standard error, at most STDERR_TAIL bytes."""

    async def exit_status(self) -> int | None:
        """The status with which COMMAND ended (negative: a signal); None: not known, the session was cut."""


class Line(Protocol):
    """The connection below a link: how long it is, and further links on it."""

    async def round_trip_s(self) -> float | None:
        """See ports.Link.measure."""

    def link(self) -> AbstractAsyncContextManager[StreamLink]:
        """See ports.Link.further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """How messages name the other end."""

    name: str
    address: str

    def __str__(self) -> str:
        return f"node {self.name} ({self.address})"


def no_answer(peer: Peer, timeout_s: float) -> NodeTimeout:
    """Nobody was there to log in to, within the time limit of so many seconds."""
    return NodeTimeout(
        f"{peer}: no answer within {timeout_s:g} s", hint="is it up, and does a firewall let this machine in?"
    )


class Shipping(Protocol):
    """The helper in pieces, for one node; see docs/protocol.md, `modules`."""

    def opening(self) -> bytes:
        """What goes first."""

    def ahead_of(self, header: Header) -> bytes:
        """The frame that must stand before this request; empty where it needs nothing new."""

    def answer(self, wanted: object) -> bytes:
        """The frame with the modules that the node asks for, whatever it says."""


class StreamLink:
    """ports.Link over a Stream on which COMMAND runs.

    `begin` sends the packed helper and awaits nothing; the first `ask` hears the greeting. With a `throttle`, nothing is
    sent without its leave, and while that is awaited the far side may be silent.
    """

    def __init__(
        self,
        peer: Peer,
        stream: Stream,
        *,
        greeting_s: float = SILENCE_S,
        throttle: Throttle | None = None,
        line: Line | None = None,
    ) -> None:
        self._peer = peer
        self._stream = stream
        self._greeting_s = greeting_s
        self._throttle = throttle
        self._line = line
        self._before = b""  # what has to go out before the first request, as soon as the throttle lets it
        self._shipping: Shipping | None = None
        self._inside = False  # in the middle of what is being sent
        self._owed: list[bytes] = []  # modules that go out as soon as that is over
        self._wishes = 0
        self._decoder = frames.Decoder(largest=MAX_REPLY)
        self._frames: deque[tuple[Header, bytes]] = deque()
        self._noise: bytearray | None = bytearray(b"\n")  # None: the marker has been seen
        self._greeting: Header | None = None
        self._failure: NodeError | None = None
        self._deadline: asyncio.Timeout | None = None
        self._resting = False  # we prepare what to send: the far side may be silent
        self._silence_s = SILENCE_S
        self._round_trips = 0
        self._bytes_sent = 0

    @property
    def greeting(self) -> Header:
        """What the helper said first. Known after the first `ask`."""
        if self._greeting is None:
            raise RuntimeError("the greeting comes with the first reply; nothing was asked yet")
        return self._greeting

    @property
    def has_spoken(self) -> bool:
        """Whether the greeting has come."""
        return self._greeting is not None

    @property
    def round_trips(self) -> int:
        return self._round_trips

    @property
    def bytes_sent(self) -> int:
        return self._bytes_sent

    def begin(self, helper: bytes | Shipping) -> None:
        """Send the packed helper: all of it, or what each request needs. Nothing is awaited: the first request goes with it
        in one trip.
        """
        self._shipping = None if isinstance(helper, bytes) else helper
        payload = helper if isinstance(helper, bytes) else helper.opening()
        if self._throttle is None:
            self._write(payload)
        else:
            self._before = payload

    def go_on(self, helper: Shipping, *, sent: int, rest: bytes) -> None:
        """`begin`, where somebody has begun already: `sent` bytes of the helper are on their way, `rest` is not."""
        self._shipping = helper
        self._bytes_sent += sent
        self._write(rest)

    async def ask(
        self,
        header: Header,
        body: bytes = b"",
        *,
        then: AsyncIterator[bytes] | None = None,
        on_event: Callable[[Header], None] | None = None,
        silence_s: float | None = None,
    ) -> Reply:
        """See ports.Link.ask. Once the link is lost, each further call raises the same error again."""
        if self._failure is not None:
            raise self._failure
        self._silence_s = SILENCE_S if silence_s is None else silence_s
        try:
            modules = self._shipping.ahead_of(header) if self._shipping else b""
            reply = await self._exchange(modules + frames.encode(header, body), then, on_event)
        except NodeError as error:
            self._failure = error
            raise
        except BaseException:
            # Cancelled, or the caller's own frames failed: the far side waits in the middle of a request.
            self._failure = self._broken_off()
            raise
        self._round_trips += 1
        return self._checked(reply, str(header.get("op", "")))

    async def measure(self) -> float | None:
        """See ports.Link.measure."""
        return None if self._line is None else await self._line.round_trip_s()

    def further(self) -> AbstractAsyncContextManager[StreamLink]:
        """See ports.Link.further."""
        if self._line is None:
            raise NodeNotUsable(f"{self._peer}: there is no further channel on this line")
        return self._line.link()

    async def close(self) -> None:
        """End the conversation; the helper ends with it. May be called twice."""
        await self._stream.close()

    # The exchange: one side sends while the other listens, so that neither waits for the other for ever.

    async def _exchange(
        self, request: bytes, then: AsyncIterator[bytes] | None, on_event: Callable[[Header], None] | None
    ) -> Reply:
        try:
            async with asyncio.timeout(self._limit()) as self._deadline:
                if then is None and len(request) <= _PIECE and self._throttle is None:
                    self._write(request)
                    return await self._hear(on_event)
                return await self._send_and_hear(request, then, on_event)
        except TimeoutError as error:
            assert self._deadline is not None
            if not self._deadline.expired():
                raise  # the caller's own frames raised it
            raise self._timed_out() from error
        finally:
            self._deadline = None

    async def _send_and_hear(
        self, request: bytes, then: AsyncIterator[bytes] | None, on_event: Callable[[Header], None] | None
    ) -> Reply:
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send(request, then))
                reply = await self._hear(on_event)
                if reply.header.get("reply") == "error" and not sending.done():
                    self._failure = self._broken_off()
                    sending.cancel()
                # Otherwise the rest is sent all the same: the helper drains it, and waits for its end.
                while not sending.done():
                    await self._listen_while(sending)
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from several.exceptions[0].__cause__
        return reply

    async def _send(self, request: bytes, then: AsyncIterator[bytes] | None) -> None:
        try:
            await self._write_all(self._before + request)
            self._before = b""
            if then is None:
                return
            self._rest()
            async for piece in then:
                self._go_on()
                await self._write_all(piece, cut_off=isinstance(piece, CutOff))
                self._rest()
        except (OSError, EOFError):
            pass  # the listener finds the reason, or a reply that was already under way
        finally:
            self._go_on()
            if isinstance(then, AsyncGenerator):
                await then.aclose()

    async def _write_all(self, data: bytes, *, cut_off: bool = False) -> None:
        """Write frames, with what is owed to the node behind the last one, unless that is cut off."""
        self._inside = True
        try:
            await self._write_pieces(data)
            while self._owed and not cut_off:
                await self._write_pieces(self._owed.pop(0))
        finally:
            self._inside = cut_off

    async def _write_pieces(self, data: bytes) -> None:
        view = memoryview(data)
        size = _PIECE if self._throttle is None else self._throttle.piece
        for start in range(0, len(data), size):
            piece = view[start : start + size]
            if self._throttle is not None:
                self._rest()
                await self._throttle.permit(len(piece))
                self._go_on()
            self._write(piece)
            await self._stream.drain()
            self._alive()

    def _write(self, data: bytes | memoryview) -> None:
        self._bytes_sent += len(data)
        self._stream.write(data)

    async def _listen_while(self, sending: asyncio.Task[None]) -> None:
        """The reply came early; go on reading (events, the end) so that the far side can go on as well."""
        reading = asyncio.ensure_future(self._stream.read(_READ))
        try:
            await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                self._heard(reading)
                if not sending.done() and self._ended(reading):
                    sending.cancel()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def _heard(self, reading: asyncio.Future[bytes]) -> None:
        if not self._ended(reading):
            self._alive()
            self._take(reading.result())

    @staticmethod
    def _ended(reading: asyncio.Future[bytes]) -> bool:
        return reading.cancelled() or reading.exception() is not None or not reading.result()

    async def _hear(self, on_event: Callable[[Header], None] | None) -> Reply:
        """The next reply; greeting and events before it are taken in passing."""
        while True:
            while not self._frames:
                await self._listen()
            header, body = self._frames.popleft()
            if header.get("event") == "modules" or (self._greeting is None and "wanted" in header):
                self._supply(header)
            elif self._greeting is None:
                self._greeting = self._greeted(header)
                self._alive()  # from here on it may be silent for as long as it was promised
            elif "reply" in header:
                return Reply(header=header, body=body)
            elif "event" in header:
                if on_event is not None:
                    on_event(header)
            else:
                raise ProtocolError(f"{self._peer} sent neither event nor reply: {_short(header)}")

    def _supply(self, header: Header) -> None:
        """Send the modules that the node found missing, between two frames of ours.

        One that asks instead of greeting has another python than was believed; it greets when it has their sources.
        """
        self._wishes += 1
        if self._shipping is None or self._wishes > MAX_WISHES:
            raise ProtocolError(f"{self._peer} asks for modules that it cannot need: {_short(header)}")
        self._round_trips += 1
        if "event" not in header:
            self._noise = bytearray(b"\n")
        data = self._shipping.answer(header.get("wanted"))
        if self._inside:
            self._owed.append(data)
        else:
            self._write(data)

    async def _listen(self) -> None:
        try:
            data = await self._stream.read(_READ)
        except (OSError, EOFError) as error:
            raise await self._cut(str(error)) from error
        if not data:
            raise await self._cut("")
        self._alive()
        self._take(data)

    def _take(self, data: bytes) -> None:
        if self._noise is not None:
            data = self._after_marker(data)
        try:
            self._frames.extend(self._decoder.feed(data))
        except frames.FrameError as error:
            raise ProtocolError(f"{self._peer} sent {error}") from error

    def _after_marker(self, data: bytes) -> bytes:
        noise = self._noise
        assert noise is not None
        mark = b"\n" + MARKER + b"\n"
        searched = max(0, len(noise) - len(mark))
        noise += data
        at = noise.find(mark, searched)
        if at >= 0:
            self._noise = None
            return bytes(noise[at + len(mark) :])
        if len(noise) > MAX_NOISE:
            raise NodeNotUsable(
                f"{self._peer} printed more than {MAX_NOISE >> 10} KiB and the helper never spoke; "
                f"its last lines:{_indented(_text(noise))}",
                hint="a login script of this user prints without end; commands must not run through it",
            )
        return b""

    # Silence. The deadline moves with each sign of life, and rests while we ourselves prepare what to send, or wait for
    # leave to send it.

    def _alive(self) -> None:
        if self._deadline is not None and not self._deadline.expired() and not self._resting:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._limit())

    def _rest(self) -> None:
        self._resting = True
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(None)

    def _go_on(self) -> None:
        self._resting = False
        self._alive()

    def _limit(self) -> float:
        """Seconds of silence that are too many; a helper that has not yet spoken is given less."""
        return self._silence_s if self._greeting else min(self._silence_s, self._greeting_s)

    # Judgements.

    def _greeted(self, header: Header) -> Header:
        python = header.get("python")
        if (
            not isinstance(python, list)
            or not _is_version(python)
            or not isinstance(header.get("greeting"), int)
        ):
            raise ProtocolError(f"{self._peer} sent another greeting than the helper's: {_short(header)}")
        if tuple(python) < MINIMUM_PYTHON or "error" in header:
            version = ".".join(str(number) for number in python)
            wanted = ".".join(str(number) for number in MINIMUM_PYTHON)
            raise NodeNotUsable(
                f"{self._peer} has python3 {version}; {wanted} or newer is needed",
                hint="install a newer python3 there, so that `python3` in a non-interactive login finds it",
            )
        if header["greeting"] != PROTOCOL:
            raise ProtocolError(f"{self._peer} speaks protocol {header['greeting']}, not {PROTOCOL}")
        return header

    def _checked(self, reply: Reply, op: str) -> Reply:
        name = reply.header["reply"]
        if name == "error":
            message, hint = reply.header.get("message"), reply.header.get("hint", "")
            if not isinstance(message, str) or not isinstance(hint, str):
                raise ProtocolError(f"{self._peer} sent an error without a message: {_short(reply.header)}")
            raise NodeNotUsable(f"{self._peer}: {message}", hint=hint)
        if name != op:
            raise ProtocolError(f"{self._peer} answered {name!r} to {op!r}")
        return reply

    def _broken_off(self) -> LinkLost:
        return LinkLost(f"{self._peer}: the conversation was broken off in the middle of a request")

    def _timed_out(self) -> NodeTimeout:
        if self._greeting is None:
            return NodeTimeout(
                f"{self._peer}: the helper did not speak within {self._limit():g} s{self._last_words()}",
                hint="the node is overloaded, or a login script of this user waits for something",
            )
        return NodeTimeout(f"{self._peer}: silent for {self._silence_s:g} s{self._last_words()}")

    async def _cut(self, reason: str) -> NodeError:
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                status = await self._stream.exit_status()
        except TimeoutError:
            status = None
        if self._greeting is None and status is not None:
            return self._never_began(status)
        where = "before the helper spoke" if self._greeting is None else "in the middle of a conversation"
        if not reason and status is not None:
            reason = f"the helper ended with {_ending(status)}"
        return LinkLost(
            f"{self._peer}: the link broke {where}{reason and ': '}{reason}{self._last_words()}",
            hint="run the command again: it goes on from where the node stands",
        )

    def _never_began(self, status: int) -> NodeNotUsable:
        words = self._last_words()
        if _lacks_python(status, words):
            return NodeNotUsable(
                f"no python3 on {self._peer}{words}",
                hint="install it there: `apt-get install python3` (Debian), `dnf install python3` (RHEL)",
            )
        return NodeNotUsable(
            f"{self._peer}: the helper did not begin, the login ended with {_ending(status)}{words}",
            hint="commands must run for this user: try `ssh HOST true`",
        )

    def _last_words(self) -> str:
        noise = _text(self._noise) if self._noise is not None else ""
        return _indented("\n".join(part for part in (noise, self._stream.stderr_tail()) if part.strip()))


def _lacks_python(status: int, words: str) -> bool:
    told = any(phrase in words.lower() for phrase in ("not found", "no such file", "unknown command"))
    return status == _NOT_FOUND or (told and "python3" in words)


def _ending(status: int | None) -> str:
    if status is None:
        return "no status"
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def _is_version(value: list[object]) -> bool:
    return len(value) >= 2 and all(type(number) is int for number in value)


def _text(data: bytes | bytearray) -> str:
    return bytes(data).decode("utf-8", "replace")


def _indented(text: str) -> str:
    """The last lines of `text`, each on a line of its own, safe to print; empty for nothing."""
    lines = [line for line in text.splitlines() if line.strip()][-_TAIL_LINES:]
    return "".join("\n  " + "".join(c if c.isprintable() else "�" for c in line[:200]) for line in lines)


def _short(header: Header) -> str:
    text = repr(header)
    return text if len(text) <= 120 else text[:117] + "…"
