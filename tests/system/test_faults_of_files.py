"""Disks that fill up, files that do not rest, a domain folder that is damaged, on real OpenSSH nodes."""

from __future__ import annotations

import os
import pwd
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, rsync_finds, tree_of
from tests.system.failing import decent, refused
from tests.system.faults import (
    MIB,
    listing_of,
    same,
    statuses,
    wait_until,
)
from tests.system.sshd import run

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
