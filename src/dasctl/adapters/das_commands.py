"""A command line on the machine of its DAS, seen from here: `--das`.

What lives here: logging in, the files that go there and come back, the streams in between. What must not: the words of the
command line (`cli/elsewhere.py`), the terminal (`terminal.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dasctl import __version__
from dasctl.adapters import carrying, fetched
from dasctl.adapters.das_link import PEER, SshDas
from dasctl.adapters.link import Stream
from dasctl.adapters.member_channel import FrameChannel
from dasctl.adapters.terminal import Terminal
from dasctl.core.coordinates import Coordinates
from dasctl.core.elsewhere import MARKER, CarriedFile, Order, Place, numbered
from dasctl.errors import (
    AuthenticationFailed,
    ChangedHostKey,
    DasctlError,
    LinkLost,
    NodeError,
    NodeNotUsable,
    OperationFailed,
    ProtocolError,
    UnknownHostKey,
)
from dasctl.remote import frames

GREETING_S = 60.0  # python and dasctl start there, perhaps on a cold disk
FOR_EVER_S = 10 * 365 * 86400.0  # a command may take as long as it takes; SSH itself notices a dead machine
PASSED = ("TERM", "COLORTERM", "NO_COLOR", "COLUMNS", "LINES")
IMPATIENT = 3  # times of Ctrl-C after which nobody is waited for any more
_LAST_WORDS_S = 2.0
_NOT_FOUND = 127
_AWAY = (
    "it is ended there like by Ctrl-C as soon as its sshd notices that nobody is left; `dasctl history` and "
    "`dasctl list-instances` tell how far it came"
)

Header = dict[str, Any]


async def run_there(
    place: Place, order: Order, *, timeout_s: float, ask: Callable[[str], bool] | None
) -> int:
    """Run the order; its exit code. Files that come back are in their places then. Raises DasctlError.

    `ask`: whether to trust a host key that nobody knows; None: nobody can be asked.
    """
    fetched.check(order.files)
    async with _opened(place, timeout_s, ask) as stream:
        channel = FrameChannel(stream, PEER, marker=MARKER)
        channel.expect_marker()
        await _greeted(channel, stream, place, order)
        return await _Running(channel, place, order).run()


@asynccontextmanager
async def _opened(place: Place, timeout_s: float, ask: Callable[[str], bool] | None) -> AsyncIterator[Stream]:
    das = SshDas(timeout_s=timeout_s)
    coordinates = Coordinates(das=place.das, domain_dir=place.dir, command=place.command)

    def hint(error: NodeError) -> str:
        return _hint(error, place)

    async with contextlib.AsyncExitStack() as stack:
        opening = das.session(coordinates, f"{place.command} serve-caller", hint=hint)
        try:
            stream = await stack.enter_async_context(opening)
        except UnknownHostKey as error:
            if ask is None or not await _accepted(das, coordinates, error, ask):
                raise
            opening = das.session(coordinates, f"{place.command} serve-caller", hint=hint)
            stream = await stack.enter_async_context(opening)
        yield stream


async def _accepted(
    das: SshDas, coordinates: Coordinates, error: UnknownHostKey, ask: Callable[[str], bool]
) -> bool:
    """Whether somebody accepts the key that is shown; then it is among the user's known hosts."""
    if not await asyncio.to_thread(ask, f"{error.message}\nTrust it from now on, in ~/.ssh/known_hosts?"):
        return False
    shown = await das.shown(coordinates)
    if shown.fingerprint != error.fingerprint:
        raise ChangedHostKey(
            f"{PEER} shows two host keys: {error.fingerprint}, {shown.fingerprint}",
            hint="somebody may be listening in between",
        )
    path = das.known_hosts(coordinates)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"\n" * _lacks_newline(path) + shown.line.encode("ascii", "replace") + b"\n")
    return True


def _lacks_newline(path: Path) -> bool:
    data = path.read_bytes()
    return bool(data) and not data.endswith(b"\n")


def _hint(error: NodeError, place: Place) -> str:
    login = f"ssh {f'-p {place.das.port} ' if place.das.port else ''}{replace(place.das, port=None)}"
    match error:
        case UnknownHostKey():
            return (
                "compare it with 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' on the DAS; then trust it: "
                f"`{login}` asks, and a CI job brings a known_hosts file"
            )
        case ChangedHostKey():
            return (
                "somebody may be listening in between; if the key was changed on purpose, remove the old one with "
                "ssh-keygen -R and accept the new one"
            )
        case AuthenticationFailed():
            return f"let a key of yours in there: `{login}` must work without a password"
        case _ if "update-node-ssh" in error.hint or "setup-ssh" in error.hint:
            return "look at where the DAS is said to be: --das USER@HOST:PORT:DIR"
        case _:
            return error.hint


async def _greeted(channel: FrameChannel, stream: Stream, place: Place, order: Order) -> None:
    try:
        frame = await channel.receive(GREETING_S)
    except LinkLost as error:
        raise await _never_spoke(error, channel, stream, place) from error
    if frame is None or "greeting" not in frame[0]:
        raise ProtocolError(f"{PEER} sent another greeting than serve-caller does")
    theirs = str(frame[0].get("version", "?"))[:40]
    if theirs != __version__ and not order.quiet:
        _say(f"dasctl: {PEER} runs dasctl {theirs}, and this is {__version__}: the command is that one's")


