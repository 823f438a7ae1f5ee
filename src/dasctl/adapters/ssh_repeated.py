"""Links behind the program `ssh`, where a login is remembered: what becomes of it, and when asyncssh has to log in.

What lives here: the time between the start of `ssh` and the first word of the helper. What must not: what `ssh` is told
(`ssh_program.py`), what is remembered (`logins.py`), errors of logging in: those are asyncssh's to find and to tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dasctl.adapters import ssh_program
from dasctl.adapters.early_logins import Begun
from dasctl.adapters.link import Peer, Shipping, StreamLink, no_answer
from dasctl.adapters.logins import Login, Logins
from dasctl.adapters.node_command import COMMAND
from dasctl.adapters.ssh_program import Running
from dasctl.adapters.streams import OtherEnd, SocketStream

if TYPE_CHECKING:
    from dasctl.adapters.throttle import Throttle

_FIRST_LOOK_S, _LOOK_S = 0.02, 0.25  # between two looks at whether a node that says nothing has let us in
_OWN_FAILURE = 255  # the exit status of `ssh` for a failure of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of repeating a login. `link` None: it did not work, and took so many seconds."""

    link: StreamLink | None
    took_s: float
    running: Running | None = None

    def was_vain(self) -> bool:
        """Whether `ssh` has ended by itself before the helper spoke."""
        spoken = self.link is not None and self.link.has_spoken
        return not spoken and (self.running is None or self.running.child.process.poll() is not None)


async def repeated(
    logins: Logins,
    name: str,
    login: Login,
    helper: Callable[[], bytes | Shipping],
    stack: AsyncExitStack,
    *,
    timeout_s: float,
    throttle: Throttle | None,
    begun: Begun | None,
) -> Attempt:
    """A link behind `login`, ended with `stack`. What is remembered of `name` is dropped where it does not work. `begun`: it
    runs already.

    Raises NodeTimeout: then all of `timeout_s` is over.
    """
    loop, peer = asyncio.get_running_loop(), peer_of(name, login)
    began = loop.time()
    try:
        running = begun.running if begun is not None else _started(logins, login, timeout_s)
    except OSError:
        logins.forget(name)
        return Attempt(link=None, took_s=0.0)
    stream = SocketStream(running.sock, _other_end(running))
    link = StreamLink(peer, stream, greeting_s=timeout_s, throttle=throttle)
    stack.push_async_callback(link.close)
    if begun is None:
        link.begin(helper())
    else:
        link.go_on(begun.helper, sent=begun.sent, rest=begun.rest)
    try:
        async with asyncio.timeout(timeout_s):
            if await _is_through(running, stream):
                return Attempt(link=link, took_s=loop.time() - began, running=running)
    except TimeoutError as error:
        logins.forget(name)
        raise no_answer(peer, timeout_s) from error
    logins.forget(name)
    await link.close()
    return Attempt(link=None, took_s=loop.time() - began)


def _started(logins: Logins, login: Login, timeout_s: float) -> Running:
    return ssh_program.started(login, logins.hosts_file(login), COMMAND, timeout_s=timeout_s)


def peer_of(name: str, login: Login) -> Peer:
    """How messages name the node: as after a login by asyncssh."""
    host = f"[{login.host}]" if ":" in login.host else login.host
    return Peer(name=name, address=f"{host}:{login.port}")


async def _is_through(running: Running, stream: SocketStream) -> bool:
    """Wait until the node speaks, or has let us in and says nothing yet; False: `ssh` ended before that."""
    speaking = asyncio.ensure_future(stream.spoken())
    try:
        look_s = _FIRST_LOOK_S
        while not speaking.done():
            if running.is_logged_in():
                return True
            await asyncio.wait({speaking}, timeout=look_s)
            look_s = min(look_s * 2, _LOOK_S)
        return speaking.result()
    finally:
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        running.hide_log()


def _other_end(running: Running) -> OtherEnd:
    child = running.child

    async def exit_status() -> int | None:
        status = await child.ended()
        return None if status == _OWN_FAILURE else status

    def stderr_tail() -> str:
        ended = child.process.poll() is not None
        return "\n".join(filter(None, (child.stderr_tail(), running.reason() if ended else "")))

    async def end() -> None:
        child.process.kill()
        try:
            await child.ended()
        finally:
            running.kill()

    return OtherEnd(exit_status=exit_status, stderr_tail=stderr_tail, end=end)
