"""One SSH connection: what OpenSSH's configuration says about a host, the options of asyncssh, the login.

What lives here: everything about one connection. What must not: which connections are shared, links, helpers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import asyncssh
from asyncssh.kex import get_default_kex_algs
from asyncssh.public_key import get_default_certificate_algs, get_default_public_key_algs

from dasctl.adapters.host_keys import HostKey, HostKeys, Known
from dasctl.adapters.link import Peer
from dasctl.adapters.ssh_at_once import is_one_file, log_in_at_once
from dasctl.adapters.ssh_errors import FOREIGN, Shown, translated
from dasctl.adapters.ssh_keys import Keys, Wanted, agent_socket
from dasctl.errors import NodeUnreachable

KEEPALIVE_S = 15.0  # between two signs of life; three without an answer end the connection
KEEPALIVE_COUNT = 3
_CLOSE_S = 1.0  # how long a connection may take to say goodbye
# AES-GCM is nearly twice as fast as chacha20 here; the rest are for servers that have none.
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux only
_SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts"
_USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to connect, as the domain or a jump names it; what is None is left to the configuration."""

    name: str
    host: str
    port: int | None = None
    user: str | None = None
    key: str | None = None
    is_node: bool = True  # False: a jump host that the domain has no entry for


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A target after the configuration has had its say."""

    target: Target
    host: str
    port: int
    alias: str  # under which host keys are known
    jump: str | None  # ProxyJump
    proxy: str | None  # ProxyCommand
    wanted: Wanted
    known_files: tuple[Path, ...]
    options: asyncssh.SSHClientConnectionOptions

    @property
    def peer(self) -> Peer:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return Peer(name=self.target.name, address=f"{host}:{self.port}")


def routed(target: Target, config: Path | None, *, system: Path = _SYSTEM_CONFIG) -> Route:
    """`target` as OpenSSH's configuration completes it: `config` alone, or else the user's, then the machine's.

    Raises NodeUnreachable for a configuration with a fault.
    """
    files = configurations(config, system=system)
    try:
        options = _configured(target, [str(path) for path in files if path.is_file()])
    except (ValueError, OSError) as error:
        peer = Peer(name=target.name, address=target.host)
        raise NodeUnreachable(f"{peer}: {error}", hint="correct the SSH configuration") from error
    said = options.config
    return Route(
        target=target,
        host=options.host,
        port=options.port,
        alias=options.host_key_alias or options.host,
        jump=options.tunnel if isinstance(options.tunnel, str) else None,
        proxy=cast("str | None", said.get("ProxyCommand")),
        wanted=Wanted(
            key=target.key,
            files=tuple(cast("Sequence[str]", said.get("IdentityFile", ()))),
            only=bool(said.get("IdentitiesOnly")),
            agent=agent_socket(said.get("IdentityAgent", "")),
        ),
        known_files=_known_files(said),
        options=options,
    )


def configurations(config: Path | None, *, system: Path = _SYSTEM_CONFIG) -> list[Path]:
    """The files of OpenSSH's configuration that are read, there or not: `config` alone, or the user's and the machine's."""
    return [config] if config is not None else [Path("~/.ssh/config").expanduser(), system]


def _configured(target: Target, files: list[str]) -> asyncssh.SSHClientConnectionOptions:
    return asyncssh.SSHClientConnectionOptions(
        config=files or None,
        host=target.host,
        port=() if target.port is None else target.port,
        username=() if target.user is None else target.user,
        client_keys=None,  # they are loaded once for all
        known_hosts=None,
        x509_trusted_certs=None,
        x509_trusted_cert_paths=[],
        host_based_auth=False,
        kbdint_auth=False,
        password_auth=False,
        gss_host=None,
        agent_forwarding=False,
        x11_forwarding=False,
        request_pty=False,
        command=None,
        send_env=None,  # what runs on a node must not depend on the locale of who started it
        keepalive_interval=KEEPALIVE_S,
        keepalive_count_max=KEEPALIVE_COUNT,
    )


def _known_files(said: asyncssh.config.SSHConfig) -> tuple[Path, ...]:
    user = cast("Sequence[str]", said.get("UserKnownHostsFile", _USER_KNOWN_HOSTS))
    system = cast("Sequence[str]", said.get("GlobalKnownHostsFile", (_SYSTEM_KNOWN_HOSTS,)))
    return tuple(Path(name).expanduser() for name in (*user, *system))