async def _never_spoke(error: LinkLost, channel: FrameChannel, stream: Stream, place: Place) -> DasctlError:
    status = None
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(_LAST_WORDS_S):
            status = await stream.exit_status()
    said = "\n".join(part for part in (channel.noise, stream.stderr_tail()) if part.strip())
    lines = [line[:300] for line in said.splitlines() if line.strip()][-5:]
    words = "".join("\n  " + "".join(c if c.isprintable() else "�" for c in line) for line in lines)
    if status == _NOT_FOUND:
        return NodeNotUsable(
            f"{PEER} does not find dasctl{words}",
            hint="where dasctl is not on the PATH of a plain login there, name it with --das-command "
            "/path/to/dasctl, or DASCTL_DAS_COMMAND",
        )
    if status is None:
        return error
    if "serve-caller" in said:
        return NodeNotUsable(
            f"the dasctl on {place.das} does not know --das: it is older than this one ({__version__}){words}",
            hint="install the same release there",
        )
    return NodeNotUsable(
        f"{PEER} does not run commands: `{place.command} serve-caller` ended with {status}{words}"
    )


class _Running:
    """One command while it runs there."""

    def __init__(self, channel: FrameChannel, place: Place, order: Order) -> None:
        self._channel = channel
        self._place = place
        self._order = order
        self._terminal = Terminal()
        self._interrupts = 0
        self._open = {1: True, 2: True}  # standard output and error, until their reader has gone

    async def run(self) -> int:
        await self._ask()
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        for number, name in ((signal.SIGINT, "INT"), (signal.SIGTERM, "TERM"), (signal.SIGHUP, "HUP")):
            loop.add_signal_handler(number, self._interrupt, name, task)
        try:
            with self._terminal.shared(typed=self._typed, resized=self._resized):
                return await self._hear()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def _ask(self) -> None:
        order = self._order
        caller = {"who": order.caller.who, "command": order.caller.command}
        run: Header = {
            "words": [word if isinstance(word, str) else list(word) for word in order.words],
            "domain": self._place.dir,
            "caller": caller,
            "files": [{"way": file.way, "name": file.name, "words": file.words} for file in order.files],
            "terminal": list(self._terminal.streams),
            "window": self._terminal.window(),
            "environment": {key: os.environ[key] for key in PASSED if key in os.environ},
        }
        with contextlib.suppress(LinkLost):  # why, `_hear` finds out: what came before may still be read
            await self._send(frames.encode({"run": run}))
            for number, file in enumerate(order.files):
                if file.way == "up":
                    for frame in carrying.sent(os.fsencode(file.path), number):
                        await self._send(frame)
            await self._send(frames.encode({"begin": True}))

    async def _send(self, data: bytes) -> None:
        self._channel.stream.write(data)
        await self._channel.drain(FOR_EVER_S)

    async def _hear(self) -> int:
        coming: fetched.Coming | None = None
        try:
            while (frame := await self._channel.receive(FOR_EVER_S)) is not None:
                header, body = frame
                match header:
                    case {"out": int() as number}:
                        await self._show(number, body)
                    case {"error": message}:
                        raise _told(message, header)
                    case {"exit": int() as status}:
                        return status
                    case {"carried": int() as number} if coming is not None:
                        coming.put_in_place(self._file(number))
                        coming = None
                    case {"entry": _} | {"data": _}:
                        coming = coming or fetched.Coming(self._order.files)
                        coming.take(header, body)
                    case _:
                        raise ProtocolError(f"{PEER} sent something that is not understood")
        except (ValueError, KeyError, IndexError) as error:
            raise ProtocolError(f"{PEER} sent something that is not understood: {error}") from error
        except LinkLost as error:
            raise LinkLost(f"{error.message}, in the middle of the command", hint=_AWAY) from error
        finally:
            if coming is not None:
                coming.give_up()
        raise LinkLost(f"{PEER} closed the connection in the middle of the command", hint=_AWAY)

    def _file(self, number: int) -> CarriedFile:
        return numbered(self._order.files, number)

    async def _show(self, number: int, data: bytes) -> None:
        """Write what the command wrote; number 0 is the terminal, whichever stream shows it."""
        target = number if number in self._open else self._terminal.shown_on
        if self._open[target]:
            try:
                await asyncio.to_thread(_write, target, data)
            except OSError:
                self._open[target] = False  # nobody reads it any more; the command goes on as it would here

    def _typed(self, data: bytes) -> None:
        self._channel.write({"typed": True}, data)

    def _resized(self, window: list[int]) -> None:
        self._channel.write({"window": window})

    def _interrupt(self, name: str, task: asyncio.Task[Any]) -> None:
        self._interrupts += 1
        if self._interrupts > IMPATIENT:
            task.cancel()
        self._channel.write({"signal": name})


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _told(message: Any, header: Mapping[str, Any]) -> OperationFailed:
    return OperationFailed(str(message)[:4000], hint=str(header.get("hint", ""))[:2000])


def _say(words: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{words}\n")
        sys.stderr.flush()
