"""Links over SSH: which connections are made, shared, and how many at once.

What lives here: nodes, jumps, tunnels, limits; who logs in, asyncssh or, where a login is remembered, the program `ssh`.
What must not: asyncssh itself, whose import takes 65 ms: it is imported when it is to connect (`ssh_connect.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dasctl.adapters.helpers import Helpers
from dasctl.adapters.host_keys import HostKey, HostKeys, Known
from dasctl.adapters.link import Peer, Shipping, Stream, StreamLink
from dasctl.adapters.logins import Logins, config_of_environment
from dasctl.adapters.node_command import COMMAND
from dasctl.adapters.quick_start import import_asyncssh
from dasctl.core.domain import Node
from dasctl.errors import NodeError, NodeUnreachable

if TYPE_CHECKING:
    import asyncssh

    from dasctl.adapters.early_logins import EarlyLogins
    from dasctl.adapters.login_notes import Note
    from dasctl.adapters.logins import Login
    from dasctl.adapters.ssh_connect import Route, Target
    from dasctl.adapters.ssh_keys import Keys, Offer
    from dasctl.adapters.ssh_repeated import Attempt
    from dasctl.adapters.throttle import Throttle

LOGINS_AT_ONCE = 8  # per sshd: OpenSSH's default MaxStartups drops the eleventh that has not logged in


@dataclass(slots=True, kw_only=True)
class _Tunnel:
    """A connection to a jump host, shared by all that go through it; the last one closes it."""

    task: asyncio.Task[asyncssh.SSHClientConnection]
    stack: AsyncExitStack
    users: int = 0


@dataclass(slots=True, kw_only=True)
class _Shared:
    """What connections of one event loop share."""

    keys: Keys | None = None  # what asyncssh logs in with
    limiters: dict[tuple[str, str, int], asyncio.Semaphore] = field(default_factory=dict)
    tunnels: dict[str, _Tunnel] = field(default_factory=dict)
    users: int = 0


class SshLinks:
    """ports.Links over SSH. `nodes` are those of the domain: jumps may name them.

    May be used from several event loops one after the other, not at the same time. Without `repeat` nothing that is
    remembered is used; what works is remembered all the same.
    """

    def __init__(
        self,
        domain_root: Path,
        nodes: Mapping[str, Node],
        *,
        timeout_s: float = 10.0,
        ssh_config: Path | None = None,
        payload: bytes | None = None,
        throttle: Throttle | None = None,
        early: EarlyLogins | None = None,
        repeat: bool = True,
    ) -> None:
        self._nodes = nodes
        self._timeout_s = timeout_s
        self._config = ssh_config or config_of_environment()
        self._payload = payload
        self._throttle = throttle
        self._helpers = Helpers(domain_root / ".dasctl")
        self._logins = Logins(domain_root, self._config)
        self._early = early
        self._repeat = repeat
        self._host_keys = HostKeys(domain_root)
        self._shared: _Shared | None = None

    @property
    def host_keys(self) -> HostKeys:
        """The domain's accepted host keys."""
        return self._host_keys

    @asynccontextmanager
    async def open(self, name: str, node: Node) -> AsyncIterator[StreamLink]:
        """A link to the helper on `node`; see ports.Links.open. A login that is remembered is repeated by `ssh`."""
        if self._payload is None:
            await self._helpers.ready()
        async with self._sharing() as shared, AsyncExitStack() as stack:
            login = self._logins.remembered(name, node) if self._repeat else None
            attempt = None if login is None else await self._repeated(shared, name, login, stack)
            if attempt is None or attempt.link is None:
                fresh = self._fresh(name, node, failed_after_s=None if attempt is None else attempt.took_s)
                yield await stack.enter_async_context(fresh)
            else:
                try:
                    yield attempt.link
                finally:
                    self._helpers.heard(name, attempt.link)
                    if attempt.was_vain():  # the next time asyncssh finds out why
                        self._logins.forget(name)

    async def _repeated(self, shared: _Shared, name: str, login: Login, stack: AsyncExitStack) -> Attempt:
        from dasctl.adapters.ssh_repeated import repeated

        async with self._limiter(shared, login.host, login.port, None):
            return await repeated(
                self._logins, name, login, lambda: self._helper(name), stack,
                timeout_s=self._timeout_s, throttle=self._throttle,
                begun=self._early.take(name, login) if self._early is not None else None,
            )  # fmt: skip

    @asynccontextmanager
    async def _fresh(
        self, name: str, node: Node, *, failed_after_s: float | None
    ) -> AsyncIterator[StreamLink]:
        """A link after a login by asyncssh, which is remembered if it can be repeated. Not None: `ssh` has just failed."""
        note = self._note(name, node, failed=failed_after_s is not None)
        left_s = self._timeout_s - (failed_after_s or 0.0)
        async with (
            self._connection(name, node, note=note, left_s=left_s) as (route, connection),
            self._link(name, route, connection) as link,
            nullcontext() if note is None else note.during(link, route, connection, self._host_keys),
        ):
            yield link

    def _note(self, name: str, node: Node, *, failed: bool) -> Note | None:
        known = not self._repeat and self._logins.remembered(name, node) is not None
        if known or not self._logins.folder or self._logins.rests(name, node):
            return None
        import_asyncssh()
        from dasctl.adapters.login_notes import Note

        return Note(self._logins, name, node, self._config, failed=failed)

    @asynccontextmanager
    async def _link(
        self, name: str, route: Route, connection: asyncssh.SSHClientConnection, *, further: bool = False
    ) -> AsyncIterator[StreamLink]:
        """A link in a session of its own; further ones, for long lines, may be had on the same connection."""
        from dasctl.adapters.ssh_line import SshLine

        line = SshLine(
            connection=connection, opened=lambda: self._link(name, route, connection, further=True)
        )
        helper = self._helper(name)
        made: list[StreamLink] = []

        def begin(stream: Stream) -> None:
            link = StreamLink(
                route.peer, stream, greeting_s=self._timeout_s, throttle=self._throttle, line=line
            )
            link.begin(helper)
            made.append(link)

        async with self._session_on(route, connection, COMMAND, begin, far=further):
            (link,) = made
            try:
                yield link
            finally:
                self._helpers.heard(name, link)

    def _helper(self, name: str) -> bytes | Shipping:
        return self._helpers.shipment(name) if self._payload is None else self._payload

    @asynccontextmanager
    async def session(self, name: str, node: Node, command: str) -> AsyncIterator[Stream]:
        """A session in which `command` runs by the login shell. Raises NodeError as `open` does."""
        async with self._session(name, node, command) as (_, stream):
            yield stream

    async def host_key(self, name: str, node: Node) -> HostKey:
        """The host key that the node shows; it is not trusted by this. Raises NodeError."""
        return (await self.seen(name, node))[0]

    async def seen(self, name: str, node: Node) -> tuple[HostKey, bool]:
        """The host key that the node shows, and whether a login would trust it.

        Raises NodeError, also for a key that is revoked and for a host certificate that is not valid.
        """
        import_asyncssh()
        from dasctl.adapters.ssh_connect import host_key

        async with self._sharing() as shared, AsyncExitStack() as stack:
            route = self._route(_target(name, node))
            tunnel = await self._tunnel(shared, route, node.jump, stack, (name,))
            return await host_key(route, self._host_keys, tunnel=tunnel, timeout_s=self._timeout_s)

    def known_keys(self, name: str, node: Node) -> Known:
        """What is known of the host keys of `node`, by the domain or else by the user."""
        route = self._route(_target(name, node))
        return self._host_keys.known(route.alias, "", route.port, route.known_files)

    def known_files(self, name: str, node: Node) -> tuple[Path, ...]:
        """The user's and the machine's files of known host keys, the user's own first."""
        return self._route(_target(name, node)).known_files

    def key_files(self, name: str, node: Node) -> tuple[str, ...]:
        """The private keys that the SSH configuration names for `node`; none: it names none."""
        return self._route(_target(name, node)).wanted.files

    async def offer(self, name: str, node: Node) -> Offer:
        """The keys that a login at `node` would try. Raises AuthenticationFailed where it has none to try."""
        async with self._sharing() as shared:
            route = self._route(_target(name, node))
            return await _keys(shared).offered(route.wanted, route.peer)

    def forget(self, node: Node) -> None:
        """Drop the accepted host keys of `node`, unless another node of the domain is behind the same sshd."""
        place = self._place(node)
        if not any(other != node and self._place(other) == place for other in self._nodes.values()):
            self._host_keys.forget(*place)

    def _place(self, node: Node) -> tuple[str, int]:
        route = self._route(_target("", node))
        return route.alias, route.port

    @asynccontextmanager
    async def connection(
        self, name: str, node: Node, *, password: str | None = None
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """A connection that is logged in, with keys or with `password`. Raises NodeError."""
        async with self._connection(name, node, password) as (_, connection):
            yield connection

    @asynccontextmanager
    async def _connection(
        self,
        name: str,
        node: Node,
        password: str | None = None,
        *,
        note: Note | None = None,
        left_s: float | None = None,
    ) -> AsyncIterator[tuple[Route, asyncssh.SSHClientConnection]]:
        import_asyncssh()
        from dasctl.adapters.ssh_connect import connected

        async with self._sharing() as shared, AsyncExitStack() as stack:
            route = self._route(_target(name, node))
            if note is not None:
                note.before_login(route, _keys(shared), self._host_keys)
            tunnel = await self._tunnel(shared, route, node.jump, stack, (name,))
            connection = await stack.enter_async_context(
                connected(
                    route,
                    self._host_keys,
                    _keys(shared),
                    timeout_s=self._timeout_s,
                    tunnel=tunnel,
                    password=password,
                    limiter=self._limiter(shared, route.host, route.port, node.jump or route.jump),
                    left_s=left_s,
                )
            )
            yield route, connection

    @asynccontextmanager
    async def _session(self, name: str, node: Node, command: str) -> AsyncIterator[tuple[Peer, Stream]]:
        async with (
            self._connection(name, node) as (route, connection),
            self._session_on(route, connection, command) as stream,
        ):
            yield route.peer, stream

    @asynccontextmanager
    async def _session_on(
        self,
        route: Route,
        connection: asyncssh.SSHClientConnection,
        command: str,
        begin: Callable[[Stream], None] = lambda stream: None,
        *,
        far: bool = False,
    ) -> AsyncIterator[Stream]:
        """A session. `begin` may write as soon as the command was asked for: what it says need not wait for the answer."""
        from dasctl.adapters.ssh_errors import FOREIGN, Shown, translated
        from dasctl.adapters.ssh_stream import PACKET, WINDOW, SessionStream

        stream, loop = SessionStream(far=far), asyncio.get_running_loop()

        def opened() -> Any:
            loop.call_soon(begin, stream)  # asyncssh asks for the command before anything else can run
            return stream

        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.create_session(
                    opened, command, encoding=None, window=WINDOW, max_pktsize=PACKET
                )
        except FOREIGN as error:
            raise translated(error, route.peer, Shown(), timeout_s=self._timeout_s) from error
        try:
            yield stream
        finally:
            await stream.close()

    @asynccontextmanager
    async def _sharing(self) -> AsyncIterator[_Shared]:
        """What is shared lives as long as somebody uses it."""
        if self._shared is None:
            self._shared = _Shared()
        shared = self._shared
        shared.users += 1
        try:
            yield shared
        finally:
            shared.users -= 1
            if shared.users == 0:
                self._shared = None
                if shared.keys is not None:
                    shared.keys.close()
                self._helpers.keep()
                self._logins.keep()

    def _route(self, target: Target) -> Route:
        import_asyncssh()
        from dasctl.adapters.ssh_connect import routed

        return routed(target, self._config)

    def _limiter(self, shared: _Shared, host: str, port: int, jump: str | None) -> asyncio.Semaphore:
        key = (jump or "", host, port)
        return shared.limiters.setdefault(key, asyncio.Semaphore(LOGINS_AT_ONCE))

    # Tunnels.

    async def _tunnel(
        self, shared: _Shared, route: Route, jump: str | None, stack: AsyncExitStack, way: tuple[str, ...]
    ) -> asyncssh.SSHClientConnection | None:
        """The connection to the last jump host before `route`, held by `stack`; None: it is reached directly."""
        jump = jump or route.jump
        if jump is None:
            return None
        if jump in way:
            raise NodeUnreachable(
                f"{route.peer}: its jump hosts lead in a circle: {' → '.join((*way, jump))}"
            )
        tunnel = shared.tunnels.get(jump)
        if tunnel is None or _broken(tunnel):
            tunnel = self._dug(shared, jump, way)
            shared.tunnels[jump] = tunnel
        tunnel.users += 1
        stack.push_async_callback(self._left, shared, jump, tunnel)
        try:
            return await asyncio.shield(tunnel.task)
        except NodeError as error:
            raise NodeUnreachable(
                f"{route.peer}: its jump host does not let us through: {error}", hint=error.hint
            ) from error

    def _dug(self, shared: _Shared, jump: str, way: tuple[str, ...]) -> _Tunnel:
        stack = AsyncExitStack()
        # A task of its own, because it belongs to all who wait for it: none of them may cancel it for the others.
        # `_left` of the last of them awaits its end.
        task = asyncio.create_task(self._jumped(shared, jump, stack, (*way, jump)))
        return _Tunnel(task=task, stack=stack)

    async def _jumped(
        self, shared: _Shared, jump: str, stack: AsyncExitStack, way: tuple[str, ...]
    ) -> asyncssh.SSHClientConnection:
        from dasctl.adapters.ssh_connect import logged_in

        *before, last = jump.split(",")
        node = self._nodes.get(last)
        target = _target(last, node) if node else _target_of_text(last)
        route = self._route(target)
        through = ",".join(before) or (node.jump if node else None)
        return await logged_in(
            route,
            self._host_keys,
            _keys(shared),
            timeout_s=self._timeout_s,
            tunnel=await self._tunnel(shared, route, through, stack, way),
            password=None,
            limiter=self._limiter(shared, route.host, route.port, through),
            stack=stack,
        )

    @staticmethod
    async def _left(shared: _Shared, jump: str, tunnel: _Tunnel) -> None:
        tunnel.users -= 1
        if tunnel.users:
            return
        if shared.tunnels.get(jump) is tunnel:
            del shared.tunnels[jump]
        tunnel.task.cancel()
        await asyncio.gather(tunnel.task, return_exceptions=True)
        await tunnel.stack.aclose()


def _keys(shared: _Shared) -> Keys:
    import_asyncssh()
    from dasctl.adapters.ssh_keys import Keys

    if shared.keys is None:
        shared.keys = Keys()
    return shared.keys


def _broken(tunnel: _Tunnel) -> bool:
    """Whether it served and broke. A failed one is kept: all who came for it fail alike, at once."""
    if not tunnel.task.done() or tunnel.task.cancelled() or tunnel.task.exception() is not None:
        return False
    return tunnel.task.result().is_closed()


def _target(name: str, node: Node) -> Target:
    from dasctl.adapters.ssh_connect import Target

    return Target(name=name, host=node.host, port=node.port, user=node.user, key=node.key)


def _target_of_text(text: str) -> Target:
    """`[user@]host[:port]`, as in ProxyJump, also as `ssh://…`; an IPv6 address stands in brackets."""
    from dasctl.adapters.ssh_connect import Target

    rest = text.strip().removeprefix("ssh://")
    user, at, place = rest.rpartition("@")
    host, port = place, ""
    if place.startswith("["):
        host, _, tail = place[1:].partition("]")
        port = tail.removeprefix(":")
    elif place.count(":") == 1:
        host, _, port = place.partition(":")
    if not host or (port and not port.isdigit()):
        raise NodeUnreachable(f"not a jump host: {text!r}", hint="a node's name, or user@host:port")
    return Target(
        name=text.strip(),
        host=host,
        port=int(port) if port else None,
        user=user if at else None,
        is_node=False,
    )
