"""setup-ssh: a key is put on a node that still asks for a password."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from dasctl.adapters.embedded_session import Limits, Running, Session
from dasctl.adapters.setup_ssh import key_of, make_key, public_key_of, set_up
from dasctl.adapters.ssh import SshLinks
from dasctl.core.domain import Node
from dasctl.errors import AuthenticationFailed, NodeNotUsable, OperationFailed
from tests.system.sshd import SshSetting

PASSWORD = "correct horse"


@dataclass(kw_only=True)
class PasswordServer:
    """An SSH server that takes a password, or a key from HOME/.ssh/authorized_keys."""

    home: Path
    running: Running
    keys_count: bool = True
    refuses_prompts: bool = False

    def __call__(self) -> asyncssh.SSHServer:
        return _Server(self)


class _Server(asyncssh.SSHServer):
    def __init__(self, setting: PasswordServer) -> None:
        self._setting = setting

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        path = self._setting.home / ".ssh" / "authorized_keys"
        line = key.export_public_key("openssh").decode().split()[1]
        return self._setting.keys_count and path.exists() and line in path.read_text()

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == PASSWORD

    def kbdint_auth_supported(self) -> bool:
        return self._setting.refuses_prompts

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return False

    def session_requested(self) -> Any:
        environment = {"HOME": str(self._setting.home), "PATH": "/usr/bin:/bin"}
        return Session(self._setting.running, self._setting.home, environment)


@pytest.fixture
async def server(tmp_path: Path, ssh: SshSetting) -> AsyncIterator[tuple[PasswordServer, Node]]:
    home = tmp_path / "node"
    home.mkdir()
    setting = PasswordServer(home=home, running=Running(limits=Limits(sessions=10)))
    acceptor = await asyncssh.create_server(
        setting, "127.0.0.1", 0, server_host_keys=[str(ssh.host_key)], encoding=None, line_editor=False
    )
    ssh.know_port(acceptor.get_port())
    yield setting, Node(host="127.0.0.1", port=acceptor.get_port(), user="me", key=str(ssh.key))
    acceptor.close()
    await acceptor.wait_closed()


def never(where: str) -> str:
    raise AssertionError(f"asked for a password of {where}")


async def test_puts_the_key_there_once(
    tmp_path: Path, server: tuple[PasswordServer, Node], ssh: SshSetting
) -> None:
    setting, node = server
    asked: list[str] = []

    def password(where: str) -> str:
        asked.append(where)
        return PASSWORD

    links = SshLinks(tmp_path, {}, timeout_s=30)
    folder = setting.home / ".ssh"
    folder.mkdir()
    (folder / "authorized_keys").write_text("ssh-ed25519 AAAA no newline at the end")
    key = public_key_of(ssh.key)
    assert await set_up(links, "n1", node, public_key=key, ask_password=password)
    assert asked == ["me@127.0.0.1"]
    assert (folder / "authorized_keys").read_text() == f"ssh-ed25519 AAAA no newline at the end\n{key}\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "authorized_keys").stat().st_mode & 0o777 == 0o600
    assert not await set_up(links, "n1", node, public_key=key, ask_password=never)


async def test_password_where_prompts_are_offered_and_always_refused(
    tmp_path: Path, server: tuple[PasswordServer, Node], ssh: SshSetting
) -> None:
    """As an sshd without PAM does; the sixth attempt would be the end of the connection."""
    setting, node = server
    setting.refuses_prompts = True
    links = SshLinks(tmp_path, {}, timeout_s=30)
    key = public_key_of(ssh.key)
    assert await set_up(links, "n1", node, public_key=key, ask_password=lambda where: PASSWORD)


async def test_wrong_password(tmp_path: Path, server: tuple[PasswordServer, Node], ssh: SshSetting) -> None:
    setting, node = server
    key = public_key_of(ssh.key)
    with pytest.raises(AuthenticationFailed, match="password"):
        await set_up(
            SshLinks(tmp_path, {}, timeout_s=30), "n1", node, public_key=key, ask_password=lambda _: "?"
        )
    assert not (setting.home / ".ssh").exists()


async def test_key_that_is_stored_and_not_accepted(
    tmp_path: Path, server: tuple[PasswordServer, Node], ssh: SshSetting
) -> None:
    setting, node = server
    setting.keys_count = False
    links = SshLinks(tmp_path, {}, timeout_s=30)
    for _ in range(2):
        with pytest.raises(NodeNotUsable, match="does not accept it"):
            await set_up(
                links, "n1", node, public_key=public_key_of(ssh.key), ask_password=lambda _: PASSWORD
            )
    lines = (setting.home / ".ssh" / "authorized_keys").read_text().splitlines()
    assert lines == [public_key_of(ssh.key)]


def test_makes_a_key_and_overwrites_none(ssh: SshSetting) -> None:
    node = Node(host="h")
    assert key_of(node) is None
    path = make_key(ssh.home / ".ssh" / "id_ed25519", comment="me")
    assert path.stat().st_mode & 0o777 == 0o600
    assert public_key_of(path).startswith("ssh-ed25519 ")
    assert key_of(node) == path
    with pytest.raises(OperationFailed, match="id_ed25519"):
        make_key(path, comment="me")
