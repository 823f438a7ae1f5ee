"""Nodes that refuse, hang, reset or lie, and logins that fail, through the real command line and real OpenSSH servers."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, Run, make_cluster, tree_of
from tests.system.failing import decent, refused
from tests.system.faults import (
    AT_ONCE_S,
    MIB,
    ended,
    listing_of,
    patience,
    same,
    statuses,
    wait_until,
)
from tests.system.sshd import Sshd, SshSetting, node_user, run

# Nodes that do not answer.


def test_one_of_three_hangs(make: Callable[..., Cluster]) -> None:
    cluster = make(3)
    limit_s = patience(cluster)
    limit = ("--timeout", str(limit_s))
    cluster.nodes["n2"].hang()
    began = time.monotonic()
    some = refused(cluster, "sync-cluster", "web", *limit, code=3)
    assert time.monotonic() - began < limit_s + AT_ONCE_S
    assert statuses(some) == {"web1": "synchronised", "web2": "unreachable", "web3": "synchronised"}
    assert f"no answer within {limit_s} s" in some.row("web2")["error"]["message"]
    same(cluster, "web1", "web3")
    began = time.monotonic()
    looking = [
        cluster.start(*words, *limit)
        for words in (("--json", "list-instances"), ("list-instances",), ("--json", "ping-node-ssh"))
    ]
    listed, table, pinged = [ended(process) for process in looking]
    assert time.monotonic() - began < limit_s + AT_ONCE_S
    assert listed.code == 3
    assert {row["instance"]: row["state"] for row in listed.json["results"]} == {
        "web1": "not running", "web2": "unknown", "web3": "not running",
    }  # fmt: skip
    assert table.code == 3
    assert "unknown" in table.out
    assert pinged.code == 3
    assert refused(cluster, "sync-instance", "web2", "--timeout", "1", code=4).json["status"] == "failed"
    cluster.nodes["n2"].resume()
    assert statuses(cluster.json("sync-cluster", "web")) == {
        "web1": "unchanged", "web2": "synchronised", "web3": "unchanged",
    }  # fmt: skip


def test_a_helper_that_hangs(make: Callable[..., Cluster]) -> None:
    """The login works, and then nothing comes: the time counts from there too."""
    cluster = make(2)
    limit_s = patience(cluster)
    cluster.nodes["n1"].stop()
    cluster.nodes["n1"].options = {"ForceCommand": "sleep 50"}
    cluster.nodes["n1"].start()
    began = time.monotonic()
    for at_once in (
        (("sync-cluster", "web"), ("list-instances",), ("ping-node-ssh",)),
        (("start-cluster", "web"),),
    ):
        for process in [cluster.start("--json", "--timeout", str(limit_s), *words) for words in at_once]:
            run = ended(process)
            assert run.code == 3, str(run)
            bad = next(row for row in run.json["results"] if row["node"] == "n1")
            assert bad["error"]["message"]
            assert bad["error"]["hint"]
    assert time.monotonic() - began < 2 * (limit_s + AT_ONCE_S)
    cluster.json("stop-instance", "web2")


def test_refused_by_one_and_by_all(make: Callable[..., Cluster]) -> None:
    cluster = make(2)
    cluster.nodes["n1"].stop()
    some = refused(cluster, "sync-cluster", "web", code=3)
    assert statuses(some) == {"web1": "unreachable", "web2": "synchronised"}
    assert "connection refused" in some.row("web1")["error"]["message"]
    cluster.nodes["n2"].stop()
    for words in (
        ("sync-cluster", "web"),
        ("start-cluster", "web"),
        ("stop-cluster", "web"),
        ("ping-node-ssh",),
    ):
        refused(cluster, *words, code=4)
    assert decent(cluster.run("sync-cluster", "web")).code == 4
    listed = decent(cluster.run("--json", "list-instances"))
    assert listed.code == 4
    assert {row["state"] for row in listed.json["results"]} == {"unknown"}
    assert decent(cluster.run("list-instances", "--nostatus")).code == 0


def test_a_transfer_that_is_cut_goes_on_where_it_stopped(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    cluster.json("sync-cluster", "web")
    for number in range(12):
        cluster.write(f"docroot/big{number}", os.urandom(8 * MIB))
    staging = cluster.folder("web1") / ".dasctl/staging"
    before = tree_of(cluster.folder("web1") / "docroot")
    process = cluster.start("--json", "sync-cluster", "web")
    wait_until(lambda: any(len(name) == 64 for name in listing_of(staging)))
    cluster.nodes["n1"].reset_connections()
    out, err = process.communicate(timeout=60)
    cut = decent(Run(code=process.returncode, out=out, err=err))
    assert cut.code == 4, str(cut)
    assert cut.row("web1")["status"] == "unreachable"
    assert cut.row("web1")["error"]["hint"]
    assert tree_of(cluster.folder("web1") / "docroot") == before
    again = cluster.json("sync-cluster", "web")
    assert again.row("web1")["bytes_sent"] < 96 * MIB, "what had arrived was sent once more"
    same(cluster, "web1")
    assert listing_of(staging) == set()


def test_a_node_that_hangs_in_the_middle_of_a_transfer(make: Callable[..., Cluster]) -> None:
    cluster = make(3)
    limit_s = patience(cluster)
    cluster.write("docroot/big", os.urandom(64 * MIB))
    staging = cluster.folder("web2") / ".dasctl/staging"
    process = cluster.start("--json", "--timeout", str(limit_s), "sync-cluster", "web")
    wait_until(lambda: bool(listing_of(staging)))
    cluster.nodes["n2"].hang()
    began = time.monotonic()
    run = ended(process)
    took = time.monotonic() - began
    assert run.code == 3, str(run)
    assert statuses(run) == {"web1": "synchronised", "web2": "unreachable", "web3": "synchronised"}
    assert took < 30 + limit_s
    cluster.nodes["n2"].resume()
    wait_until(lambda: cluster.run("sync-cluster", "web").code == 0, 60)
    same(cluster, "web1", "web2", "web3")


# Keys of both sides.


def test_a_key_that_the_node_does_not_know(make: Callable[..., Cluster]) -> None:
    cluster = make(2)
    cluster.edit_yaml(
        f"port: {cluster.nodes['n1'].port}, user: {cluster.nodes['n1'].user}, key: {cluster.ssh.key}",
        f"port: {cluster.nodes['n1'].port}, user: {cluster.nodes['n1'].user}, key: {cluster.ssh.other_key}",
    )
    run = refused(cluster, "sync-cluster", "web", code=3)
    assert "no key was accepted" in run.row("web1")["error"]["message"]
    assert "setup-ssh n1" in run.row("web1")["error"]["hint"]


def test_an_unknown_host_key_and_the_command_that_accepts_it(
    make: Callable[..., Cluster], ssh: SshSetting
) -> None:
    cluster = make(1)
    ssh.known_hosts.unlink()
    run = refused(cluster, "sync-cluster", "web", code=4)
    error = run.row("web1")["error"]
    assert "SHA256:" in error["message"]
    command = error["hint"].split("dasctl ", 1)[1].split(" (or", 1)[0].split()
    assert command[:2] == ["update-node-ssh", "n1"]
    assert decent(cluster.run(*command)).code == 0
    assert cluster.json("sync-cluster", "web").row("web1")["status"] == "synchronised"


def test_a_changed_host_key_is_a_hard_stop(
    make: Callable[..., Cluster], test_keys: Path, ssh: SshSetting
) -> None:
    cluster = make(1)
    cluster.json("sync-cluster", "web")
    server = cluster.nodes["n1"]
    server.stop()
    server.host_key = test_keys / "other_host"
    server.start()

    def mark(key: str) -> str:
        told = subprocess.run(
            ["ssh-keygen", "-lf", str(test_keys / f"{key}.pub")], capture_output=True, text=True, check=True
        )
        return told.stdout.split()[1]

    cluster.write("docroot/index.html", "not for a stranger")
    for words in (("sync-cluster", "web"), ("start-cluster", "web"), ("ping-node-ssh",)):
        error = refused(cluster, *words, code=4).json["error"]
        assert mark("host") in error["message"]
        assert mark("other_host") in error["message"]
    # Neither a plain update nor the wrong fingerprint gets past it.
    assert decent(cluster.run("update-node-ssh", "n1")).code == 4
    assert decent(cluster.run("update-node-ssh", "n1", "--force")).code == 4
    assert decent(cluster.run("update-node-ssh", "n1", "--host-key", mark("host"))).code != 0
    assert decent(cluster.run("sync-cluster", "web")).code == 4
    command = error["hint"].split("dasctl ", 1)[1].split()
    assert decent(cluster.run(*command)).code == 0
    assert cluster.json("sync-cluster", "web").row("web1")["status"] == "synchronised"


# Python and login shells.


def test_no_python3_and_an_old_one(make: Callable[..., Cluster], tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("sh", "cat", "sleep", "exec"):
        path = shutil.which(name)
        if path:
            (bin_ / name).symlink_to(path)
    cluster = make(2)
    server = cluster.nodes["n1"]
    server.stop()
    server.options = {"SetEnv": f"HOME={server.home} PATH={bin_}"}
    server.start()
    for words in (("sync-cluster", "web"), ("list-instances",), ("ping-node-ssh",)):
        run = decent(cluster.run("--json", *words))
        assert run.code == 3, str(run)
        bad = next(row for row in run.json["results"] if row["node"] == "n1")
        assert "no python3 on node n1" in bad["error"]["message"], str(run)
        assert "apt-get install python3" in bad["error"]["hint"]
    # As an old one does: it runs what it is given, says what it is, and knows no newer syntax.
    old = bin_ / "python3"
    old.write_text(
        f"#!{shutil.which('python3', path='/usr/local/bin:/usr/bin:/bin')}\n"
        "import sys\n"
        "class Version(tuple):\n"
        "    major, minor, micro = 3, 6, 8\n"
        "sys.version_info = Version((3, 6, 8, 'final', 0))\n"
        "sys.argv = ['-c'] + sys.argv[sys.argv.index('-c') + 2:] if '-c' in sys.argv else sys.argv\n"
        "given = open('/proc/self/cmdline', 'rb').read().split(b'\\0')\n"
        "exec(given[given.index(b'-c') + 1].decode())\n"
    )
    old.chmod(0o755)
    for folder in (bin_, tmp_path):
        folder.chmod(0o755)
    run = decent(cluster.run("--json", "sync-cluster", "web"))
    assert run.code == 3, str(run)
    assert "python3 3.6" in run.row("web1")["error"]["message"], str(run)
    assert "newer python3" in run.row("web1")["error"]["hint"]
    same(cluster, "web2")


NOISE = "echo 'Welcome!  {not} a \"greeting\"'\necho DASCTL-LINK-1 is not alone here\n"


@pytest.mark.parametrize("shell", ["bash", "csh", "fish"])
def test_synchronise_and_start_through_noisy_login_shells(
    tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd], shell: str
) -> None:
    path = shutil.which(shell)
    assert path is not None, f"{shell} is needed: apt-get install {shell}"
    if os.getuid() == 0:
        server = sshd_factory("n1", user=node_user(f"dasnode-{shell}", path))
    else:
        server = sshd_factory("n1", ForceCommand=f'{path} -c "$SSH_ORIGINAL_COMMAND"')
    for name in (".bashrc", ".cshrc", ".profile"):
        (server.home / name).write_text(NOISE)
    fish = server.home / ".config/fish"
    fish.mkdir(parents=True)
    (fish / "config.fish").write_text(NOISE)
    run(["chmod", "-R", "a+rX", str(server.home)])
    cluster = make_cluster(tmp_path, ssh, [server])
    cluster.write('docroot/it\'s "odd" $HOME', "x")
    decent(cluster.json("start-cluster", "web"))
    assert cluster.json("list-instances").row("web1")["state"] == "running"
    cluster.json("stop-cluster", "web")
    same(cluster, "web1")
