"""Links to helpers on this machine: a child process, started as a node's login shell would start it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from dasctl.adapters import bootstrap
from dasctl.adapters.children import Child, socket_pair
from dasctl.adapters.link import Peer, Shipping, Stream, StreamLink
from dasctl.adapters.node_command import PRELUDE
from dasctl.adapters.streams import Fault, FaultyStream, SocketStream
from dasctl.adapters.throttle import Throttle
from dasctl.core.domain import Node
from dasctl.errors import NodeNotUsable

_END_S = 5.0  # how long a helper may finish after its standard input has ended


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
            stream: Stream = helper_started([self._python], self._environment(name))
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


def helper_started(python: Sequence[str], environment: dict[str, str]) -> SocketStream:
    ours, theirs = socket_pair()
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 (the child's end closes it)
    with theirs:
        try:
            child = Child.started(
                [*python, "-I", "-S", "-X", "utf8", "-c", PRELUDE], theirs, stderr,
                folder=environment.get("HOME") or "/", environment=environment,
            )  # fmt: skip
        except OSError:
            ours.close()
            stderr.close()
            raise
    return SocketStream(ours, child.other_end(patience_s=_END_S))
