"""Nodes that refuse, hang, reset, fill up or lie, through the real command line and real OpenSSH servers."""

from __future__ import annotations

import math
import os
import pwd
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.cluster import LIMIT_S, Cluster, Run, make_cluster, rsync_finds, tree_of
from tests.system.failing import decent, refused
from tests.system.sshd import Sshd, SshSetting, free_port, node_user, run

AREAS = ("docroot", "lib", "applications/hello")
MIB = 1 << 20

# What ends too late is late by the default limits (10 s and more), not by the time that a busy machine takes to start a
# process.
AT_ONCE_S = 8.0


@pytest.fixture
def make(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Callable[..., Cluster]:
    def cluster(count: int, **options: str) -> Cluster:
        return make_cluster(tmp_path, ssh, [sshd_factory(f"n{n}", **options) for n in range(1, count + 1)])

    return cluster


def same(cluster: Cluster, *instances: str) -> None:
    for instance in instances:
        for area in AREAS:
            source, target = cluster.root / area, cluster.folder(instance) / area
            assert tree_of(target) == tree_of(source), instance
            assert rsync_finds(source, target) == ""


def statuses(run: Run) -> dict[str, str]:
    return {row["instance"]: row["status"] for row in run.json["results"]}


def ended(process: subprocess.Popen[str]) -> Run:
    out, err = process.communicate(timeout=LIMIT_S)
    return decent(Run(code=process.returncode, out=out, err=err))


def patience(cluster: Cluster) -> int:
    """Seconds for --timeout, in which nodes beside a silent one answer on this machine, now. Asked before it is silent."""
    began = time.monotonic()
    cluster.json("ping-node-ssh")
    return max(2, math.ceil(3 * (time.monotonic() - began)))


def wait_until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def listing_of(paths: Path) -> set[str]:
    return set(os.listdir(paths)) if paths.exists() else set()


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


# Disks.


def test_a_node_folder_that_may_not_be_written(make: Callable[..., Cluster]) -> None:
    cluster = make(2)
    home = cluster.nodes["n1"].home
    das = home / "das"
    das.mkdir()
    das.chmod(0o555)
    if os.getuid() == 0:
        os.chown(das, 0, 0)
    run = refused(cluster, "sync-cluster", "web", code=3)
    assert statuses(run) == {"web1": "failed", "web2": "synchronised"}
    assert str(das) in run.row("web1")["error"]["message"]
    ping = decent(cluster.run("--json", "ping-node-ssh"))
    assert ping.code == 3
    assert "directory" in ping.row("n1")["error"]["message"]
    assert ping.row("n1")["error"]["hint"]
    if os.getuid() == 0:
        os.chown(das, pwd.getpwnam(cluster.nodes["n1"].user).pw_uid, -1)
    das.chmod(0o755)
    cluster.json("sync-cluster", "web")
    same(cluster, "web1")


def test_a_domain_folder_that_may_not_be_written(make: Callable[..., Cluster]) -> None:
    """As root every folder may be written, so there the file system itself is read-only."""
    cluster = make(1)
    cluster.json("sync-cluster", "web")
    with read_only(cluster.root):
        for words in (
            ("create-cluster", "other"),
            ("create-instance", "web2", "--node", "n1", "--cluster", "web", "--property", "http.port=1"),
            ("sync-cluster", "web"),
        ):
            refused(cluster, *words, code=1)
        assert decent(cluster.run("verify-domain")).code == 0
        assert decent(cluster.run("list-instances", "--nostatus")).code == 0
        assert decent(cluster.run("list-instances")).code == 0
    assert cluster.json("sync-cluster", "web").json["status"] == "unchanged"


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    if os.getuid() == 0:
        run(["mount", "--bind", str(folder), str(folder)])
        try:
            run(["mount", "-o", "remount,ro,bind", str(folder)])
            yield
        finally:
            run(["umount", "-l", str(folder)])
        return
    places = [folder, folder / "config", folder / ".dasctl", *(folder / ".dasctl").iterdir()]
    modes = [place.stat().st_mode for place in places]
    for place in places:
        place.chmod(place.stat().st_mode & ~0o222)
    try:
        yield
    finally:
        for place, mode in zip(places, modes, strict=True):
            place.chmod(mode)


@contextmanager
def small_disk(cluster: Cluster, size: str) -> Iterator[Path]:
    """The node's directory on a file system of its own; only root can have that."""
    das = cluster.nodes["n1"].home / "das"
    das.mkdir(exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(das)])
    try:
        yield das
    finally:
        run(["umount", "-l", str(das)])


