"""What a login by asyncssh amounted to, written down for the program `ssh` to repeat: only where it says the same there.

What lives here: which logins are that plain, and what had a say in them. What must not: what becomes of it (`logins.py`).
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dasctl.adapters.logins import Login, Logins, looks_of
from dasctl.adapters.ssh_connect import Route, as_host_key, configurations
from dasctl.adapters.ssh_line import kernels_round_trip_s
from dasctl.core.lines import LONG_S

if TYPE_CHECKING:
    import asyncssh

    from dasctl.adapters.host_keys import HostKeys
    from dasctl.adapters.link import StreamLink
    from dasctl.adapters.ssh_keys import Keys
    from dasctl.core.domain import Node

SHORT_S = (
    0.01  # the longest round trip of a line on which `ssh` is as quick: it takes twice as many for a login
)
HOLDS_S = 7 * 86400.0  # then the line is measured anew
RESTS_S = 3600.0  # before another try at what `ssh` did not get through with
_LOOKS, _PAUSE_S = 10, 0.03
_SETTLED_NS = (
    100_000_000  # a file that changed so shortly before we looked may change again without looking otherwise
)
_DEEPEST = 8  # files that include files
_PASSED_ON = ("Ciphers", "HostKeyAlgorithms", "KexAlgorithms", "MACs")
# What a configuration may say besides: heeded already when the route was found, or of no effect on our logins.
_NO_MATTER = {
    "CASignatureAlgorithms", "CanonicalizeFallbackLocal", "CanonicalizeMaxDots", "ChallengeResponseAuthentication",
    "Compression", "ConnectTimeout", "EnableSSHKeySign", "ForwardAgent", "ForwardX11Trusted", "GSSAPIAuthentication",
    "GSSAPIDelegateCredentials", "GSSAPIKeyExchange", "GlobalKnownHostsFile", "HostKeyAlias", "HostbasedAuthentication",
    "Hostname", "IdentitiesOnly", "IdentityAgent", "IdentityFile", "KbdInteractiveAuthentication",
    "PasswordAuthentication", "Port", "ProxyCommand", "ProxyJump", "PubkeyAuthentication", "RequestTTY", "SendEnv",
    "ServerAliveCountMax", "ServerAliveInterval", "TCPKeepAlive", "Tag", "User", "UserKnownHostsFile",
}  # fmt: skip
_MATCHES = {
    "all",
    "host",
    "originalhost",
    "user",
    "localuser",
}  # conditions that follow from what the guard knows


class Note:
    """What is learned of one login, from before its configuration is read to the end of its link.

    `failed`: `ssh` has just not got through with what was remembered.
    """

    def __init__(self, logins: Logins, name: str, node: Node, config: Path | None, *, failed: bool) -> None:
        self._logins = logins
        self._name = name
        self._node = node
        self._failed = failed
        self._files = configuration_files(config)
        self._watched = looks_of(self._files or ())
        self._key: Path | None = None

    def before_login(self, route: Route, keys: Keys, host_keys: HostKeys) -> None:
        """Look at what the login is about to read. To be called as soon as there is a route."""
        program, key = _program(), keys.only_file(route.wanted)
        plain = self._files is not None and not (self._node.jump or route.jump or route.proxy)
        if not plain or program is None or key is None or not _is_private(key):
            return
        known = (str(host_keys.path), *map(str, route.known_files))
        candidates = [str(path) for path in keys.candidates(route.wanted)]
        certificates = [f"{path}-cert.pub" for path in candidates]
        self._watched += looks_of(dict.fromkeys((*known, *candidates, *certificates, program)))
        newest = max((look[4] for _, look in self._watched if look), default=0)
        if newest < time.time_ns() - _SETTLED_NS:
            self._key = key

    @asynccontextmanager
    async def during(
        self, link: StreamLink, route: Route, connection: asyncssh.SSHClientConnection, host_keys: HostKeys
    ) -> AsyncIterator[None]:
        """Measure the line beside the work; at the end, if that went well, the login is remembered."""
        login = login_of(route, self._key, connection, host_keys) if self._key is not None else None
        if login is None:
            yield
            return
        far = kernels_round_trip_s(connection)
        if far is not None and far >= SHORT_S:
            yield
            return
        # Where the kernel has seen a short line, only a tunnel could make it longer: what is long has further channels.
        measuring = asyncio.ensure_future(_measured(link, SHORT_S if far is None else LONG_S))
        try:
            yield
            if link.has_spoken:
                self._learn(login, measuring)
        finally:
            measuring.cancel()
            await asyncio.gather(measuring, return_exceptions=True)

    def _learn(self, login: Login, measuring: asyncio.Future[float | None]) -> None:
        measured = measuring.done() and not measuring.cancelled() and measuring.exception() is None
        round_trip = measuring.result() if measured else None
        if round_trip is None or looks_of(path for path, _ in self._watched) != self._watched:
            return
        if self._failed:
            self._logins.learn(self._name, self._node, None, self._watched, for_s=RESTS_S)
        else:
            self._logins.learn(self._name, self._node, login, self._watched, for_s=HOLDS_S)


async def _measured(link: StreamLink, short_s: float) -> float | None:
    """The length of its line, if that is short; looked at again while it seems long: other nodes' logins keep us busy."""
    shortest = await link.measure()
    for _ in range(_LOOKS):
        if shortest is None or shortest < short_s:
            return shortest
        await asyncio.sleep(_PAUSE_S)
        shortest = await link.measure()
    return None


