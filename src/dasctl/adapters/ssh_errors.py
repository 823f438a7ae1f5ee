"""What can go wrong while a node is connected, in the operator's words.

What lives here: the one translation of foreign exceptions (asyncssh, sockets, DNS) into `dasctl.errors`. What must
not: decisions about going on.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from dasctl.adapters.host_keys import HostKey, Known, fingerprint, host_entry
from dasctl.adapters.link import Peer, no_answer
from dasctl.errors import (
    AuthenticationFailed,
    ChangedHostKey,
    NodeError,
    NodeUnreachable,
    UnknownHostKey,
)

_MANY = re.compile(r"\[Errno (\d+)\]")  # asyncio joins the errors of several addresses into one text
_TOO_MANY = "authentication failures"  # sshd's words for MaxAuthTries; its code is that of any protocol error

# All that a connection may raise; ValueError is a fault of the configuration or of a key.
FOREIGN = (NodeError, asyncssh.Error, OSError, EOFError, ValueError)


@dataclass(slots=True, kw_only=True)
class Shown:
    """What the far side showed while the connection was made. `key` None: it was trusted, or came not so far."""

    known: Known | None = None
    key: HostKey | None = None
    authority: bytes | None = None  # of a host certificate that nobody trusts
    user: str = ""  # who wanted to log in
    by_hand: str = (
        ""  # what `ssh` is given for a jump host that is no node of the domain: we have no command for it
    )
    locked: tuple[Path, ...] = ()  # key files that could not be offered: encrypted, and in no agent
    proxy: Callable[[], str] | None = (
        None  # what the ProxyCommand says on its standard error; None: there is none
    )
    connection: asyncssh.SSHClientConnection | None = None


def translated(error: Exception, peer: Peer, shown: Shown, *, timeout_s: float) -> NodeError:
    """The NodeError for `error`; the caller raises it with `from`."""
    match error:
        case NodeError():
            return error
        case asyncssh.HostKeyNotVerifiable():
            return _host_key(error, peer, shown)
        case asyncssh.PermissionDenied():
            return _denied(peer, shown)
        case asyncssh.KeyExchangeFailed():
            return NodeUnreachable(f"{peer}: no common algorithm: {error.reason}")
        case asyncssh.ChannelOpenError():
            return NodeUnreachable(f"{peer}: {error.reason or 'the session was refused'}")
        case asyncssh.ConnectionLost() | ConnectionError() if shown.proxy is not None:
            return NodeUnreachable(
                f"{peer}: its ProxyCommand ended before the login: {shown.proxy() or 'it says nothing'}",
                hint="correct ProxyCommand in the SSH configuration, and try it by hand",
            )
        case asyncssh.DisconnectError() if _TOO_MANY in str(error.reason):
            return AuthenticationFailed(
                f"{peer}: none of the first keys was accepted, and it lets nobody try so many: too many keys are offered",
                hint=f"name the right one: dasctl update-node-ssh {peer.name} --sshkeyfile FILE",
            )
        case asyncssh.DisconnectError():
            return _disconnected(error, peer)
        case TimeoutError():
            return no_answer(peer, timeout_s)
        case socket.gaierror():
            return NodeUnreachable(
                f"{peer}: the host name is not known",
                hint="is it spelt right, and does this machine resolve it?"
                + (
                    ""
                    if shown.by_hand
                    else f" It is changed with: dasctl update-node-ssh {peer.name} --nodehost HOST"
                ),
            )
        case OSError():
            return _socket(error, peer)
        case _:
            return NodeUnreachable(f"{peer}: {error}", hint="look at the SSH configuration for this host")


def _socket(error: OSError, peer: Peer) -> NodeUnreachable:
    number = error.errno
    if number is None:
        numbers = [int(text) for text in _MANY.findall(str(error))]
        number = numbers[0] if numbers else 0
    reason = os.strerror(number).lower() if number else str(error)
    hints = {
        errno.ECONNREFUSED: "nothing listens there: is sshd running, and is the port right?",
        errno.EHOSTUNREACH: "is the machine up and in the network?",
        errno.ENETUNREACH: "is this machine in the network?",
    }
    return NodeUnreachable(f"{peer}: {reason}", hint=hints.get(number, ""))


def _disconnected(error: asyncssh.DisconnectError, peer: Peer) -> NodeUnreachable:
    if isinstance(error, asyncssh.ConnectionLost):
        return NodeUnreachable(
            f"{peer}: the connection was closed during the login",
            hint="its sshd refuses this machine, or has too many logins at once (MaxStartups)",
        )
    return NodeUnreachable(f"{peer}: {error.reason or 'disconnected'}")


def _denied(peer: Peer, shown: Shown) -> AuthenticationFailed:
    whose = f" for the user {shown.user}" if shown.user else ""
    message = f"{peer}: no key was accepted{whose}"
    if shown.locked:
        files = ", ".join(str(path) for path in shown.locked)
        return AuthenticationFailed(
            f"{message}; {files} {'is' if len(shown.locked) == 1 else 'are'} encrypted, and no agent holds the key",
            hint=f"start an agent and give it the key: eval $(ssh-agent); ssh-add {shown.locked[0]}",
        )
    command = f"ssh-copy-id {shown.by_hand}" if shown.by_hand else f"dasctl setup-ssh {peer.name}"
    return AuthenticationFailed(message, hint=f"if that is the right user, put a key there: {command}")


def _host_key(error: asyncssh.HostKeyNotVerifiable, peer: Peer, shown: Shown) -> NodeError:
    key = shown.key
    if "revoked" in str(error.reason):
        return ChangedHostKey(f"{peer} showed a host key that is revoked", hint="do not trust this machine")
    if shown.authority is not None:
        mark = fingerprint(shown.authority)
        return UnknownHostKey(
            f"{peer} showed a certificate of the unknown host authority {mark}",
            fingerprint=mark,
            hint="add it as @cert-authority to ~/.ssh/known_hosts",
        )
    if key is None:
        return ChangedHostKey(f"{peer}: the host certificate is not valid: {error.reason}")
    if shown.known is not None and shown.known.exact and shown.known.trusted:
        # The domain and the user may both know the same key.
        accepted = ", ".join(dict.fromkeys(trusted.get_fingerprint() for trusted in shown.known.trusted))
        return ChangedHostKey(
            f"{peer} showed another host key than the accepted one: "
            f"{key.fingerprint} ({key.type}) instead of {accepted}",
            hint="somebody may listen in between. If the key was changed on purpose, accept the new one: "
            + (
                f"ssh-keygen -R '{host_entry(key.host, key.port)}'; ssh {shown.by_hand}"
                if shown.by_hand
                else f"dasctl update-node-ssh {peer.name} --host-key {key.fingerprint}"
            ),
        )
    return UnknownHostKey(
        f"{peer} showed a host key that is not known: {key.fingerprint} ({key.type})",
        fingerprint=key.fingerprint,
        hint="compare it, and accept it: "
        + (
            f"ssh {shown.by_hand}"
            if shown.by_hand
            else f"dasctl update-node-ssh {peer.name} --host-key {key.fingerprint} (or --accept-host-key)"
        ),
    )
