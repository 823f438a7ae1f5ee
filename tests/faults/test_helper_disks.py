"""Disks that are full, folders that may not be written, as a user who is not root."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.remote.conversation import Das, Tree, on_disk

NOBODY = 65534


def unprivileged(path: Path, work: Callable[[], None]) -> None:
    """Do `work` in a child that is not root; `path` is made its own."""
    pid = os.fork()
    if pid == 0:
        try:
            if os.getuid() == 0:
                # Import what is imported late while it can be read for certain.
                Das(path / "warm").one(Tree().file("lib/x"))
                os.system(f"chown -R {NOBODY} '{path}'")
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def reachable(path: Path) -> Path:
    """The folder that pytest made is for its owner alone: open the way to it."""
    for folder in (path, *path.parents):
        if folder.stat().st_uid == os.getuid() and str(folder) not in ("/", "/tmp", "/dev/shm"):
            folder.chmod(folder.stat().st_mode | 0o755)
    return path


def test_read_only_folders_of_the_repository(tmp_path: Path) -> None:
    reachable(tmp_path)

    def work() -> None:
        das = Das(tmp_path)
        tree = Tree().file("lib/closed/inner/x", b"1", 0o444).file("lib/closed/write only", b"2", 0o200)
        tree.folder("lib/closed/inner", 0o555).folder("lib/closed", 0o555).folder("lib", 0o555)
        assert das.one(tree)["verdict"] == "done"
        assert {path: entry.mode for path, entry in on_disk(tmp_path / "web1").items()} == {
            path: entry.mode for path, entry in tree.entries.items()
        }
        assert das.one(tree)["verdict"] == "unchanged"
        tree.file("lib/closed/inner/x", b"new", 0o444).file("lib/closed/inner/y", b"y").folder(
            "lib/closed/z/a", 0o500
        )
        tree.without("lib/closed/write only")
        assert das.one(tree)["problems"] == []
        assert on_disk(tmp_path / "web1") == tree.entries
        less = Tree().folder("lib", 0o555)
        assert das.one(less)["problems"] == []
        assert on_disk(tmp_path / "web1") == less.entries

    unprivileged(tmp_path, work)


def test_no_permission_is_a_clear_failure(tmp_path: Path) -> None:
    reachable(tmp_path)
    (tmp_path / "node").mkdir()

    def work() -> None:
        (tmp_path / "node").chmod(0o555)
        verdict = Das(tmp_path / "node").one(Tree())
        assert (verdict["verdict"], "no permission in" in verdict["message"]) == ("failed", True), verdict
        assert verdict["hint"]

    unprivileged(tmp_path, work)


def test_more_than_the_disk_holds_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    das = Das(tmp_path)
    assert das.one(Tree().file("lib/a", b"old"))["verdict"] == "done"
    tree = Tree().file("lib/a", b"new")
    entry = tree.entries[b"lib/a"]
    tree.entries[b"lib/a"] = entry._replace(size=1 << 60)
    verdict = das.one(tree)
    assert (verdict["verdict"], "not enough space" in verdict["message"]) == ("failed", True)
    assert (tmp_path / "web1/lib/a").read_bytes() == b"old"


def test_a_disk_that_fills_up_while_staging_or_preparing(tmp_path: Path) -> None:
    das = Das(tmp_path)
    old = Tree().file("lib/a", b"old")
    assert das.one(old)["verdict"] == "done"
    tree = Tree().file("lib/a", b"new").file("lib/b", b"more").file("lib/c", b"more")
    for number in range(1, 40):
        left = number

        def before(operation: str) -> None:
            nonlocal left
            if operation in ("create", "mkdir", "symlink"):
                left -= 1
                if left == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        verdict = das.one(tree, before=before)
        if verdict["verdict"] == "done":
            break
        assert "no space left" in verdict["message"], verdict
        assert on_disk(tmp_path / "web1") == old.entries
        staged = os.listdir(tmp_path / "web1/.dasctl/staging")
        assert all(len(name) == 64 for name in staged), staged
    assert number > 4
    assert on_disk(tmp_path / "web1") == tree.entries
