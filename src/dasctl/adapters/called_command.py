"""A command of somebody elsewhere, as a child: its terminal, its output, what is typed, signals.

What lives here: the relay between the child and the channel. What must not: files, what the command is.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import selectors
import signal
import struct
import subprocess
import termios
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dasctl.adapters.called_warden import GRACE_S, Warden
from dasctl.errors import OperationFailed
from dasctl.remote import frames

PIECE = 64 << 10  # bytes read at once
HIGH = 1 << 20  # bytes that wait for the caller before the child is read no further
TYPED = 64 << 10  # bytes that wait for the child; a person types less
BODY = 1 << 20  # bytes of one frame
HEADER = 4 << 20  # bytes of one frame's header: all words of a command line
SIGNALS = {"INT": signal.SIGINT, "TERM": signal.SIGTERM, "HUP": signal.SIGHUP}

Header = Mapping[str, Any]


class CallerGone(Exception):
    """Nobody is there any more to whom anything could be told."""


class Channel:
    """Frames on two descriptors. Blocking before and after the child's time, and in step with it meanwhile."""

    def __init__(self, source: int, sink: int) -> None:
        self.source, self.sink = source, sink
        self._decoder = frames.Decoder(BODY, HEADER)
        self._frames: deque[tuple[dict[str, Any], bytes]] = deque()
        self._waiting = bytearray()

    @classmethod
    def standard(cls) -> Channel:
        """On standard input and output, where nothing else can be printed from now on."""
        channel = cls(os.dup(0), os.dup(1))
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(2, 1)
        os.close(nowhere)
        return channel

    @property
    def waiting(self) -> int:
        """Bytes that the caller has not taken yet."""
        return len(self._waiting)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next frame, awaited. Raises CallerGone."""
        self.flush()
        while not self._frames:
            self.hear()
        return self._frames.popleft()

    def hear(self) -> None:
        """Read once. Raises CallerGone at the end."""
        data = os.read(self.source, PIECE)
        if not data:
            raise CallerGone("the end")
        self._frames.extend(self._decoder.feed(data))

    def heard(self) -> list[tuple[dict[str, Any], bytes]]:
        """The frames that are there."""
        found = list(self._frames)
        self._frames.clear()
        return found

    def put(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Send when the caller takes it."""
        self._waiting += frames.encode(header, body)

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Send now."""
        self.write(frames.encode(header, body))

    def write(self, data: bytes) -> None:
        self._waiting += data
        self.flush()

    def flush(self) -> None:
        """All goes out. Raises CallerGone."""
        while self._waiting:
            self.push()

    def push(self) -> None:
        """Write once."""
        try:
            written = os.write(self.sink, memoryview(self._waiting)[:PIECE])
        except BlockingIOError:
            time.sleep(0.01)
            return
        except OSError as error:
            raise CallerGone(str(error)) from error
        del self._waiting[:written]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """Which of the caller's standard streams (0, 1, 2) are his terminal, and how large that is."""

    streams: tuple[bool, bool, bool]
    size: tuple[int, int] = (24, 80)

    @classmethod
    def of(cls, streams: Any, size: Any) -> Terminal:
        """From the wire. Raises ValueError."""
        if not isinstance(streams, list) or len(streams) != 3:
            raise ValueError("no streams")
        first, second, third = map(bool, streams)
        return cls(streams=(first, second, third), size=_size(size) if size else (24, 80))

    @property
    def is_there(self) -> bool:
        return any(self.streams)


def _size(size: Any) -> tuple[int, int]:
    rows, columns = (min(max(int(number), 1), 10_000) for number in size)
    return rows, columns