def free(das: Path) -> int:
    seen = os.statvfs(das)
    return seen.f_bavail * seen.f_frsize


def test_a_limit_that_is_met_while_staging(make: Callable[..., Cluster]) -> None:
    """No root is needed for a shell that may write no file of more than 1 MiB."""
    cluster = make(1, ForceCommand='ulimit -f 2048; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"')
    cluster.json("sync-cluster", "web")
    before = tree_of(cluster.folder("web1") / "docroot")
    cluster.write("docroot/first", os.urandom(MIB // 2))
    cluster.write("docroot/second", os.urandom(3 * MIB))
    run = refused(cluster, "sync-cluster", "web", code=1)
    assert "too large" in run.row("web1")["error"]["message"]
    assert tree_of(cluster.folder("web1") / "docroot") == before
    assert all(len(name) == 64 for name in listing_of(cluster.folder("web1") / ".dasctl/staging"))
    (cluster.root / "docroot/second").unlink()
    cluster.json("sync-cluster", "web")
    same(cluster, "web1")
    assert listing_of(cluster.folder("web1") / ".dasctl/staging") == set(), "what nobody waits for has gone"


needs_mount = pytest.mark.skipif(
    os.getuid() != 0,
    reason="only root mounts file systems; test_a_limit_that_is_met_while_staging runs for all",
)


@needs_mount
def test_a_full_disk_is_noticed_before_staging(make: Callable[..., Cluster]) -> None:
    cluster = make(2)
    with small_disk(cluster, "6m") as das:
        cluster.json("sync-cluster", "web")
        before, room = tree_of(das / "web1/docroot"), free(das)
        cluster.write("docroot/big", os.urandom(8 * MIB))
        run = refused(cluster, "sync-cluster", "web", code=3)
        assert statuses(run) == {"web1": "failed", "web2": "synchronised"}
        assert "not enough space" in run.row("web1")["error"]["message"]
        assert tree_of(das / "web1/docroot") == before
        assert free(das) >= room - 64 * 1024
        (cluster.root / "docroot/big").unlink()
        cluster.json("sync-cluster", "web")
        same(cluster, "web1", "web2")
        # What makes room must be possible when there is none.
        cluster.write("docroot/large", os.urandom(3 * MIB))
        cluster.json("sync-cluster", "web")
        (das / "filler").write_bytes(bytes(max(0, free(das) - 300 * 1024)))
        (cluster.root / "docroot/large").unlink()
        cluster.json("sync-cluster", "web")
        same(cluster, "web1", "web2")
        assert free(das) > 2 * MIB


@needs_mount
def test_a_disk_that_fills_up_while_staging(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    with small_disk(cluster, "40m") as das:
        cluster.json("sync-cluster", "web")
        before, room = tree_of(das / "web1/docroot"), free(das)
        for number in range(24):
            cluster.write(f"docroot/big{number}", os.urandom(MIB))
        filler = das / "filler"
        staging = das / "web1/.dasctl/staging"

        def fill() -> None:
            wait_until(lambda: sum(len(name) == 64 for name in listing_of(staging)) >= 4)
            with open(filler, "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(256 * 1024))
                except OSError:
                    pass

        thread = threading.Thread(target=fill)
        thread.start()
        run = decent(cluster.run("--json", "sync-cluster", "web"))
        thread.join()
        assert run.code == 1, str(run)
        assert "no space left" in run.row("web1")["error"]["message"]
        assert run.row("web1")["error"]["hint"]
        assert tree_of(das / "web1/docroot") == before
        size = filler.stat().st_size
        filler.unlink()
        assert free(das) >= room - 256 * 1024, (
            f"{(room - free(das)) >> 10} KiB are left behind; filler {size}"
        )
        cluster.json("sync-cluster", "web")
        same(cluster, "web1")


# Files that do not rest, and many or large ones.


def test_a_file_that_grows_while_it_is_sent(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    growing = cluster.write("docroot/growing.log", os.urandom(4 * MIB))
    stop = threading.Event()

    def grow() -> None:
        with open(growing, "ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"another line of a log\n" * 50)
                time.sleep(0.002)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        runs = [decent(cluster.run("--json", "sync-cluster", "web")) for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    for run_ in runs:
        assert run_.code in (0, 1), str(run_)
        if run_.code:
            assert "growing.log" in str(run_.json["error"]["message"]), str(run_)
            assert run_.json["error"]["hint"]
    assert cluster.json("sync-cluster", "web").json["status"] in ("ok", "unchanged")
    same(cluster, "web1")


def test_files_that_vanish_and_come_while_they_are_sent(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    for number in range(60):
        cluster.write(f"docroot/d{number}/file", os.urandom(50_000))
    stop = threading.Event()

    def shuffle() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            folder = cluster.root / f"docroot/d{number % 60}"
            shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.003)
            cluster.write(f"docroot/d{number % 60}/file{number}", os.urandom(1000))

    thread = threading.Thread(target=shuffle)
    thread.start()
    try:
        runs = [decent(cluster.run("--json", "sync-cluster", "web")) for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    for run_ in runs:
        assert run_.code in (0, 1), str(run_)
    cluster.json("sync-cluster", "web")
    same(cluster, "web1")


def test_many_empty_and_large_files(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    for number in range(5000):
        folder = cluster.root / f"docroot/{number % 50}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_bytes(b"" if number % 7 == 0 else b"%d" % number)
    block = os.urandom(4 * MIB)
    with open(cluster.root / "docroot/large", "wb") as file:
        for number in range(50):
            file.write(number.to_bytes(4, "big") + block[4:])
    cluster.json("sync-cluster", "web")
    source, target = cluster.root / "docroot", cluster.folder("web1") / "docroot"
    assert rsync_finds(source, target, "--checksum") == ""
    assert cluster.json("sync-cluster", "web").json["status"] == "unchanged"


# The domain's own memory.


def test_a_wiped_dasctl_folder_is_refused_until_take_over(make: Callable[..., Cluster]) -> None:
    cluster = make(2)
    cluster.json("sync-cluster", "web")
    shutil.rmtree(cluster.root / ".dasctl")
    cluster.write("docroot/index.html", "after")
    before = tree_of(cluster.folder("web1"))
    run = refused(cluster, "sync-cluster", "web", code=6)
    assert "take-over" in run.row("web1")["error"]["hint"]
    assert tree_of(cluster.folder("web1")) == before
    assert decent(cluster.run("take-over")).code == 0
    cluster.json("sync-cluster", "web")
    same(cluster, "web1", "web2")


@pytest.mark.parametrize("what", ["history.db", "index", "known_hosts", "lock"])
def test_a_damaged_file_of_the_dasctl_folder(make: Callable[..., Cluster], what: str) -> None:
    cluster = make(1)
    cluster.json("sync-cluster", "web")
    path = cluster.root / ".dasctl" / what
    others = list((cluster.root / ".dasctl").iterdir())
    if what == "history.db":
        (path,) = [
            other for other in others if other.name.startswith("history") and other.suffix == ".db"
        ] or [path]
    for content in (b"", b"\0\xff garbage \n" * 500):
        path.write_bytes(content)
        cluster.write("docroot/index.html", content + b"!")
        run = decent(cluster.run("--json", "sync-cluster", "web"))
        if run.code:
            assert what == "history.db", str(run)
            assert run.code in (1, 6)
            assert run.json["error"]["message"]
            assert run.json["error"]["hint"], str(run)
        else:
            same(cluster, "web1")


# Two commands at once.


def test_two_commands_at_once(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    cluster.nodes["n1"].hang()
    first = cluster.start("sync-cluster", "web", "--timeout", "100")
    wait_until(
        lambda: (cluster.root / ".dasctl/lock").exists() and bool((cluster.root / ".dasctl/lock").read_text())
    )
    second = refused(cluster, "create-cluster", "other", code=5)
    message = second.json["error"]["message"]
    for word in ("sync-cluster web", f"pid {first.pid}", "since", "@"):
        assert word in message, message
    assert "--wait" in second.json["error"]["hint"]
    # Whoever only looks is not kept out.
    assert decent(cluster.run("list-instances", "--nostatus")).code == 0
    began = time.monotonic()
    assert decent(cluster.run("create-cluster", "other", "--wait", "0.5")).code == 5
    assert time.monotonic() - began < AT_ONCE_S
    waiting = cluster.start("--json", "create-cluster", "other", "--wait", "30")
    time.sleep(0.3)
    cluster.nodes["n1"].resume()
    first.communicate(timeout=60)
    assert first.returncode == 0
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, out + err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_waiting_for_the_lock_can_be_interrupted(
    make: Callable[..., Cluster], number: signal.Signals
) -> None:
    cluster = make(1)
    cluster.nodes["n1"].hang()
    first = cluster.start("sync-cluster", "web", "--timeout", "100")
    wait_until(
        lambda: (cluster.root / ".dasctl/lock").exists() and bool((cluster.root / ".dasctl/lock").read_text())
    )
    waiting = cluster.start("--json", "create-cluster", "other", "--wait", "60")
    time.sleep(1.5)
    began = time.monotonic()
    waiting.send_signal(number)
    out, err = waiting.communicate(timeout=30)
    assert time.monotonic() - began < AT_ONCE_S
    run = decent(Run(code=waiting.returncode, out=out, err=err))
    assert run.code == 1
    assert "interrupted" in run.json["error"]["message"]
    assert run.json["error"]["hint"]
    assert "other" not in cluster.yaml().read_text()
    cluster.nodes["n1"].resume()
    assert first.wait(60) == 0
    first.communicate()


# Interrupts.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("command", ["sync-cluster", "start-cluster"])
def test_interrupted_while_one_of_three_hangs(
    make: Callable[..., Cluster], number: signal.Signals, command: str
) -> None:
    cluster = make(3)
    cluster.nodes["n2"].hang()
    process = cluster.start("--json", "--timeout", "50", command, "web")
    done = [cluster.folder(name) / ".dasctl/state.json" for name in ("web1", "web3")]
    wait_until(lambda: all(path.exists() for path in done))
    if command == "start-cluster":
        wait_until(lambda: "running" in cluster.run("list-instances", "web1,web3").out)
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - began < AT_ONCE_S
    run = decent(Run(code=process.returncode, out=out, err=err))
    assert run.code == 3, str(run)
    good = {"sync-cluster": "synchronised", "start-cluster": "started"}[command]
    assert statuses(run) == {"web1": good, "web2": "failed", "web3": good}, str(run)
    assert "interrupted" in run.row("web2")["error"]["message"]
    assert run.row("web2")["error"]["hint"]
    cluster.nodes["n2"].resume()
    decent(cluster.json(command, "web"))
    same(cluster, "web1", "web2", "web3")
    cluster.json("stop-cluster", "web")


def test_interrupted_twice_ends_at_once(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    cluster.nodes["n1"].hang()
    process = cluster.start("sync-cluster", "web", "--timeout", "50")
    wait_until(
        lambda: (cluster.root / ".dasctl/lock").exists() and bool((cluster.root / ".dasctl/lock").read_text())
    )
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - began < AT_ONCE_S
    assert process.returncode != 0
    decent(Run(code=process.returncode, out=out, err=err))


def test_a_port_where_something_else_listens(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    port = free_port()
    cluster.edit_yaml(f"port: {cluster.nodes['n1'].port}", f"port: {port}")
    server = subprocess.Popen(
        [shutil.which("python3") or "python3", "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cluster.root,
    )  # fmt: skip
    try:
        time.sleep(0.5)
        refused(cluster, "sync-cluster", "web", "--timeout", "3", code=4)
    finally:
        server.kill()
        server.wait()


def test_interrupted_in_the_middle_of_a_transfer(make: Callable[..., Cluster]) -> None:
    cluster = make(2)
    cluster.json("sync-cluster", "web")
    for number in range(10):
        cluster.write(f"docroot/big{number}", os.urandom(10 * MIB))
    staging = cluster.folder("web1") / ".dasctl/staging"
    before = tree_of(cluster.folder("web1") / "docroot")
    process = cluster.start("sync-cluster", "web")
    wait_until(lambda: any(len(name) == 64 for name in listing_of(staging)))
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - began < AT_ONCE_S
    run_ = decent(Run(code=process.returncode, out=out, err=err))
    assert run_.code == 1, str(run_)
    assert "interrupted" in err
    assert "web[1-2]" in err or ("web1" in err and "web2" in err)
    assert "run the command again" in err
    assert tree_of(cluster.folder("web1") / "docroot") == before
    cluster.json("sync-cluster", "web")
    same(cluster, "web1", "web2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_at_any_moment(make: Callable[..., Cluster], number: signal.Signals) -> None:
    """An end by the signal and nothing said, or one document; never the program's insides."""
    cluster = make(1)
    for turn in range(12):
        cluster.write("docroot/index.html", str(turn))
        process = cluster.start("--json", "sync-cluster", "web")
        time.sleep(0.03 + 0.05 * turn)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        run_ = Run(code=process.returncode, out=out, err=err)
        assert run_.code in (-number, 0, 1), str(run_)
        assert "in main\n" not in err, str(run_)  # before that, Python itself is starting
        if "KeyboardInterrupt" in err and "/dasctl/" not in "".join(re.findall('File "(.*)"', err)):
            continue  # it could not even import what runs modules
        if out:
            assert run_.json["command"] == "sync-cluster"
        else:
            assert run_.code == -number, str(run_)
    cluster.json("sync-cluster", "web")
    same(cluster, "web1")
