"""A login with one key: signed unasked, and as safe as one that is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from dasctl.adapters.ssh import SshLinks
from dasctl.adapters.ssh_at_once import is_one_file, log_in_at_once
from tests.contracts.shipping import standin_payload
from tests.system.conftest import node_of
from tests.system.sshd import Sshd, SshSetting


class _Server(asyncssh.SSHServer):
    """Tells what it was asked."""

    def __init__(self, told: list[str], known: bytes) -> None:
        self._told = told
        self._known = known

    def begin_auth(self, username: str) -> bool:
        self._told.append(f"begin {username}")
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._told.append("key")
        return key.public_data == self._known


class _Client(asyncssh.SSHClient):
    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        log_in_at_once(conn)


@asynccontextmanager
async def server_of(known: asyncssh.SSHKey) -> AsyncIterator[tuple[int, list[str]]]:
    told: list[str] = []
    acceptor = await asyncssh.create_server(
        lambda: _Server(told, known.public_data), "127.0.0.1", 0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
    )  # fmt: skip
    try:
        yield acceptor.get_port(), told
    finally:
        acceptor.close()


async def log_in(port: int, key: asyncssh.SSHKey) -> None:
    async with asyncssh.connect(
        "127.0.0.1", port, username="me", client_keys=[key], known_hosts=None, config=None, agent_path=None,
        client_factory=_Client, login_timeout=60,
    ):  # fmt: skip
        pass


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
async def test_the_server_is_asked_once(algorithm: str) -> None:
    key = asyncssh.generate_private_key(algorithm)
    assert is_one_file([key])
    async with server_of(key) as (port, told):
        await log_in(port, key)
    assert told == ["begin me", "key"]


async def test_a_key_that_is_refused_ends_as_ever() -> None:
    key, other = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    async with server_of(other) as (port, told):
        with pytest.raises(asyncssh.PermissionDenied):
            await log_in(port, key)
    assert told == ["begin me", "key"]


def test_what_has_to_be_asked_is_asked() -> None:
    one, other = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    assert not is_one_file([])
    assert not is_one_file([one, other])
    assert not is_one_file([asyncssh.generate_private_key("ssh-rsa", key_size=2048)])


async def test_openssh_lets_it_in_at_the_first_attempt(
    tmp_path: Path, sshd_factory: Callable[..., Sshd], ssh: SshSetting
) -> None:
    """`MaxAuthTries 1` leaves room for nothing else: with a question before, sshd would hang up."""
    server = sshd_factory(MaxAuthTries="1")
    links = SshLinks(tmp_path / "shop", {}, timeout_s=30.0, payload=standin_payload())
    async with links.open("n1", node_of(server, ssh)) as link:
        await link.ask({"op": "ping"})