class Child:
    """The command. Streams that are the caller's terminal are one here too; the others are pipes, input is empty then."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        terminal: Terminal,
        folder: bytes | None = None,
    ) -> None:
        self._command = command
        self._folder = folder
        self._environment = environment
        self._terminal = terminal
        self._master = -1
        self._typed = bytearray()
        self._outputs: dict[int, int] = {}  # descriptor to what the caller knows it as; 0 is the terminal
        self._process: subprocess.Popen[bytes] | None = None
        self._warden = Warden()

    def __enter__(self) -> Child:
        slave = -1
        if self._terminal.is_there:
            self._master, slave = pty.openpty()
            self._resize(self._terminal.size)
            os.set_blocking(self._master, False)
            self._outputs[self._master] = 0
        streams = self._terminal.streams
        try:
            self._warden.start()
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=slave if streams[0] else subprocess.DEVNULL,
                stdout=slave if streams[1] else subprocess.PIPE,
                stderr=slave if streams[2] else subprocess.PIPE,
                start_new_session=True,
                preexec_fn=lambda: self._begin(slave),
            )
        except OSError as error:
            self._warden.stop()
            raise OperationFailed(f"dasctl cannot be started on the DAS: {error.strerror}") from error
        finally:
            if slave >= 0:
                os.close(slave)
        for number, pipe in ((1, self._process.stdout), (2, self._process.stderr)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self._outputs[pipe.fileno()] = number
        return self

    def __exit__(self, *error: object) -> None:
        """Whatever happened: nothing of it goes on."""
        assert self._process is not None
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
        self._warden.stop()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        if self._master >= 0:
            os.close(self._master)

    def _begin(self, slave: int) -> None:
        """In the child, the leader of a new session, before it becomes the command."""
        self._warden.watch_me()
        if slave >= 0:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)  # Ctrl-C and passwords are about this terminal

    def relay(self, channel: Channel) -> int:
        """Relay until the command has ended; its exit status. Raises CallerGone."""
        assert self._process is not None
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        previous = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        os.set_blocking(channel.sink, False)
        try:
            while self._process.poll() is None:
                self._step(channel, woken)
            self._drain(channel)
        finally:
            os.set_blocking(channel.sink, True)
            signal.set_wakeup_fd(before)
            signal.signal(signal.SIGCHLD, previous)
            os.close(woken)
            os.close(wake)
        channel.flush()
        status = self._process.returncode
        return status if status >= 0 else 128 - status

    def _step(self, channel: Channel, woken: int) -> None:
        """Wait for anything, and do what can be done without waiting."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(channel.source, selectors.EVENT_READ)
            waiting.register(woken, selectors.EVENT_READ)
            if channel.waiting:
                waiting.register(channel.sink, selectors.EVENT_WRITE)
            for output in self._outputs if channel.waiting < HIGH else ():
                interest = selectors.EVENT_READ
                if output == self._master and self._typed:
                    interest |= selectors.EVENT_WRITE
                waiting.register(output, interest)
            ready = [(key.fd, events) for key, events in waiting.select(1.0)]
        for handle, events in ready:
            if handle == woken:
                os.read(woken, 512)
            elif handle == channel.source:
                channel.hear()
                for header, body in channel.heard():
                    self._heard(header, body)
            elif handle == channel.sink:
                channel.push()
            else:
                if events & selectors.EVENT_WRITE:
                    self._type()
                if events & selectors.EVENT_READ:
                    self._read(channel, handle)

    def _heard(self, header: Header, body: bytes) -> None:
        if "typed" in header and self._master >= 0:
            self._typed += body[: max(TYPED - len(self._typed), 0)]
            self._type()
        elif "signal" in header and header["signal"] in SIGNALS:
            self._signal(SIGNALS[header["signal"]])
        elif "window" in header and self._master >= 0:
            self._resize(_size(header["window"]))

    def _type(self) -> None:
        with suppress(BlockingIOError, OSError):
            del self._typed[: os.write(self._master, self._typed)]

    def _read(self, channel: Channel, handle: int) -> bool:
        """Read once; False where nothing more is there, for now or for ever."""
        try:
            data = os.read(handle, PIECE)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # so Linux tells the end of a terminal
                raise
            data = b""
        if not data:
            del self._outputs[handle]
            return False
        channel.put({"out": self._outputs[handle]}, data)
        return True

    def _drain(self, channel: Channel) -> None:
        """What it had written before it ended. Who inherited its output and lives on is not waited for."""
        for handle in list(self._outputs):
            while self._read(channel, handle):
                while channel.waiting > HIGH:
                    channel.push()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _resize(self, size: tuple[int, int]) -> None:
        with suppress(OSError):
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
