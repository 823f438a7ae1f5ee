"""A command that the embedded server runs: a process in its own session, its three streams, its end.

What lives here: the process and its channel. What must not: who may log in.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import asyncssh

_GRACE_S = 2.0  # a command whose input has ended because the channel closed may end by itself
_HANGUP_S = 3.0  # and after SIGHUP
_DRAIN_S = (
    1.0  # how long output may still come after the process has ended: something detached may hold it open
)
_STDERR = 1  # SSH's extended data type
_SHELL_REFUSED = b"This server runs commands only: ssh HOST COMMAND\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many commands may run at once."""

    sessions: int


@dataclass(slots=True, kw_only=True)
class Running:
    """The commands that run, and the tasks that see them end."""

    limits: Limits
    sessions: set[Session] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def may_start(self) -> bool:
        return len(self.sessions) < self.limits.sessions

    def watch(self, task: asyncio.Task[None]) -> None:
        """Keep `task` until it is done."""
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def ended(self, seconds: float) -> None:
        """Wait for all of them, and kill what is left."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)
        for session in list(self.sessions):
            session.signalled(signal.SIGKILL)
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)


class Session:
    """One session channel (asyncssh calls it by name) and the process behind it."""

    WINDOW = 4 << 20  # bytes on their way to a command at most: one round trip moves so many

    def __init__(self, running: Running, folder: Path, environment: dict[str, str]) -> None:
        self._running = running
        self._folder = folder
        self._environment = environment
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._command: str | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._early: list[bytes] = []  # what came before the process was there
        self._early_end = False
        self._open_pipes = {1, 2}
        self._said = 0  # bytes of output
        self._output_held = False  # the client takes no more for now
        self._exited = asyncio.Event()
        self._drained = asyncio.Event()
        self._gone = asyncio.Event()  # the channel

    # asyncssh.SSHServerSession.

    def connection_made(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = channel

    def connection_lost(self, error: Exception | None) -> None:
        self._gone.set()
        self.eof_received()
        self._hold_output(False)  # it is read and dropped: the command must not wait for a reader

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def shell_requested(self) -> bool:
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        return False

    def pty_requested(self, term_type: str, term_size: object, term_modes: object) -> bool:
        return False

    def session_started(self) -> None:
        assert self._channel is not None
        if self._command is None:
            self._channel.write_stderr(_SHELL_REFUSED)
            self._channel.exit(1)
            return
        self._running.sessions.add(self)
        self._running.watch(asyncio.create_task(self._run(self._command)))

    def data_received(self, data: bytes, datatype: int | None) -> None:
        stdin = self._pipe(0)
        if self._transport is None:
            self._early.append(data)
        elif stdin is not None and not stdin.is_closing():
            stdin.write(data)

    def eof_received(self) -> bool:
        self._early_end = True
        stdin = self._pipe(0)
        if stdin is not None:
            stdin.close()  # what was written before is still delivered
        return True  # the command may go on talking

    def signal_received(self, name: str) -> None:
        number = getattr(signal, f"SIG{name}", None)
        if isinstance(number, signal.Signals):
            self.signalled(number)

    def break_received(self, msec: int) -> bool:
        return False

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        pass

    def pause_writing(self) -> None:
        self._hold_output(True)

    def resume_writing(self) -> None:
        self._hold_output(False)

    # The process.

    async def _run(self, command: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.subprocess_exec(
                lambda: _Process(self),
                "/bin/sh",
                "-c",
                command,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            self._failed(error)
            return
        try:
            await self._until_exit()
            await self._until_drained()
            self._report(transport.get_returncode())
        finally:
            self._running.sessions.discard(self)
            transport.close()

    async def _until_exit(self) -> None:
        """Wait for the process. When the channel is gone it is asked to end, and then made to."""
        exited = asyncio.ensure_future(self._exited.wait())
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({exited, gone}, return_when=asyncio.FIRST_COMPLETED)
            for seconds, number in ((_GRACE_S, signal.SIGHUP), (_HANGUP_S, signal.SIGKILL)):
                if not exited.done():
                    await asyncio.wait({exited}, timeout=seconds)
                if not exited.done():
                    self.signalled(number)
            await exited
        finally:
            for waiting in (exited, gone):
                waiting.cancel()
            await asyncio.gather(exited, gone, return_exceptions=True)

    async def _until_drained(self) -> None:
        """Wait for the rest of the output, however slowly the client takes it."""
        while not self._gone.is_set():
            before = self._said
            try:
                async with asyncio.timeout(_DRAIN_S):
                    await self._drained.wait()
                return
            except TimeoutError:
                if self._said == before and not self._output_held:
                    return

    def signalled(self, number: signal.Signals) -> None:
        """Send a signal to the command's process group; what it has detached is in another."""
        if self._transport is None or self._exited.is_set():
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._transport.get_pid(), number)

    def started(self, transport: asyncio.SubprocessTransport) -> None:
        self._transport = transport
        for data in self._early:
            self.data_received(data, None)
        self._early.clear()
        if self._early_end or self._gone.is_set():
            self.eof_received()

    def output(self, pipe: int, data: bytes) -> None:
        """The command has said something."""
        self._said += len(data)
        if self._channel is None or self._gone.is_set():
            return
        with contextlib.suppress(OSError):  # closed by the client a moment ago
            self._channel.write(data, None if pipe == 1 else _STDERR)

    def pipe_ended(self, pipe: int) -> None:
        """The command has closed one of its streams."""
        self._open_pipes.discard(pipe)
        if not self._open_pipes:
            self._drained.set()

    def exited(self) -> None:
        """The command has ended."""
        self._exited.set()

    def hold_input(self, held: bool) -> None:
        """The command takes no more for now, so the client may send no more."""
        if self._channel is None or self._gone.is_set():
            return
        if held:
            self._channel.pause_reading()
        else:
            # Not at once: asyncio calls this in the middle of its write, and would close a pipe that is given more
            # data and its end here without writing them.
            asyncio.get_running_loop().call_soon(self._channel.resume_reading)

    def _hold_output(self, held: bool) -> None:
        self._output_held = held
        if self._transport is None:
            return
        for number in (1, 2):
            pipe = cast("asyncio.ReadTransport | None", self._transport.get_pipe_transport(number))
            if pipe is not None and not pipe.is_closing():
                if held:
                    pipe.pause_reading()
                else:
                    pipe.resume_reading()

    def _failed(self, error: OSError) -> None:
        self._running.sessions.discard(self)
        if self._channel is not None and not self._gone.is_set():
            self._channel.write_stderr(f"cannot run commands: {error}\n".encode())
            self._channel.exit(126)

    def _report(self, status: int | None) -> None:
        if self._channel is None or self._gone.is_set():
            return
        if status is not None and status < 0:
            name = signal.Signals(-status).name.removeprefix("SIG")
            self._channel.exit_with_signal(name)
        else:
            self._channel.exit(255 if status is None else status)

    def _pipe(self, number: int) -> asyncio.WriteTransport | None:
        pipe = None if self._transport is None else self._transport.get_pipe_transport(number)
        return cast("asyncio.WriteTransport | None", pipe)


class _Process(asyncio.SubprocessProtocol):
    """What asyncio calls about the process of a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._session.started(cast(asyncio.SubprocessTransport, transport))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._session.output(fd, data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._session.pipe_ended(fd)

    def process_exited(self) -> None:
        self._session.exited()

    def pause_writing(self) -> None:
        self._session.hold_input(True)

    def resume_writing(self) -> None:
        self._session.hold_input(False)
