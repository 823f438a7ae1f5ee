"""What a connection tells of its line, and further sessions on it: link.Line over asyncssh.

What lives here: the length of the line. What must not: how a session becomes a link (`ssh.py`).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import asyncssh

    from dasctl.adapters.link import StreamLink

LOOKS = 2  # the shorter one counts: the other waited for a processor
MOST_LOOKS = (
    6  # where they differ, so that the processors are busy: a short line must not be taken for a long one
)
STEADY = 1.5  # times the shortest: looks that are no further apart agree
LIMIT_S = 2.0  # for all of them together
_SHORT_S = 0.005  # no line as short as this one is worth another look
_TCP_INFO, _MIN_RTT = 256, 148  # bytes to ask for; where tcpi_min_rtt stands in Linux's struct tcp_info
KEEPALIVE = b"keepalive@openssh.com"  # a global request that every server answers, if only with a failure


@dataclass(frozen=True, slots=True, kw_only=True)
class SshLine:
    """link.Line over one connection. `opened` makes a further link on it."""

    connection: asyncssh.SSHClientConnection
    opened: Callable[[], AbstractAsyncContextManager[StreamLink]]

    async def round_trip_s(self) -> float | None:
        """How long the server takes to answer a question that costs it nothing; None where it does not in time.

        What this process computed meanwhile, for other nodes, is not the line's.
        """
        # asyncssh has no public name for it; without it every line counts as short.
        ask = getattr(cast(Any, self.connection), "_make_global_request", None)
        if ask is None:
            return None
        seconds: list[float] = []
        try:
            async with asyncio.timeout(LIMIT_S):
                while len(seconds) < LOOKS or (len(seconds) < MOST_LOOKS and not _agree(seconds)):
                    started, busy = time.monotonic(), time.process_time()
                    await ask(KEEPALIVE)
                    took = time.monotonic() - started
                    seconds.append(max(took - (time.process_time() - busy), 0.0))
        except TimeoutError:
            pass
        return min(seconds, default=None)

    def link(self) -> AbstractAsyncContextManager[StreamLink]:
        """See link.Line.link."""
        return self.opened()


def kernels_round_trip_s(connection: asyncssh.SSHClientConnection) -> float | None:
    """The shortest that the kernel has seen: busy processors do not lengthen it. But it ends at the next host that takes
    part in TCP, such as a tunnel's. None where it cannot be known.
    """
    sock = connection.get_extra_info("socket")
    try:
        told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO)
        (microseconds,) = struct.unpack_from("=I", told, _MIN_RTT)
    except (AttributeError, OSError, struct.error):
        return None
    return microseconds / 1e6 if microseconds < 0xFFFFFFFF else None


def _agree(seconds: list[float]) -> bool:
    """Whether the two shortest are alike, or too short to matter."""
    shortest, second = sorted(seconds)[:2]
    return second <= max(shortest * STEADY, _SHORT_S)
