"""create-, update-, delete- and ping-node-ssh through the real command line, against real OpenSSH servers."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, Run
from tests.system.ssh_domain import entry_of, fails, fingerprint_of, nodes_domain, reaches
from tests.system.sshd import Sshd, SshSetting, append, free_port

Factory = Callable[..., Sshd]


def options_of(server: Sshd, ssh: SshSetting) -> tuple[str, ...]:
    place = ("--nodehost", "127.0.0.1", "--sshport", str(server.port), "--sshuser", server.user)
    return (*place, "--sshkeyfile", str(ssh.key), "--nodedir", f"{server.home}/das")


def kept(cluster: Cluster) -> str:
    """The host keys that live in the domain."""
    path = cluster.root / ".dasctl/known_hosts"
    return path.read_text() if path.exists() else ""


# The host key of a new node.


def test_unknown_host_key_is_shown_with_what_accepts_it(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory("n1", known=False)
    cluster = nodes_domain(tmp_path, ssh, {})
    before = cluster.yaml().read_bytes()
    mark = fingerprint_of(ssh.host_key)
    said = fails(cluster, "create-node-ssh", "n1", *options_of(server, ssh))
    for part in (mark, "ssh-ed25519", f"--host-key {mark}", "--accept-host-key", "ssh-keygen -lf"):
        assert part in said
    document = cluster.json("create-node-ssh", "n1", *options_of(server, ssh), code=4).json
    assert mark in document["error"]["message"]
    assert f"--host-key {mark}" in document["error"]["hint"]
    fails(cluster, "create-node-ssh", "n1", *options_of(server, ssh), "--force")  # it does not accept a key
    assert cluster.yaml().read_bytes() == before
    assert not kept(cluster)


def test_wrong_fingerprint_is_refused(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory("n1", known=False)
    cluster = nodes_domain(tmp_path, ssh, {})
    wrong = fingerprint_of(ssh.other_key)
    words = ("create-node-ssh", "n1", *options_of(server, ssh), "--host-key", wrong)
    said = fails(cluster, *words)
    assert wrong in said and fingerprint_of(ssh.host_key) in said
    fails(cluster, *words, "--force")
    assert "SHA256:" in fails(cluster, *words[:-1], "no fingerprint", code=2)
    assert not kept(cluster)


@pytest.mark.parametrize("how", ["fingerprint", "any"])
def test_accepted_host_key_lives_in_the_domain(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, how: str
) -> None:
    server = sshd_factory("n1", known=False)
    cluster = nodes_domain(tmp_path, ssh, {})
    mark = fingerprint_of(ssh.host_key)
    words = ("--host-key", mark) if how == "fingerprint" else ("--accept-host-key",)
    row = cluster.json("create-node-ssh", "n1", *options_of(server, ssh), *words).row("n1")
    assert (row["status"], row["host_key"], row["host_key_type"]) == ("created", mark, "ssh-ed25519")
    assert not ssh.known_hosts.exists()
    assert kept(cluster) == f"[127.0.0.1]:{server.port} {ssh.host_public}\n"
    reaches(cluster)
    assert not ssh.known_hosts.exists()


def test_host_key_that_the_user_knows_lives_in_the_domain_too(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory("n1")
    cluster = nodes_domain(tmp_path, ssh, {})
    assert fingerprint_of(ssh.host_key) in str(cluster.run("create-node-ssh", "n1", *options_of(server, ssh)))
    ssh.known_hosts.unlink()
    reaches(cluster)


def test_host_key_that_was_changed_on_purpose(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting, test_keys: Path
) -> None:
    server = sshd_factory("n1", known=False)
    cluster = nodes_domain(tmp_path, ssh, {})
    cluster.json("create-node-ssh", "n1", *options_of(server, ssh), "--accept-host-key")
    server.stop()
    server.host_key = test_keys / "other_host"
    server.start()
    old, new = fingerprint_of(ssh.host_key), fingerprint_of(test_keys / "other_host")
    for words in (("ping-node-ssh",), ("update-node-ssh", "n1"), ("update-node-ssh", "n1", "--force")):
        said = fails(cluster, *words)
        assert old in said and new in said
        assert f"update-node-ssh n1 --host-key {new}" in said
    fails(cluster, "update-node-ssh", "n1", "--host-key", old)
    assert old not in kept(cluster) and ssh.host_public in kept(cluster)
    assert cluster.json("update-node-ssh", "n1", "--host-key", new).row("n1")["host_key"] == new
    reaches(cluster)
    assert ssh.host_public not in kept(cluster)


def test_delete_forgets_the_host_key_once_nobody_needs_it(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    """Two names of the SSH configuration for one sshd."""
    server = sshd_factory("n1", known=False)
    for name in ("one", "two"):
        append(ssh.config, f"Host {name}\n  HostName 127.0.0.1\n  Port {server.port}\n  User {server.user}\n")
    cluster = nodes_domain(tmp_path, ssh, {})
    for name in ("one", "two"):
        words = ("--nodehost", name, "--sshkeyfile", str(ssh.key), "--nodedir", f"{server.home}/{name}")
        cluster.json("create-node-ssh", name, *words, "--accept-host-key")
    cluster.json("delete-node-ssh", "one")
    reaches(cluster, "two")
    cluster.json("delete-node-ssh", "two")
    assert not kept(cluster)
    assert "one" not in cluster.yaml().read_text() and "two" not in cluster.yaml().read_text()


def test_node_that_is_not_there_yet(tmp_path: Path, ssh: SshSetting) -> None:
    cluster = nodes_domain(tmp_path, ssh, {})
    words = ("create-node-ssh", "n1", "--nodehost", "127.0.0.1", "--sshport", str(free_port()))
    said = fails(cluster, *words)
    assert "connection refused" in said and "--force" in said
    assert cluster.run(*words, "--force").code == 0
    assert "n1" in cluster.yaml().read_text()


# Pinging.


def test_ping_gives_a_remedy_for_each_failing_line(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    """Good nodes, a dead one, one without python3, one that cannot be written: all told in one run, exit 3."""
    good = sshd_factory("n1")
    dead = sshd_factory("n2")
    dead.stop()
    bare = sshd_factory("n3", ForceCommand='PATH=/nonexistent; export PATH; eval "$SSH_ORIGINAL_COMMAND"')
    shut = sshd_factory("n4")
    nodes = {
        "good": entry_of(good, ssh),
        "dead": entry_of(dead, ssh),
        "bare": entry_of(bare, ssh),
        "shut": entry_of(shut, ssh, dir="/proc/das"),
        "user": entry_of(good, ssh, user="nobody-of-this-name"),
        "key": entry_of(good, ssh, key=str(ssh.other_key)),
    }
    run = nodes_domain(tmp_path, ssh, nodes).json("ping-node-ssh", code=3)
    remedies = {
        "dead": ("connection refused", "is sshd running"),
        "bare": ("no python3", "apt-get install python3"),
        "shut": ("/proc", "--nodedir DIR"),
        "user": ("nobody-of-this-name", "setup-ssh user"),
        "key": ("no key was accepted", "setup-ssh key"),
    }
    row = run.row("good")
    assert row["status"] == "ok"
    assert {check["check"] for check in row["checks"]} == {
        "authentication", "python3", "directory", "free disk", "clock",
    }  # fmt: skip
    assert row["latency_ms"] > 0 and row["free_bytes"] > 0 and abs(row["clock_difference_s"]) < 5
    for name, (message, hint) in remedies.items():
        problem = run.row(name)["error"]
        assert message in problem["message"], problem
        assert hint in problem["hint"], problem
    said = " ".join(nodes_domain(tmp_path / "plain", ssh, nodes).run("ping-node-ssh").err.split())
    for message, hint in remedies.values():
        assert message in said and hint in said


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
def test_ping_tells_a_disk_that_is_nearly_full(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    server = sshd_factory("n1")
    disk = server.home / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "none", str(disk)], check=True)
    try:
        nodes = {"n1": entry_of(server, ssh), "n2": entry_of(server, ssh, dir=f"{disk}/das")}
        problem = nodes_domain(tmp_path, ssh, nodes).json("ping-node-ssh", code=3).row("n2")["error"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert "free disk: 1 MiB" in problem["message"]
    assert "free some space" in problem["hint"]


# Time, and what is never shown.


def test_timeout_bounds_connecting_to_a_black_hole(
    tmp_path: Path, sshd_factory: Factory, ssh: SshSetting
) -> None:
    """It listens and never answers; also as a jump host, and behind one."""
    bastion = sshd_factory("bastion")
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(100)
        place = {"host": "127.0.0.1", "port": hole.getsockname()[1], "key": str(ssh.key)}
        nodes = {
            "bastion": entry_of(bastion, ssh),
            "hole": place,
            "behind": {**place, "jump": "bastion"},
            "through": {**entry_of(bastion, ssh), "jump": "hole"},
        }
        cluster = nodes_domain(tmp_path, ssh, nodes)
        begun = time.monotonic()
        cluster.json("ping-node-ssh", "bastion")
        usual_s = time.monotonic() - begun  # long on a busy machine
        begun = time.monotonic()
        run = cluster.json("--timeout", "2", "ping-node-ssh", code=3)
        # The default would take ten, and twenty behind a jump host.
        assert time.monotonic() - begun < 9 + 3 * usual_s
        begun = time.monotonic()
        said = fails(cluster, "--timeout", "2", "update-node-ssh", "hole")
        assert time.monotonic() - begun < 9 + 3 * usual_s
    assert run.row("bastion")["status"] == "ok"
    for name in ("hole", "behind", "through"):
        assert "no answer within 2 s" in run.row(name)["error"]["message"]
    assert "no answer within 2 s" in said


def test_no_key_is_ever_shown(tmp_path: Path, sshd_factory: Factory, ssh: SshSetting) -> None:
    server = sshd_factory("n1")
    nodes = {"n1": entry_of(server, ssh), "n2": entry_of(server, key=str(ssh.other_key))}
    cluster = nodes_domain(tmp_path, ssh, nodes)
    runs: list[Run] = []
    for word in ("--verbose", "--json", "--terse"):
        runs += [cluster.run(word, *words) for words in (("ping-node-ssh",), ("list-nodes", "--long"))]
        runs.append(cluster.run(word, "update-node-ssh", "n2", "--nodedir", "/elsewhere"))
    for key in (ssh.key, ssh.other_key):
        secret = key.read_text().splitlines()[1:-1]
        for run in runs:
            assert not any(line in str(run) for line in secret), str(run)
            assert "PRIVATE KEY" not in str(run)
