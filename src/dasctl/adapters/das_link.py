"""A member's conversation with the DAS, over SSH; and the helper that serves the DAS on this side meanwhile.

What lives here: logging in to the DAS, its host key, frames, the pump between channel and helper. What must not: what is
asked and what becomes of the answers (`operations/`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dasctl.adapters.admission import Admission
from dasctl.adapters.host_keys import HostKey
from dasctl.adapters.link import Stream
from dasctl.adapters.local import helper_started
from dasctl.adapters.member_channel import FrameChannel
from dasctl.adapters.member_files import DEFAULT_KEYS, read_public_key
from dasctl.adapters.ssh import SshLinks
from dasctl.core.coordinates import Coordinates
from dasctl.core.domain import Node
from dasctl.core.members import NO_ENTRY, NoEntry
from dasctl.errors import (
    AuthenticationFailed,
    ChangedHostKey,
    DasctlError,
    DomainLocked,
    ExitCode,
    GuardRefused,
    LinkLost,
    NodeError,
    NodeNotUsable,
    NodeUnreachable,
    OperationFailed,
    ProtocolError,
    UnknownHostKey,
    UsageError,
)

NAME = "DAS"  # how adapters below name the machine; messages say `the DAS`
PEER = "the DAS"
GREETING_S = 30.0  # python and dasctl start there, perhaps on a cold disk
SILENCE_S = 600.0  # the DAS may have to hash a whole repository before it says anything; SSH itself notices a dead machine
_PIECE = 64 << 10
_LAST_WORDS_S = 2.0
_NOT_FOUND = 127  # the exit status of a shell that has not found a command

Header = dict[str, Any]
OnFrame = Callable[[Header, bytes], None]


class Conversation:
    """ports.DasConversation over a stream on which `serve-members` runs at the other end."""

    def __init__(
        self, stream: Stream, *, environment: Mapping[str, str], python: str = sys.executable
    ) -> None:
        self._stream = stream
        self._channel = FrameChannel(stream, PEER)
        self._channel.expect_marker()
        self._environment = dict(environment)
        self._python = python
        self._helper: _Helper | None = None
        self.greeting: Mapping[str, Any] = {}

    async def greeted(self, limit_s: float = GREETING_S) -> None:
        """Hear the greeting. Raises NodeNotUsable where something else than `serve-members` runs there."""
        try:
            frame = await self._channel.receive(limit_s)
        except LinkLost as error:
            raise await self._never_spoke(error) from error
        if frame is not None and frame[0].get("error") is True:
            await self._refused(limit_s)
        if frame is not None and "greeting" in frame[0]:
            self.greeting = frame[0]
            return
        raise ProtocolError(f"{PEER} sent another greeting than serve-members does")

    async def _refused(self, limit_s: float) -> None:
        """The DAS cannot answer at all, and says why in the next frame."""
        frame = await self._channel.receive(limit_s)
        if frame is not None and frame[0].get("reply") == "error":
            raise error_of(frame[0])

    async def ask(self, request: Mapping[str, Any], *, on_frame: OnFrame | None = None) -> Header:
        await self._channel.send(request)
        try:
            while True:
                frame = await self._channel.receive(SILENCE_S)
                if frame is None:
                    raise LinkLost(f"{PEER} closed the connection in the middle{self._words()}")
                header, body = frame
                if "helper" in header:
                    await self._serve(header, body)
                elif header.get("reply") == "error":
                    raise error_of(header)
                elif "reply" in header:
                    return header
                elif on_frame is not None:
                    on_frame(header, body)
        finally:
            await self._end_helper()

    async def _serve(self, header: Header, body: bytes) -> None:
        match header["helper"]:
            case "open":
                await self._end_helper()
                self._helper = await _Helper.started(self._channel, self._python, self._environment)
            case True if self._helper is not None:
                await self._helper.feed(body)
            case "close" if self._helper is not None:
                await self._end_helper()
            case "close" | True:
                pass  # it ended by itself, and the DAS has not heard of it yet
            case other:
                raise ProtocolError(f"{PEER} wants a helper to do {str(other)[:80]!r}")

    async def _end_helper(self) -> None:
        helper, self._helper = self._helper, None
        if helper is not None:
            await helper.end()

    async def _never_spoke(self, error: LinkLost) -> DasctlError:
        status = None
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_LAST_WORDS_S):
                status = await self._stream.exit_status()
        words = self._words()
        if status is None:
            return error
        if status == _NOT_FOUND:
            return NodeNotUsable(
                f"{PEER} does not find dasctl{words}",
                hint="where dasctl is not on the PATH of a plain login there, name it: --das-command /path/to/dasctl",
            )
        return NodeNotUsable(
            f"{PEER} does not answer members: serve-members ended with exit status {status}{words}",
            hint="look at --domain-dir, and whether the key's line in authorized_keys there is for this domain",
        )

    def _words(self) -> str:
        said = "\n".join(part for part in (self._channel.noise, self._stream.stderr_tail()) if part.strip())
        lines = [line for line in said.splitlines() if line.strip()][-5:]
        return "".join("\n  " + "".join(c if c.isprintable() else "�" for c in line[:300]) for line in lines)


class _Helper:
    """A helper of this machine that serves the DAS; its words go into the channel as they come."""

    def __init__(self, channel: FrameChannel, stream: Stream) -> None:
        self._channel = channel
        self._stream = stream
        self._pump = asyncio.create_task(self._pumped())  # awaited in `end`

    @classmethod
    async def started(cls, channel: FrameChannel, python: str, environment: dict[str, str]) -> _Helper:
        try:
            return cls(channel, helper_started([python], environment))
        except OSError as error:
            raise OperationFailed(f"no helper can be started: {python}: {error.strerror}") from error

    async def feed(self, data: bytes) -> None:
        self._stream.write(data)
        with contextlib.suppress(OSError):  # it died: the pump tells
            await self._stream.drain()

    async def end(self) -> None:
        await self._stream.close()  # the pump reads the end, and tells the DAS
        with contextlib.suppress(NodeError):
            await self._pump

    async def _pumped(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._stream.read(_PIECE):
                await self._channel.send({"helper": True}, data)
        status = await self._stream.exit_status()
        tail = self._stream.stderr_tail()
        await self._channel.send({"helper": "end", "status": status, "stderr": tail})


def error_of(header: Mapping[str, Any]) -> DasctlError:
    """The error that the DAS told."""
    message, hint = str(header.get("message", "it says not why")), str(header.get("hint", ""))
    if header.get("reason") == NO_ENTRY:
        return NoEntry(message, hint=hint)
    kinds: dict[object, type[DasctlError]] = {
        ExitCode.USAGE: UsageError,
        ExitCode.UNREACHABLE: NodeUnreachable,
        ExitCode.LOCKED: DomainLocked,
        ExitCode.REFUSED: GuardRefused,
    }
    return kinds.get(header.get("exit_code"), OperationFailed)(f"{PEER} says: {message}", hint=hint)


class SshDas:
    """ports.DasLinks over SSH. `ssh_config` None: the user's own."""

    def __init__(
        self,
        *,
        timeout_s: float = 10.0,
        environment: Mapping[str, str] = os.environ,
        ssh_config: Path | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._environment = environment
        self._ssh_config = ssh_config

    @asynccontextmanager
    async def open(self, coordinates: Coordinates) -> AsyncIterator[Conversation]:
        """See ports.DasLinks.open."""
        async with self._session(coordinates) as stream:
            conversation = Conversation(stream, environment=self._environment)
            await conversation.greeted()
            yield conversation

    async def admit(
        self, coordinates: Coordinates, *, accept_any: bool, fingerprint: str | None
    ) -> Coordinates:
        """See ports.DasLinks.admit."""
        node = _node(coordinates)
        with self._links(coordinates) as links, _told():
            admitted = await Admission(links).admit(
                NAME, node, accept_any=accept_any, fingerprint=fingerprint
            )
            shown = await links.host_key(NAME, node)
            if shown.fingerprint != admitted.fingerprint:
                raise ChangedHostKey(
                    f"{PEER} shows two host keys: {admitted.fingerprint}, {shown.fingerprint}"
                )
        return replace(coordinates, host_key=shown.line)

    def public_key(self, key: str | None) -> str | None:
        """See ports.DasLinks.public_key."""
        paths = [Path(f"{key}.pub")] if key else [Path.home() / ".ssh" / name for name in DEFAULT_KEYS]
        for path in paths:
            with contextlib.suppress(UsageError):
                return read_public_key(path.expanduser())
        return None

    async def shown(self, coordinates: Coordinates) -> HostKey:
        """The host key that the DAS shows; it is not trusted by this. Raises NodeError."""
        with self._links(coordinates) as links, _told():
            return await links.host_key(NAME, _node(coordinates))

    def known_hosts(self, coordinates: Coordinates) -> Path:
        """The user's own file of known host keys, as his SSH configuration names it."""
        with self._links(coordinates) as links:
            return links.known_files(NAME, _node(coordinates))[0]

    def _session(self, coordinates: Coordinates) -> AbstractAsyncContextManager[Stream]:
        return self.session(coordinates, coordinates.remote_command)

    @asynccontextmanager
    async def session(
        self, coordinates: Coordinates, command: str, *, hint: Callable[[NodeError], str] | None = None
    ) -> AsyncIterator[Stream]:
        """Log in, and let the login shell run `command`. `hint`: what to do about an error of the login.

        Only what goes wrong before the conversation is the login's fault.
        """
        with self._links(coordinates) as links:
            opening = links.session(NAME, _node(coordinates), command)
            with _told(hint):
                stream = await opening.__aenter__()
            try:
                yield stream
            finally:
                await opening.__aexit__(None, None, None)

    @contextmanager
    def _links(self, coordinates: Coordinates) -> Iterator[SshLinks]:
        """Links that know of host keys what the coordinates say, or else the user's files."""
        with tempfile.TemporaryDirectory(prefix="dasctl-") as folder:
            if coordinates.host_key is not None:
                known = Path(folder) / ".dasctl" / "known_hosts"
                known.parent.mkdir()
                known.write_text(f"{coordinates.host_key}\n", "utf-8")
            yield SshLinks(Path(folder), {}, timeout_s=self._timeout_s, ssh_config=self._ssh_config)


@contextmanager
def _told(hint: Callable[[NodeError], str] | None = None) -> Iterator[None]:
    """Errors of the login in the words of somebody who stands on a node."""
    try:
        yield
    except NodeError as error:
        error.message = error.message.replace(f"node {NAME} (", f"{PEER} (")
        error.args = (error.message,)
        error.hint = (hint or _hint)(error)
        raise


def _hint(error: NodeError) -> str:
    match error:
        case UnknownHostKey(fingerprint=fingerprint):
            return (
                "compare it with 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' on the DAS; then give join-domain "
                f"--host-key {fingerprint}, or --accept-host-key to trust what is shown now"
            )
        case ChangedHostKey():
            return (
                "somebody may be listening in between; if the key was changed on purpose, join again with "
                "--host-key SHA256:… of the new one"
            )
        case AuthenticationFailed():
            return (
                "let this user's key in there: on the DAS, 'dasctl member-key NODE' prints the line for "
                "authorized_keys; join-domain takes another key with --sshkeyfile"
            )
        case _ if "update-node-ssh" in error.hint or "setup-ssh" in error.hint:
            return "look at where the DAS is said to be: --das USER@HOST:PORT"
        case _:
            return error.hint


def _node(coordinates: Coordinates) -> Node:
    das = coordinates.das
    return Node(host=das.host, port=das.port, user=das.user, key=coordinates.key)
