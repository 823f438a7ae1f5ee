"""Fixtures for tests against real OpenSSH servers; nothing of the user's own ~/.ssh is read or written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dasctl.adapters.helper_pack import helper_pack
from dasctl.core.domain import Node
from tests.system.cluster import Cluster
from tests.system.faults import maker
from tests.system.sshd import Sshd, SshSetting, have_sshd, make_key, node_user


@pytest.fixture(scope="session")
def test_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys `client`, `other`, `host`, `other_host`."""
    have_sshd()
    folder = tmp_path_factory.mktemp("keys")
    for name in ("client", "other", "host", "other_host"):
        make_key(folder / name)
    return folder


@pytest.fixture(scope="session")
def helper_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The helper's pieces as a user's cache keeps them: making them takes a second, for each new HOME."""
    made = tmp_path_factory.mktemp("cache") / "helper"
    helper_pack(made)
    return made


@pytest.fixture
def ssh(tmp_path: Path, test_keys: Path, helper_file: Path, monkeypatch: pytest.MonkeyPatch) -> SshSetting:
    """An isolated user: HOME, ssh config, known_hosts, no agent; somebody who has used dasctl before."""
    home = tmp_path / "user"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    (home / ".cache/dasctl").mkdir(parents=True, mode=0o700)
    shutil.copy2(helper_file, home / ".cache/dasctl/helper")
    setting = SshSetting(
        home=home, key=test_keys / "client", other_key=test_keys / "other", host_key=test_keys / "host"
    )
    setting.config.write_text("GlobalKnownHostsFile /dev/null\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("DASCTL_SSH_CONFIG", str(setting.config))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return setting


@pytest.fixture
def sshd_factory(tmp_path: Path, ssh: SshSetting) -> Iterator[Callable[..., Sshd]]:
    """`sshd_factory(name="n1", user=…, **options)`: a server that is started, known, and ended with the test."""
    started: list[Sshd] = []

    def make(name: str = "", *, user: str | None = None, known: bool = True, **options: str) -> Sshd:
        name = name or f"n{len(started) + 1}"
        server = Sshd(
            folder=tmp_path / name,
            host_key=ssh.host_key,
            authorized=ssh.public,
            user=user or node_user(),
            options=options,
        )
        started.append(server)
        server.start()
        if known:
            ssh.know(server)
        return server

    yield make
    for server in started:
        server.stop()


@pytest.fixture
def sshd_node_factory(sshd_factory: Callable[..., Sshd], ssh: SshSetting) -> Callable[[int], dict[str, Node]]:
    """`sshd_node_factory(3)`: nodes n1, n2, n3, each on a server of its own."""

    def make(count: int) -> dict[str, Node]:
        return {f"n{number}": node_of(sshd_factory(f"n{number}"), ssh) for number in range(1, count + 1)}

    return make


@pytest.fixture
def make(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Callable[..., Cluster]:
    """`make(3)`: a cluster on nodes that tests let fail."""
    return maker(tmp_path, ssh, sshd_factory)


def node_of(server: Sshd, ssh: SshSetting) -> Node:
    """`server` as an entry of `nodes:`."""
    return Node(
        host="127.0.0.1", port=server.port, user=server.user, key=str(ssh.key), dir=str(server.home / "das")
    )