def configuration_files(config: Path | None) -> list[str] | None:
    """All files, and folders of files, that the configuration is read from. None: it follows from more than its files."""
    try:
        return list(dict.fromkeys(name for path in configurations(config) for name in _read_with(path, 0)))
    except (_Unclear, OSError, ValueError, RuntimeError):  # asyncssh says what is wrong with it
        return None


class _Unclear(Exception):
    """What a configuration amounts to cannot be told from its files."""


def _read_with(path: Path, depth: int) -> Iterator[str]:
    yield str(path)
    if depth > _DEEPEST:
        raise _Unclear
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, IsADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise _Unclear from error
    for line in text.splitlines():
        first, *rest = re.split(r"[\s=]+", line.strip(), maxsplit=1)
        said = rest[0] if rest else ""
        if "${" in said:
            raise _Unclear
        if first.lower() == "match":
            _only_plain_conditions(said)
        elif first.lower() == "include":
            yield from _included(said, depth)


def _only_plain_conditions(said: str) -> None:
    words = said.lower().replace("=", " ").split()
    while words:
        condition = words.pop(0).lstrip("!")
        if condition not in _MATCHES or '"' in said:
            raise _Unclear
        if condition != "all" and words:
            words.pop(0)


def _included(said: str, depth: int) -> Iterator[str]:
    """As asyncssh finds them. A new one is noticed by its folder."""
    for pattern in said.split():
        path = Path("~/.ssh").expanduser() / Path(pattern).expanduser()
        if any(mark in str(path.parent) for mark in "*?[\"'\\") or any(
            mark in path.name for mark in "\"'\\#"
        ):
            raise _Unclear
        yield str(path.parent)
        for found in sorted(path.parent.glob(path.name)):
            yield from _read_with(found, depth + 1)


def _is_private(key: Path) -> bool:
    """`ssh` uses no key of ours that others may read."""
    try:
        seen = key.stat()
    except OSError:
        return False
    return seen.st_uid != os.getuid() or not seen.st_mode & 0o077


def login_of(
    route: Route, key: Path, connection: asyncssh.SSHClientConnection, host_keys: HostKeys
) -> Login | None:
    """What `ssh` is to be told to log in as `connection` did; None where that cannot be said."""
    shown, program = connection.get_server_host_key(), _program()
    said = getattr(route.options.config, "get_options", None)
    options = _options(said(False)) if said is not None else None
    if shown is None or program is None or options is None:
        return None
    trusted = host_keys.known(route.alias, "", route.port, route.known_files).trusted
    if shown.public_data not in [other.public_data for other in trusted]:
        return None  # known by a certificate, or by its address
    seen = as_host_key(route, shown)
    login = Login(
        host=route.host, port=route.port, user=route.options.username, key=str(key),
        host_key=f"{seen.type} {seen.blob}", program=program, options=options,
    )  # fmt: skip
    return login if login.is_plain() else None


def _options(said: Mapping[str, object]) -> tuple[str, ...] | None:
    passed: list[str] = []
    for name, value in said.items():
        if name in _PASSED_ON and isinstance(value, str):
            passed.append(f"{name}={value}")
        elif name == "CanonicalizeHostname" and value is False:
            continue
        elif name not in _NO_MATTER:
            return None
    return tuple(passed)


def _program() -> str | None:
    """The first `ssh` of the PATH."""
    for folder in os.get_exec_path():
        path = f"{folder}/ssh"
        if os.path.isabs(folder) and os.access(path, os.X_OK) and not os.path.isdir(path):  # noqa: PTH112, PTH117
            return path
    return None