class _Client(asyncssh.SSHClient):
    """Remembers what the far side showed; trusts nothing by itself."""

    def __init__(self, route: Route, shown: Shown, password: str | None, *, one_key: bool = False) -> None:
        self._route = route
        self._one_key = one_key
        self._shown = shown
        self._password = password
        self._asked_for_prompts = False

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Let the kernel acknowledge at once what we receive.

        sshd sends with Nagle's algorithm: its answer to our first request waits for the acknowledgement of what it
        said before, and that would come 40 ms later. The kernel forgets the option, so it is set at each arrival.
        """
        self._shown.connection = conn
        if self._one_key:
            log_in_at_once(conn)
        sock = conn.get_extra_info("socket")
        if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6) or _QUICKACK is None:
            return
        received = conn.data_received

        def quickly_received(data: bytes, datatype: int | None = None) -> None:
            received(data, datatype)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

        setattr(conn, "data_received", quickly_received)  # noqa: B010 (asyncssh has no room for it)

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self._shown.key = as_host_key(self._route, key)
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self._shown.authority = key.public_data
        return False

    def password_auth_requested(self) -> str | None:
        password, self._password = self._password, None  # once: a wrong one is not better the second time
        return password

    def kbdint_auth_requested(self) -> str | None:
        # Once: sshd without PAM offers this method and refuses it unasked, as often as one tries.
        if self._password is None or self._asked_for_prompts:
            return None
        self._asked_for_prompts = True
        return ""

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        if not prompts:
            return []
        password, self._password = self._password, None
        return None if password is None or len(prompts) != 1 else [password]


def as_host_key(route: Route, key: asyncssh.SSHKey) -> HostKey:
    """`key` as shown by the far side of `route`."""
    algorithm, blob = key.export_public_key("openssh").decode("ascii").split()[:2]
    return HostKey(host=route.alias, port=route.port, type=algorithm, blob=blob)


def _by_hand(target: Target) -> str:
    """What `ssh` is given to reach a host that is no node; empty for a node."""
    if target.is_node:
        return ""
    place = f"{target.user}@{target.host}" if target.user else target.host
    return f"-p {target.port} {place}" if target.port else place


@asynccontextmanager
async def connected(
    route: Route,
    host_keys: HostKeys,
    keys: Keys,
    *,
    timeout_s: float,
    tunnel: asyncssh.SSHClientConnection | None = None,
    password: str | None = None,
    limiter: asyncio.Semaphore | None = None,
    left_s: float | None = None,
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection that is logged in; closed at the end. `limiter` is held during the login only. `left_s` is what is left
    of `timeout_s` by now.
    """
    async with contextlib.AsyncExitStack() as stack:
        connection = await logged_in(
            route,
            host_keys,
            keys,
            timeout_s=timeout_s,
            tunnel=tunnel,
            password=password,
            limiter=limiter,
            stack=stack,
            left_s=left_s,
        )
        yield connection


async def logged_in(
    route: Route,
    host_keys: HostKeys,
    keys: Keys,
    *,
    timeout_s: float,
    tunnel: asyncssh.SSHClientConnection | None,
    password: str | None,
    limiter: asyncio.Semaphore | None,
    stack: contextlib.AsyncExitStack,
    left_s: float | None = None,
) -> asyncssh.SSHClientConnection:
    """Connect and log in; what has to be closed is put on `stack`. Raises NodeError."""
    shown = Shown(user=route.options.username, by_hand=_by_hand(route.target))
    try:
        pairs: Sequence[object] = ()
        if password is None:
            offer = await keys.offered(route.wanted, route.peer)
            pairs, shown.locked = offer.pairs, offer.locked
        async with (
            limiter or contextlib.nullcontext(),
            asyncio.timeout(timeout_s if left_s is None else left_s),
        ):
            sock = await _proxied(route, shown, stack) if tunnel is None else None
            connection = await _login(route, host_keys, shown, pairs, tunnel, sock, password, timeout_s)
    except FOREIGN as error:
        raise translated(error, route.peer, shown, timeout_s=timeout_s) from error
    stack.push_async_callback(_closed, connection)
    # A node that hangs in the middle is noticed after four times what it may take to answer.
    connection.set_keepalive(min(KEEPALIVE_S, timeout_s))
    return connection


