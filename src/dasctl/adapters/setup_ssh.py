"""Puts a public key on a node that still asks for a password.

What lives here: the user's key pair, the one login with a password, the proof that the key works. What must not:
asking people: a callback does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import asyncssh

from dasctl.adapters.ssh import SshLinks
from dasctl.core.domain import Node
from dasctl.errors import AuthenticationFailed, NodeNotUsable, OperationFailed

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")  # below ~/.ssh
_RUN_S = 30.0

# Read by /bin/sh, but passed through any login shell: no single quote, no exclamation mark, no newline.
# A file that does not end in a newline gets one first; SELinux wants its label where it is in force.
_APPEND = (
    "umask 077; cd && mkdir -p .ssh && chmod 700 .ssh && read -r key && touch .ssh/authorized_keys && "
    'if grep -qxF -e "$key" .ssh/authorized_keys; then echo known; else '
    'if [ -n "$(tail -c 1 .ssh/authorized_keys)" ]; then echo >> .ssh/authorized_keys; fi && '
    'echo "$key" >> .ssh/authorized_keys && echo added; fi && chmod 600 .ssh/authorized_keys && '
    "{ command -v restorecon > /dev/null 2>&1 && restorecon -R .ssh; true; }"
)
APPEND_COMMAND = f"exec /bin/sh -c '{_APPEND}'"


def key_of(node: Node, configured: Sequence[str] = ()) -> Path | None:
    """The private key file that is to open `node`: its own, or a configured one, or a default one; None: there is none.

    One that has its public half beside it comes first.
    """
    if node.key is not None:
        return Path(node.key).expanduser()
    named = [Path(name).expanduser() for name in configured]
    candidates = named or [Path("~/.ssh").expanduser() / name for name in DEFAULT_KEYS]
    whole = [path for path in candidates if Path(f"{path}.pub").is_file()]
    return next(iter([*whole, *named]), None)


def public_key_of(path: Path) -> str:
    """The line for authorized_keys of the private key at `path`. Raises OperationFailed."""
    try:
        text = Path(f"{path}.pub").read_text("utf-8").strip()
        asyncssh.import_public_key(text)
    except (OSError, UnicodeDecodeError, asyncssh.KeyImportError) as error:
        raise OperationFailed(
            f"{path}.pub cannot be used: {error}", hint=f"make it: ssh-keygen -y -f {path} > {path}.pub"
        ) from error
    if "\n" in text:
        raise OperationFailed(f"{path}.pub holds more than one line")
    return text


def make_key(path: Path, *, comment: str) -> Path:
    """A new ed25519 key pair without a passphrase at `path`. Raises OperationFailed; nothing is overwritten."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
        _created(path, key.export_private_key("openssh"), 0o600)
        _created(Path(f"{path}.pub"), key.export_public_key("openssh"), 0o644)
    except OSError as error:
        raise OperationFailed(f"{error.filename or path} cannot be made: {error.strerror}") from error
    return path


def _created(path: Path, data: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


async def set_up(
    links: SshLinks, name: str, node: Node, *, public_key: str, ask_password: Callable[[str], str]
) -> bool:
    """Make the key open `node`. False: some key opened it already, nothing was changed.

    `ask_password` is called with `user@host` at most once, in a thread. Raises NodeError: AuthenticationFailed for a
    wrong password, NodeNotUsable when the key could not be stored, or is stored and still not accepted.
    """
    with contextlib.suppress(AuthenticationFailed):
        async with links.connection(name, node):
            return False
    where = f"{node.user}@{node.host}" if node.user else node.host
    password = await asyncio.to_thread(ask_password, where)
    await _append(links, name, node, public_key, password)
    try:
        async with links.connection(name, node):
            return True
    except AuthenticationFailed as error:
        raise await _unaccepted(links, name, node, public_key, error) from error


async def _unaccepted(
    links: SshLinks, name: str, node: Node, public_key: str, error: AuthenticationFailed
) -> NodeNotUsable:
    """Why a key that is on the node does not open it: it was not offered, or not accepted."""
    there = f"node {name} ({node.host}): the key is in ~/.ssh/authorized_keys, but"
    try:
        offer = await links.offer(name, node)
    except AuthenticationFailed as unusable:
        return NodeNotUsable(f"{there} cannot be used: {unusable.message}", hint=unusable.hint)
    if offer.holds(asyncssh.import_public_key(public_key).public_data):
        return NodeNotUsable(
            f"{there} its sshd does not accept it",
            hint="look at the log of its sshd: the modes of ~ and ~/.ssh, AuthorizedKeysFile, PubkeyAuthentication",
        )
    if offer.locked:
        return NodeNotUsable(f"{there} it was not offered: {error.message}", hint=error.hint)
    return NodeNotUsable(
        f"{there} it is not one of those that are offered",
        hint=f"name its private half: dasctl update-node-ssh {name} --sshkeyfile FILE",
    )


async def _append(links: SshLinks, name: str, node: Node, public_key: str, password: str) -> None:
    try:
        async with links.connection(name, node, password=password) as connection:
            async with asyncio.timeout(_RUN_S):
                done = await connection.run(APPEND_COMMAND, input=f"{public_key}\n", errors="replace")
    except AuthenticationFailed as error:
        raise AuthenticationFailed(
            f"node {name} ({node.host}): the password was not accepted",
            hint=f"append this line to ~/.ssh/authorized_keys there: {shlex.join([public_key])}",
        ) from error
    except (OSError, asyncssh.Error) as error:
        raise NodeNotUsable(f"node {name} ({node.host}): the key could not be stored: {error}") from error
    if done.exit_status != 0:
        said = str(done.stderr or done.stdout or "").strip()[-500:]
        raise NodeNotUsable(f"node {name} ({node.host}): the key could not be stored: {said}")
