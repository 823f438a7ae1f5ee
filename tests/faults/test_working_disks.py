"""Changing the domain's files on a disk that is full, and where something is mounted inside the domain."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dasctl.adapters.store import YamlStore
from dasctl.adapters.working import FolderWorking
from dasctl.core.moves import Move, Touch
from dasctl.errors import OperationFailed
from dasctl.remote.manifest import Entry, digest_of
from tests.contracts.test_working import Disk, Killed, killed_at
from tests.core.test_delta import noise

MTIME = 1_600_000_000_123_456_789


def mounted(*words: str | Path) -> bool:
    if os.getuid():
        pytest.skip("only root can mount")
    return subprocess.run(["mount", *words], check=False, capture_output=True).returncode == 0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Disk]:
    """A domain on a file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=2m", "tmpfs", folder):
        pytest.skip("nothing can be mounted here")
    try:
        domain = Disk(folder / "shop")
        domain.file(b"config/domain.yaml", b"format: 1\n")
        domain.file(b"docroot/index.html", b"one")
        yield domain
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full_while_something_is_made(small: Disk) -> None:
    before = small.seen()
    data = noise(1, 3 << 20)
    entry = Entry(b"docroot/large", "f", 0o644, len(data), MTIME, digest_of(data).encode())
    working = small.working_of()
    with pytest.raises(OperationFailed, match=r"No space left on device.*nothing has been changed") as caught:
        with working.making() as folder:
            working.write(folder / "large", [entry], lambda digest: [data])
            raise AssertionError("there is no room for it")
    assert "make room" in caught.value.hint
    assert small.seen() == before
    assert small.left() == []


def test_a_disk_that_is_full_when_the_journal_is_written(small: Disk) -> None:
    """Byte by byte less room: the change is made as a whole, or not at all and says so."""
    states = set()
    for room in range(0, 9):
        working = small.working_of()
        with working.making() as folder:
            (folder / "page").write_bytes(b"two")
            filler = small.root / ".dasctl" / "filler"
            fill(filler, room)
            before = small.seen()
            moves = [Move(to=b"docroot/index.html", staged=folder / "page")]
            moves += [Move(to=b"docroot/none-%04d" % number, staged=None) for number in range(200)]
            try:
                working.put(moves, [Touch(path=b"docroot", mtime=MTIME)])
                assert small.seen()[b"docroot/index.html"][2] == b"two"
                states.add("done")
            except OperationFailed as error:
                assert "nothing has been changed" in error.message, error.message
                assert small.seen() == before
                states.add("nothing")
        filler.unlink()
        with small.store.domain_locked("next", wait_s=0):
            pass
        assert small.left() == []
        small.file(b"docroot/index.html", b"one")
    assert states == {"done", "nothing"}


def fill(filler: Path, pages: int) -> None:
    """Leave room for so many pages of 4 KiB."""
    free = os.statvfs(filler.parent).f_bavail
    filler.write_bytes(bytes(max(0, free - pages) * 4096))


@pytest.fixture
def with_mount(tmp_path: Path) -> Iterator[Callable[[str], Disk]]:
    """A domain whose docroot is a folder from elsewhere, or a disk of its own."""
    made: list[Path] = []

    def make(kind: str) -> Disk:
        domain = Disk(tmp_path / f"shop{len(made)}")
        domain.file(b"config/domain.yaml", b"format: 1\n")
        docroot = domain.root / "docroot"
        docroot.mkdir()
        elsewhere = tmp_path / f"elsewhere{len(made)}"
        elsewhere.mkdir()
        words = ("--bind", elsewhere, docroot) if kind == "bind" else ("-t", "tmpfs", "tmpfs", docroot)
        if not mounted(*words):
            pytest.skip("nothing can be mounted here")
        made.append(docroot)
        domain.file(b"docroot/index.html", b"one")
        domain.file(b"docroot/gone/x", b"x")
        os.utime(docroot, ns=(MTIME, MTIME))
        return domain

    yield make
    for docroot in made:
        subprocess.run(["umount", docroot], check=True)


def change(folder: Path) -> list[Move]:
    (folder / "page").write_bytes(b"two")
    (folder / "tree" / "deep").mkdir(parents=True)
    (folder / "tree" / "deep" / "file").write_bytes(b"deep")
    os.utime(folder / "tree", ns=(MTIME, MTIME))
    (folder / "own").write_bytes(b"own")
    return [
        Move(to=b"docroot/sub/index.html", staged=folder / "page"),
        Move(to=b"docroot/gone", staged=folder / "tree"),
        Move(to=b"lib/own", staged=folder / "own"),
    ]


