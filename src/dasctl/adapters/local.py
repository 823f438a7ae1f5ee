"""Links to helpers on this machine: a child process, started as a node's login shell would start it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from dasctl.adapters import bootstrap
from dasctl.adapters.link import STDERR_TAIL, Peer, Shipping, Stream, StreamLink
from dasctl.adapters.streams import Fault, FaultyStream, OtherEnd, SocketStream
from dasctl.adapters.throttle import Throttle
from dasctl.core.domain import Node
from dasctl.errors import NodeNotUsable

_END_S = 5.0  # how long a helper may finish after its standard input has ended
_POLL_S = 0.005


class LocalLinks:
    """ports.Links whose nodes are all this machine. HOME is `homes/NAME`, or the user's own without `homes`."""

    def __init__(
        self,
        *,
        homes: Path | None = None,
        python: str = sys.executable,
        faults: Mapping[str, Fault] | None = None,
        payload: bytes | Shipping | None = None,
        throttle: Throttle | None = None,
    ) -> None:
        self._homes = homes
        self._python = python
        self._faults = {} if faults is None else faults
        self._payload = payload
        self._throttle = throttle

    @asynccontextmanager
    async def open(self, name: str, node: Node) -> AsyncIterator[StreamLink]:
        """A link to a helper of its own; see ports.Links.open."""
        peer = Peer(name=name, address="this machine")
        try:
            stream: Stream = await _helper_started([self._python], self._environment(name))
        except OSError as error:
            raise NodeNotUsable(f"{peer}: {self._python} cannot be started: {error.strerror}") from error
        if name in self._faults:
            stream = FaultyStream(stream, self._faults[name])
        link = StreamLink(peer, stream, throttle=self._throttle)
        try:
            link.begin(bootstrap.payload() if self._payload is None else self._payload)
            yield link
        finally:
            await link.close()

    def _environment(self, name: str) -> dict[str, str]:
        if self._homes is None:
            return dict(os.environ)
        home = self._homes / name
        home.mkdir(parents=True, exist_ok=True)
        return {**os.environ, "HOME": str(home)}


async def _helper_started(python: list[str], environment: dict[str, str]) -> SocketStream:
    ours, theirs = socket.socketpair()
    with theirs, tempfile.TemporaryFile() as stderr:
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 (a fork of some milliseconds)
                [*python, "-I", "-S", "-X", "utf8", "-c", bootstrap.PRELUDE],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=stderr,
                cwd=environment.get("HOME") or "/",
                env=environment,
                start_new_session=True,  # Ctrl-C is for us: the helper ends with its input
            )
        except OSError:
            ours.close()
            raise
        kept = os.fdopen(os.dup(stderr.fileno()), "rb")
    return await SocketStream.open(ours, _other_end(process, kept))


def _other_end(process: subprocess.Popen[bytes], stderr: BinaryIO) -> OtherEnd:
    async def ended() -> int | None:
        while process.poll() is None:  # noqa: ASYNC110 (a child watcher for some milliseconds costs more)
            await asyncio.sleep(_POLL_S)
        return process.returncode

    def tail() -> str:
        return _tail(stderr)

    async def end() -> None:
        try:
            async with asyncio.timeout(_END_S):
                await ended()
        except TimeoutError:
            process.send_signal(signal.SIGKILL)
            await ended()
        except asyncio.CancelledError:
            process.kill()
            process.wait()
            raise
        finally:
            stderr.close()

    return OtherEnd(exit_status=ended, stderr_tail=tail, end=end)


def _tail(stderr: BinaryIO) -> str:
    if stderr.closed:
        return ""
    size = os.fstat(stderr.fileno()).st_size
    data = os.pread(stderr.fileno(), STDERR_TAIL, max(0, size - STDERR_TAIL))
    return data.decode("utf-8", "replace")