async def _login(
    route: Route,
    host_keys: HostKeys,
    shown: Shown,
    pairs: Sequence[object],
    tunnel: asyncssh.SSHClientConnection | None,
    sock: socket.socket | None,
    password: str | None,
    timeout_s: float,
) -> asyncssh.SSHClientConnection:
    def known(host: str, address: str, port: int | None) -> tuple[object, ...]:
        shown.known = host_keys.known(route.alias, address, route.port, route.known_files)
        return shown.known.trusted, shown.known.authorities, shown.known.revoked, (), (), (), ()

    shown.known = host_keys.known(route.alias, "", route.port, route.known_files)
    target = route.target
    said = route.options.config
    return await asyncssh.connect(
        target.host,
        () if target.port is None else target.port,
        options=route.options,
        config=None,
        tunnel=tunnel,
        sock=sock,
        client_factory=lambda: _Client(route, shown, password, one_key=is_one_file(pairs)),
        proxy_command=None,
        known_hosts=known,
        server_host_key_algs=_host_key_algorithms(shown.known) if not said.get("HostKeyAlgorithms") else (),
        kex_algs=_exchanges() if not said.get("KexAlgorithms") else (),
        encryption_algs=_CIPHERS if not said.get("Ciphers") else (),
        compression_algs=("none",),
        client_keys=list(pairs) or None,  # a tuple would be one key with its certificate
        public_key_auth=password is None,
        password_auth=password is not None,
        kbdint_auth=password is not None,
        agent_path=None,
        connect_timeout=timeout_s,
        login_timeout=timeout_s,
    )


def _host_key_algorithms(known: Known) -> list[str]:
    """What is known comes first, so that the server shows that key; certificates only where an authority is known."""
    first = [name for key in known.trusted for name in key.sig_algorithms]
    certificates = get_default_certificate_algs() if known.authorities else []
    names = [*certificates, *first, *get_default_public_key_algs()]
    return list(dict.fromkeys(name.decode("ascii") for name in names))


def _exchanges() -> list[str]:
    """Curve25519 first: the group exchange costs half a second."""
    names = [name.decode("ascii") for name in get_default_kex_algs()]
    return sorted(names, key=lambda name: (not name.startswith("curve25519"), "group-exchange" in name))


async def _closed(connection: asyncssh.SSHClientConnection) -> None:
    connection.close()
    try:
        async with asyncio.timeout(_CLOSE_S):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()


async def _proxied(route: Route, shown: Shown, stack: contextlib.AsyncExitStack) -> socket.socket | None:
    """The connection through the ProxyCommand, if there is one; it ends with `stack`."""
    if not route.proxy:
        return None
    said = tempfile.TemporaryFile()  # noqa: SIM115 (a pipe that nobody reads would stop a talkative command)
    stack.callback(said.close)
    shown.proxy = lambda: _end_of(said)
    return await stack.enter_async_context(_proxy(route.proxy, said))


def _end_of(said: IO[bytes]) -> str:
    """The last that was written, on one line; empty also if it is closed."""
    with contextlib.suppress(ValueError, OSError):
        said.seek(max(0, os.fstat(said.fileno()).st_size - 500))
        return " ".join(said.read().decode("utf-8", "replace").split())
    return ""


@asynccontextmanager
async def _proxy(command: str, said: IO[bytes]) -> AsyncIterator[socket.socket]:
    """ProxyCommand, as OpenSSH runs it: by a shell, its input and output are the connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(  # noqa: ASYNC220 (a fork of some milliseconds)
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=said.fileno(),
            start_new_session=True,
        )
        theirs.close()
        try:
            yield ours
        finally:
            process.kill()
            process.wait()  # killed: it takes no time


async def host_key(
    route: Route, host_keys: HostKeys, *, tunnel: asyncssh.SSHClientConnection | None, timeout_s: float
) -> tuple[HostKey, bool]:
    """The key that the far side shows, and whether a login would trust it; nothing is trusted by this.

    Raises NodeError, also for a key that is revoked and for a certificate that is not valid.
    """
    shown = Shown()
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(timeout_s):
                sock = await _proxied(route, shown, stack) if tunnel is None else None
                connection = await _login(route, host_keys, shown, (), tunnel, sock, None, timeout_s)
                stack.push_async_callback(_closed, connection)
        except asyncssh.PermissionDenied:
            pass  # what comes after the host key: nothing was offered to log in with
        except FOREIGN as error:
            if shown.key is None:
                raise translated(error, route.peer, shown, timeout_s=timeout_s) from error
            return shown.key, False
    key = shown.connection.get_server_host_key() if shown.connection else None
    if key is None:
        raise NodeUnreachable(f"{route.peer}: it showed no host key")
    return as_host_key(route, key), True
