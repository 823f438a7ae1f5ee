"""What is odd on a node, and must neither be destroyed nor lied about: unreadable folders, mounts, times far away."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.cluster import make_cluster, rsync_finds
from tests.system.failing import refused
from tests.system.sshd import Sshd, SshSetting


@contextmanager
def readable_again(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        folder.chmod(0o755)


def test_a_change_inside_a_folder_that_the_node_cannot_read_is_no_success(
    tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]
) -> None:
    cluster = make_cluster(tmp_path, ssh, [sshd_factory()])
    cluster.write("docroot/closed/page", "one")
    cluster.write("docroot/closed/other", "other")
    cluster.json("sync-domain")
    closed = cluster.folder("web1") / "docroot" / "closed"
    closed.chmod(0)
    with readable_again(closed):
        cluster.json("sync-domain")  # nothing has to change in there
        closed.chmod(0)
        cluster.write("docroot/closed/page", "two")
        for words in (["sync-domain"], ["sync-domain", "--dry-run"], ["sync-domain"]):
            row = cluster.json(*words, code=1).row("web1")
            assert row["status"] == "failed"
            assert "docroot/closed/page" in row["error"]["message"]
            assert "docroot/closed/other" not in row["error"]["message"]
            assert "access" in row["error"]["hint"]
    cluster.json("sync-domain")
    assert rsync_finds(cluster.root / "docroot", cluster.folder("web1") / "docroot") == ""


def test_files_of_the_far_past_and_future_travel(
    tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]
) -> None:
    cluster = make_cluster(tmp_path, ssh, [sshd_factory()])
    for number, second in enumerate(
        (-1, -(1 << 31), (1 << 31) + 1, 4_700_000_000, 5_000_000_000, 10_413_792_000)
    ):
        file = cluster.write(f"docroot/{number}", "text")
        os.utime(file, ns=(0, second * 1_000_000_000 + 1))
    cluster.json("sync-domain")
    assert cluster.json("sync-domain").json["status"] == "unchanged"
    assert rsync_finds(cluster.root / "docroot", cluster.folder("web1") / "docroot") == ""


def test_what_is_mounted_in_an_instance_is_not_emptied_with_it(
    tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can mount")
    cluster = make_cluster(tmp_path, ssh, [sshd_factory()])
    cluster.json("sync-domain")
    data, mounted = tmp_path / "data", cluster.folder("web1") / "docroot" / "up loads"
    data.mkdir()
    (data / "precious").write_text("precious")
    mounted.mkdir()
    subprocess.run(["mount", "--bind", str(data), str(mounted)], check=True)
    try:
        data.chmod(0o777)
        failed = cluster.json("delete-instance", "web1", code=1)
        assert "docroot/up loads" in str(failed)
        assert (data / "precious").read_text() == "precious"
        assert (cluster.folder("web1") / "docroot" / "index.html").exists()
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
    cluster.json("delete-instance", "web1")
    assert not cluster.folder("web1").exists()


def test_servers_can_be_looked_at_without_a_readable_history(
    tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]
) -> None:
    cluster = make_cluster(tmp_path, ssh, [sshd_factory()])
    cluster.json("start-cluster", "web")
    try:
        history = cluster.root / ".dasctl" / "history.db"
        kept = history.read_bytes()
        history.write_bytes(b"no database" * 1000)
        assert cluster.json("list-instances").row("web1")["state"] == "running"
        assert "take-over" in str(cluster.json("sync-domain", code=1))
        history.write_bytes(kept)
    finally:
        cluster.json("stop-cluster", "web")


def test_an_area_that_vanished_is_named(
    tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]
) -> None:
    cluster = make_cluster(tmp_path, ssh, [sshd_factory()])
    cluster.json("sync-domain")
    (cluster.root / "docroot").rename(cluster.root / "docroot.old")
    assert "(all of docroot)" in str(cluster.json("sync-domain", "--dry-run").json["warnings"])
    # Nobody can be asked here, so nothing is sent before somebody says that it is meant.
    asked = refused(cluster, "sync-domain", code=1).json["error"]
    assert "(all of docroot)" in asked["message"]
    assert "--yes" in asked["hint"]
    assert (cluster.folder("web1") / "docroot/index.html").exists()
    cluster.json("sync-domain", "--yes")
    assert not (cluster.folder("web1") / "docroot").exists()
    assert "docroot:" not in str(cluster.json("sync-domain"))
    (cluster.root / "docroot.old").rename(cluster.root / "docroot")
    cluster.json("sync-domain")
    assert rsync_finds(cluster.root / "docroot", cluster.folder("web1") / "docroot") == ""
