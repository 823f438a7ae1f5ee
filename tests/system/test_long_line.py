"""Long lines to a real OpenSSH server: several channels where it gives them, one where it does not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, make_cluster, rsync_finds
from tests.system.long_line import long_line
from tests.system.sshd import Sshd, SshSetting

FILES, FILE = 12, 2 << 20  # bytes in each
ROUND_TRIP_S = 0.2


@pytest.fixture
def far(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Iterator[Cluster]:
    server = sshd_factory("n1")
    with long_line(server.port, ROUND_TRIP_S) as port:
        proxy = replace(server, port=port)
        ssh.know(proxy)
        cluster = make_cluster(tmp_path, ssh, [proxy])
        cluster.nodes["n1"] = server
        for number in range(FILES):
            cluster.write(f"docroot/film{number}", os.urandom(FILE))
        yield cluster


def sessions(cluster: Cluster) -> int:
    """How many commands the server has started."""
    return cluster.nodes["n1"].log.count("Starting session: command")


def synchronised(cluster: Cluster) -> None:
    """A first synchronisation, and what came of it."""
    cluster.json("sync-cluster", "web", "--yes")
    assert rsync_finds(cluster.root / "docroot", cluster.folder("web1") / "docroot") == ""


def test_several_channels_are_used_where_the_server_gives_them(
    far: Cluster, sshd_factory: Callable[..., Sshd], ssh: SshSetting
) -> None:
    synchronised(far)
    assert sessions(far) == 5
    one_only = sshd_factory("n2", MaxSessions="1")
    with long_line(one_only.port, ROUND_TRIP_S) as port:
        ssh.know(replace(one_only, port=port))
        old = far.yaml().read_text()
        place = f"port: {port}, user: {one_only.user}, key: {ssh.key}, dir: {one_only.home}/das"
        new = [
            line if not line.startswith("  n1:") else f"  n1: {{host: 127.0.0.1, {place}}}"
            for line in old.splitlines()
        ]
        far.yaml().write_text("\n".join(new) + "\n")
        far.nodes["n1"] = one_only
        synchronised(far)  # the server gives no further channel: all goes through the first
        assert sessions(far) == 1


def test_a_short_line_gets_one(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> None:
    cluster = make_cluster(tmp_path, ssh, [sshd_factory("n1")])
    for number in range(FILES):
        cluster.write(f"docroot/film{number}", os.urandom(FILE))
    synchronised(cluster)
    assert sessions(cluster) == 1
