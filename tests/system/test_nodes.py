"""Nodes as an operator registers, changes, checks and removes them, through the real command line."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, make_cluster
from tests.system.failing import decent, refused
from tests.system.sshd import Sshd, SshSetting, free_port

Factory = Callable[..., Sshd]


@pytest.fixture
def cluster(tmp_path: Path, ssh: SshSetting, sshd_factory: Factory) -> Cluster:
    return make_cluster(tmp_path, ssh, [sshd_factory("n1")])


def options(server: Sshd, ssh: SshSetting) -> tuple[str, ...]:
    return (
        "--nodehost", "127.0.0.1", "--sshport", str(server.port), "--sshuser", server.user,
        "--sshkeyfile", str(ssh.key), "--nodedir", f"{server.home}/das",
    )  # fmt: skip


def fingerprint(key: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


def test_a_node_is_created_used_and_deleted(cluster: Cluster, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory("n2", known=False)
    before = cluster.yaml().read_text()
    unknown = refused(cluster, "create-node-ssh", "n2", *options(server, ssh), code=4)
    assert fingerprint(ssh.host_key) in unknown.json["error"]["message"]
    assert f"--host-key {fingerprint(ssh.host_key)}" in unknown.json["error"]["hint"]
    assert cluster.yaml().read_text() == before
    wrong = refused(
        cluster,
        "create-node-ssh",
        "n2",
        *options(server, ssh),
        "--host-key",
        fingerprint(ssh.other_key),
        code=4,
    )
    assert fingerprint(ssh.other_key) in wrong.json["error"]["message"] + wrong.json["error"]["hint"]
    made = cluster.json(
        "create-node-ssh", "n2", *options(server, ssh), "--host-key", fingerprint(ssh.host_key)
    )
    assert made.row("n2")["host_key"] == fingerprint(ssh.host_key)
    assert cluster.yaml().read_text().startswith(before.split("configs:")[0].rstrip())
    cluster.json(
        "create-instance", "web2", "--node", "n2", "--cluster", "web", "--property", "http.port=4242"
    )
    cluster.json("sync-instance", "web2")
    assert (server.home / "das/web2/docroot/index.html").exists()
    busy = refused(cluster, "delete-node-ssh", "n2", code=2)
    assert "web2" in busy.json["error"]["message"]
    cluster.json("delete-instance", "web2")
    assert not (server.home / "das/web2").exists()
    cluster.json("delete-node-ssh", "n2")
    assert "n2" not in cluster.yaml().read_text()
    assert str(server.port) not in (cluster.root / ".dasctl/known_hosts").read_text()
    again = refused(cluster, "create-node-ssh", "n1", *options(server, ssh), code=2)
    assert "already" in again.json["error"]["message"]


def test_accepting_what_is_shown_and_forcing_what_does_not_answer(
    cluster: Cluster, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory("n2", known=False)
    cluster.json("create-node-ssh", "n2", *options(server, ssh), "--accept-host-key")
    away = ("--nodehost", "127.0.0.1", "--sshport", str(free_port()))
    error = refused(cluster, "create-node-ssh", "n3", *away, code=4).json["error"]
    assert "connection refused" in error["message"]
    assert "--force" in error["hint"]
    forced = cluster.json("create-node-ssh", "n3", *away, "--force")
    assert "not reached" in forced.row("n3")["note"]
    pinged = decent(cluster.run("--json", "ping-node-ssh"))
    assert pinged.code == 3
    assert {row["node"]: row["status"] for row in pinged.json["results"]} == {
        "n1": "ok", "n2": "ok", "n3": "unreachable",
    }  # fmt: skip
    cluster.json("update-node-ssh", "n3", *options(server, ssh))
    assert cluster.json("ping-node-ssh", "n3").row("n3")["latency_ms"] >= 0


def test_a_node_that_was_set_up_anew(cluster: Cluster, test_keys: Path, ssh: SshSetting) -> None:
    server = cluster.nodes["n1"]
    server.stop()
    server.host_key = test_keys / "other_host"
    server.start()
    new = fingerprint(server.host_key)
    for more in ((), ("--force",), ("--nodedir", "/elsewhere", "--force")):
        error = refused(cluster, "update-node-ssh", "n1", *more, code=4).json["error"]
        assert new in error["message"]
        assert fingerprint(ssh.host_key) in error["message"]
    assert "/elsewhere" not in cluster.yaml().read_text()
    before = cluster.yaml().read_text()
    assert cluster.json("update-node-ssh", "n1", "--host-key", new).row("n1")["host_key"] == new
    assert cluster.yaml().read_text() == before
    assert cluster.json("ping-node-ssh").row("n1")["status"] == "ok"


def test_an_update_keeps_comments_and_what_is_not_given(cluster: Cluster) -> None:
    cluster.edit_yaml("nodes:\n", "nodes:  # machines\n  # the first one\n")
    cluster.json("update-node-ssh", "n1", "--nodedir", f"{cluster.nodes['n1'].home}/other")
    text = cluster.yaml().read_text()
    assert "nodes:  # machines\n  # the first one\n" in text
    assert f"key: {cluster.ssh.key}" in text
    cluster.json("sync-cluster", "web")
    assert (cluster.nodes["n1"].home / "other/web1").is_dir()
    assert cluster.json("update-node-ssh", "n1").json["status"] == "unchanged"
    for words, told in (
        (("--sshport", "0"), "0"),
        (("--sshport", "70000"), "70000"),
        (("--nodedir", "relative"), "relative"),
        (("--nodedir", "/a/../b"), ".."),
        (("--nodehost", "-oProxyCommand=touch /tmp/pwned"), "-oProxyCommand"),
        (("--nodehost", ""), ""),
        (("--jump", "n1"), "circle"),
    ):
        run = refused(cluster, "update-node-ssh", "n1", *words, "--force", code=2)
        assert told in run.json["error"]["message"], str(run)
        assert cluster.yaml().read_text() == text.replace("\0", "")


def test_ping_has_a_remedy_for_each_failing_line(cluster: Cluster) -> None:
    good = cluster.json("ping-node-ssh")
    checks = {check["check"]: check for check in good.row("n1")["checks"]}
    assert set(checks) == {"authentication", "python3", "directory", "free disk", "clock"}
    assert all(check["ok"] for check in checks.values())
    table = decent(cluster.run("ping-node-ssh"))
    assert table.code == 0
    assert "n1" in table.out
    home = cluster.nodes["n1"].home
    (home / "das").write_text("not a folder")
    bad = refused(cluster, "ping-node-ssh", code=1)
    assert "directory" in bad.row("n1")["error"]["message"]
    assert "--nodedir" in bad.row("n1")["error"]["hint"]
    text = decent(cluster.run("ping-node-ssh"))
    assert text.code == 1
    assert "--nodedir" in text.err + text.out
    sync = refused(cluster, "sync-cluster", "web", code=1)
    assert f"{home}/das is not a folder" in sync.row("web1")["error"]["message"]


def test_setup_ssh_leaves_open_doors_alone_and_says_what_it_lacks(cluster: Cluster, ssh: SshSetting) -> None:
    authorized = (cluster.nodes["n1"].folder / "authorized_keys").read_text()
    again = cluster.json("setup-ssh", "n1", "--sshpublickeyfile", f"{ssh.key}.pub")
    assert again.json["status"] == "unchanged"
    # A node that takes no password, and a key that it does not know: nobody can be asked without a terminal.
    cluster.edit_yaml(str(ssh.key), str(ssh.other_key))
    shut = decent(cluster.run("--json", "setup-ssh", "n1", "--sshpublickeyfile", f"{ssh.other_key}.pub"))
    assert shut.code in (1, 4)
    assert shut.row("n1")["error"]["message"]
    assert shut.row("n1")["error"]["hint"], str(shut)
    missing = decent(cluster.run("--json", "setup-ssh", "n1", "--sshpublickeyfile", "/nowhere/key.pub"))
    assert missing.code != 0
    assert "key" in missing.row("n1")["error"]["message"]
    assert (cluster.nodes["n1"].folder / "authorized_keys").read_text() == authorized
    assert not os.path.exists("/nowhere")