@pytest.mark.parametrize("kind", ["bind", "disk"])
def test_what_is_mounted_inside_changes_as_well(with_mount: Callable[[str], Disk], kind: str) -> None:
    domain = with_mount(kind)
    working = domain.working_of()
    with working.making() as folder:
        working.put(change(folder), [Touch(path=b"docroot", mtime=MTIME)])
    seen = domain.seen()
    assert seen[b"docroot/sub/index.html"][2] == b"two"
    assert seen[b"docroot/gone/deep/file"][2] == b"deep"
    assert seen[b"lib/own"][2] == b"own"
    assert not [path for path in seen if b".dasctl" in path]
    assert domain.mtime(b"docroot") == domain.mtime(b"docroot/gone") == MTIME
    assert domain.left() == []


def test_a_kill_anywhere_where_something_is_mounted(with_mount: Callable[[str], Disk]) -> None:
    domain = with_mount("bind")
    before = domain.seen()
    states = set()
    for number in range(100):
        stopped = FolderWorking(domain.root, before=killed_at(number))
        making = stopped.making()
        folder = making.__enter__()
        try:
            stopped.put(change(folder))
            break
        except Killed:
            pass
        with YamlStore(domain.root).domain_locked("next", wait_s=0):
            pass
        seen = domain.seen()
        done = seen.get(b"lib/own") is not None
        states.add(done)
        assert not [path for path in seen if b".dasctl" in path], number
        if done:
            assert seen[b"docroot/sub/index.html"][2] == b"two" and b"docroot/gone/deep/file" in seen
            subprocess.run(
                ["rm", "-rf", domain.root / "lib", domain.root / "docroot/sub", domain.root / "docroot/gone"],
                check=True,
            )
            domain.file(b"docroot/gone/x", b"x")
        else:
            assert seen == before, number
        making.__exit__(None, None, None)
    assert states == {True, False}


@pytest.mark.parametrize("kind", ["bind", "disk"])
def test_the_folder_of_the_history_on_another_disk(tmp_path: Path, kind: str) -> None:
    """No rename leads out of it."""
    domain = Disk(tmp_path / "shop")
    domain.file(b"docroot/gone/x", b"x")
    own, elsewhere = domain.root / ".dasctl", tmp_path / "elsewhere"
    own.mkdir()
    elsewhere.mkdir()
    if not mounted(*(("--bind", elsewhere, own) if kind == "bind" else ("-t", "tmpfs", "tmpfs", own))):
        pytest.skip("nothing can be mounted here")
    try:
        for number in range(100):
            stopped = FolderWorking(domain.root, before=killed_at(number))
            making = stopped.making()
            folder = making.__enter__()
            try:
                stopped.put(change(folder))
            except Killed:
                pass
            else:
                break
            with YamlStore(domain.root).domain_locked("next", wait_s=0):
                seen = domain.seen()
            assert (
                (b"lib/own" in seen) == (b"docroot/sub/index.html" in seen) == (b"docroot/gone/x" not in seen)
            )
            making.__exit__(None, None, None)
            assert ".dasctl-making" not in os.listdir(domain.root)
            subprocess.run(["rm", "-rf", domain.root / "lib", domain.root / "docroot"], check=True)
            domain.file(b"docroot/gone/x", b"x")
        assert number > 10
        assert domain.seen()[b"docroot/gone/deep/file"][2] == b"deep"
    finally:
        making.__exit__(None, None, None)
        subprocess.run(["umount", own], check=True)


def test_a_mount_itself_is_not_replaced(with_mount: Callable[[str], Disk]) -> None:
    domain = with_mount("bind")
    with pytest.raises(OperationFailed, match="something is mounted on docroot"):
        domain.working_of().put([Move(to=b"docroot", staged=None)])


def test_a_history_behind_a_link_is_refused(tmp_path: Path) -> None:
    domain = Disk(tmp_path / "shop")
    domain.file(b"docroot/x", b"x")
    (tmp_path / "elsewhere").mkdir()
    (domain.root / ".dasctl").symlink_to("../elsewhere")
    with pytest.raises(OperationFailed, match=r"\.dasctl is a symbolic link"), domain.working_of().making():
        raise AssertionError("nothing could be put from there")
    assert list((tmp_path / "elsewhere").iterdir()) == []
