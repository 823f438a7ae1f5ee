"""An SSH server for machines that have none: one folder, one list of authorised keys, the rights of whoever runs it.

What lives here: the server. It runs commands and does nothing else: no shell without a command, no terminal, no
forwarding of ports, agents or X11, no file transfer. What must not: screens, the domain.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from dasctl.adapters.embedded_session import Limits, Running, Session
from dasctl.errors import OperationFailed, UsageError

LOGIN_TIMEOUT_S = 30.0
MAX_SESSIONS = 100  # commands at once, over all connections
_KEEPALIVE_S = 15.0
_STOP_S = 5.0  # how long commands may take to end when the server stops


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The server listens. `fingerprint` is that of its host key."""

    port: int
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is served: commands run in `folder`, which is also their HOME, for the keys in the file `authorized_keys`.

    The file is read anew at each login. `host_key` is made at the first start. `on_line` gets one line per event.
    """

    folder: Path
    authorized_keys: Path
    host_key: Path
    host: str = "127.0.0.1"
    port: int = 0
    max_sessions: int = MAX_SESSIONS
    login_timeout_s: float = LOGIN_TIMEOUT_S
    on_line: Callable[[str], None] = field(default=lambda line: None)


async def serve(service: Service, *, on_ready: Callable[[Ready], None]) -> None:
    """Serve until SIGTERM or SIGINT. Commands end with the server; what they have detached does not.

    Raises OperationFailed (the port is taken, the host key cannot be read) and UsageError (authorized_keys).
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stopped.set)
    try:
        async with serving(service) as ready:
            on_ready(ready)
            await stopped.wait()
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[Ready]:
    """The server, for as long as the context lasts; errors as with `serve`."""
    key = _host_key(service.host_key)
    _authorized(service.authorized_keys)
    running = Running(limits=Limits(sessions=service.max_sessions))
    connections: set[asyncssh.SSHServerConnection] = set()
    try:
        acceptor = await asyncssh.create_server(
            lambda: _Server(service, running, connections),
            service.host,
            service.port,
            config=None,
            server_host_keys=[key],
            encoding=None,
            line_editor=False,
            allow_pty=False,
            allow_scp=False,
            sftp_factory=None,
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            public_key_auth=True,
            gss_host=None,
            agent_forwarding=False,
            x11_forwarding=False,
            compression_algs=("none",),
            login_timeout=service.login_timeout_s,
            keepalive_interval=_KEEPALIVE_S,
            window=Session.WINDOW,
        )
    except OSError as error:
        raise OperationFailed(
            f"cannot listen on {service.host}:{service.port}: {os.strerror(error.errno or 0).lower()}",
            hint="choose another port, or 0 for any free one",
        ) from error
    try:
        yield Ready(port=acceptor.get_port(), fingerprint=key.get_fingerprint())
    finally:
        acceptor.close()
        for connection in list(connections):
            connection.close()
        await running.ended(_STOP_S)
        await acceptor.wait_closed()


class _Server(asyncssh.SSHServer):
    """One connection."""

    def __init__(
        self, service: Service, running: Running, connections: set[asyncssh.SSHServerConnection]
    ) -> None:
        self._service = service
        self._running = running
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None
        self._who = "?"
        self._user = ""
        self._accepted = False

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)
        peer = conn.get_extra_info("peername") or ("?", 0)
        self._who = f"{peer[0]}:{peer[1]}"

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connections.discard(self._connection)
        if not self._accepted:
            self._service.on_line(f"{self._who}: not let in{f' as {self._user}' if self._user else ''}")

    def begin_auth(self, username: str) -> bool:
        assert self._connection is not None
        self._user = username
        try:
            self._connection.set_authorized_keys(_authorized(self._service.authorized_keys))
        except UsageError as error:
            self._service.on_line(f"{self._who}: {error}")
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def auth_completed(self) -> None:
        self._accepted = True
        self._service.on_line(f"{self._who}: {self._user} logged in")

    def session_requested(self) -> Any:
        if not self._running.may_start():
            self._service.on_line(
                f"{self._who}: refused, {self._running.limits.sessions} commands run already"
            )
            return False
        environment = _environment(self._service.folder, self._who)
        return Session(self._running, self._service.folder, environment)


def _environment(folder: Path, peer: str) -> dict[str, str]:
    """What a login would give: little, and the server's own words for paths and languages."""
    kept = {
        name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR") if name in os.environ
    }
    user = _user()
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        **kept,
        "HOME": str(folder),
        "SHELL": "/bin/sh",
        "USER": user,
        "LOGNAME": user,
        "SSH_CLIENT": peer.replace(":", " "),
    }


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _authorized(path: Path) -> asyncssh.SSHAuthorizedKeys:
    """The keys that may log in. Options that asyncssh would pass over are refused: they restrict."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist", hint="put public keys there, one a line") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for number, line in enumerate(lines, 1):
        if "expiry-time=" in line or "verify-required" in line.split(" ssh-")[0]:
            raise UsageError(f"{path}: key {number} has an option that this server does not know")
    try:
        return asyncssh.import_authorized_keys("\n".join(lines))
    except ValueError as error:
        raise UsageError(
            f"{path}: {error}", hint="one public key a line, as in ~/.ssh/authorized_keys"
        ) from error


def _host_key(path: Path) -> asyncssh.SSHKey:
    """The host key, made where there is none; nobody else may read it at any moment."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            key = asyncssh.generate_private_key("ssh-ed25519", comment="dasctl serve-ssh")
            _written(path, key.export_private_key("openssh"))
        return asyncssh.read_private_key(path)
    except (OSError, asyncssh.KeyImportError) as error:
        raise OperationFailed(f"the host key {path} cannot be used: {error}") from error


def _written(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another server of this folder was faster
            os.link(beside, path)
    finally:
        beside.unlink()
