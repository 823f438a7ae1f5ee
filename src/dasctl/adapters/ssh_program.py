"""The program `ssh`, which repeats a remembered login and runs a command behind it.

What lives here: what it is told, and starting it. What must not: what is remembered (`logins.py`), streams, the event
loop: it may be started before those are imported.

    It is told everything, and reads no configuration. It trusts one host key, offers one key, asks nobody anything, and
    does nothing but to run the command. It ends when that does, or when its standard input ends: also after a kill of ours.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from dasctl.adapters.children import Child, socket_pair, tail_of

if TYPE_CHECKING:
    import socket

    from dasctl.adapters.logins import Login

KEEPALIVE_S = 15.0  # as with asyncssh: between two signs of life; three without an answer end the connection
KEEPALIVE_COUNT = 3
# Curve25519 first, as with asyncssh: what a newer OpenSSH would take instead costs ten times as much.
_EXCHANGES = (
    "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,"
    "diffie-hellman-group16-sha512,diffie-hellman-group14-sha256"
)
_CIPHERS = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr"
_LOGGED_IN = "Authenticated to "  # what it logs then, at this level
_TOLD = {
    "BatchMode": "yes", "StrictHostKeyChecking": "yes", "GlobalKnownHostsFile": "none", "UpdateHostKeys": "no",
    "IdentitiesOnly": "yes", "IdentityAgent": "none", "PreferredAuthentications": "publickey", "ControlPath": "none",
    "ControlMaster": "no", "ClearAllForwardings": "yes", "Compression": "no", "IPQoS": "none", "LogLevel": "VERBOSE",
    "PermitLocalCommand": "no", "TCPKeepAlive": "yes",
}  # fmt: skip
_NO_REASONS = (_LOGGED_IN, "Transferred:", "Bytes per second:", "**")  # lines of its log that tell no failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """`ssh` as it was started: our end of its input and output, and what it logs, apart from the node's standard error."""

    login: Login
    child: Child
    sock: socket.socket
    log: BinaryIO
    log_path: str

    def is_logged_in(self) -> bool:
        """Whether the node has let it in; what it runs there may not have spoken yet."""
        return _LOGGED_IN in tail_of(self.log)

    def reason(self) -> str:
        """What it says for its own failure, on a line; empty: nothing."""
        lines = [line.strip() for line in tail_of(self.log).splitlines() if line.strip()]
        told = [line for line in lines if not line.startswith(_NO_REASONS)]
        return told[-1] if told else ""

    def hide_log(self) -> None:
        """Take the log's name away: it is open on both sides by now. May be called twice."""
        try:
            os.unlink(self.log_path)  # noqa: PTH108
        except OSError:
            pass

    def kill(self) -> None:
        """End it at once. May be called twice."""
        self.child.kill()
        self.hide_log()
        self.log.close()


def started(login: Login, hosts_file: str, command: str, *, timeout_s: float) -> Running:
    """Start `ssh` to run `command` behind `login`. Raises OSError. `hosts_file`: see Logins.hosts_file; its folder is ours
    alone, and takes the log. `timeout_s` is for the connection, in case nobody ends it sooner.
    """
    log_path = f"{hosts_file}.{os.getpid()}.{os.urandom(8).hex()}"
    log, stderr = _new_file(log_path), _new_file(log_path + "e")
    os.unlink(log_path + "e")  # noqa: PTH108
    ours, theirs = socket_pair()
    with theirs:
        try:
            child = Child.started(
                _arguments(login, hosts_file, command, log_path, timeout_s), theirs, stderr,
                folder="/", environment=os.environ,
            )  # fmt: skip
        except OSError:
            ours.close()
            log.close()
            stderr.close()
            os.unlink(log_path)  # noqa: PTH108
            raise
    return Running(login=login, child=child, sock=ours, log=log, log_path=log_path)


def _arguments(login: Login, hosts_file: str, command: str, log_path: str, timeout_s: float) -> list[str]:
    every_s = max(1, math.ceil(min(KEEPALIVE_S, timeout_s)))
    told = _TOLD | {
        "UserKnownHostsFile": hosts_file, "HostKeyAlias": login.alias, "KexAlgorithms": _EXCHANGES,
        "Ciphers": _CIPHERS, "ServerAliveInterval": str(every_s), "ServerAliveCountMax": str(KEEPALIVE_COUNT),
        "ConnectTimeout": str(math.ceil(timeout_s) + 1),
        **dict(option.split("=", 1) for option in login.options),
    }  # fmt: skip
    options = [word for name, value in told.items() for word in ("-o", f"{name}={value}")]
    return [
        login.program, "-F", "none", "-T", "-x", "-a", "-e", "none", "-E", log_path, *options,
        "-i", login.key, "-l", login.user, "-p", str(login.port), "--", login.host, command,
    ]  # fmt: skip


def _new_file(path: str) -> BinaryIO:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return cast("BinaryIO", os.fdopen(handle, "r+b", buffering=0))
