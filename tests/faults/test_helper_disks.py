"""Disks that are full, folders that may not be written, as a user who is not root."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

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


def test_a_killed_helper_that_left_folders_that_nobody_may_enter(tmp_path: Path) -> None:
    reachable(tmp_path)

    def killed(number: int, tree: Tree) -> bool:
        left = number

        def before(operation: str) -> None:
            nonlocal left
            left -= 1
            if not left:
                os._exit(0)

        pid = os.fork()
        if pid == 0:
            Das(tmp_path / "node").one(tree, before=before)
            os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    def work() -> None:
        tree = Tree().file("lib/new/listed/x", b"1").folder("lib/new/listed", 0o444).file("lib/new/y", b"2")
        number = 1
        while killed(number, tree):
            verdict = Das(tmp_path / "node").one(tree)
            assert verdict["verdict"] in ("done", "unchanged", "stands"), (number, verdict)
            (tmp_path / "node").rename(tmp_path / f"node{number}")
            number += 1
        assert number > 20

    unprivileged(tmp_path, work)


def test_a_folder_in_which_nothing_can_be_looked_at_is_not_an_empty_one(tmp_path: Path) -> None:
    """`chmod -R 644` on a node."""
    reachable(tmp_path)

    def work() -> None:
        das = Das(tmp_path)
        tree = Tree().file("lib/a/changed", b"old").file("lib/a/same", b"same")
        assert das.one(tree)["verdict"] == "done"
        folder = tmp_path / "web1/lib/a"
        (folder / "changed").write_bytes(b"by the server")
        (folder / "foreign").write_bytes(b"foreign")
        folder.chmod(0o644)
        verdict = das.one(tree)
        assert [item["path"] for item in verdict["problems"]] == ["lib/a"]
        assert [(item["path"], item["kind"]) for item in verdict["deviations"]] == [("lib/a", "changed")]
        assert (folder / "changed").read_bytes() == b"by the server"
        verdict = das.one(tree)
        assert [(item["path"], item["kind"]) for item in verdict["deviations"]] == [
            ("lib/a/changed", "changed")
        ]
        assert (tmp_path / "web1" / verdict["deviations"][0]["aside"]).read_bytes() == b"by the server"
        assert (folder / "foreign").read_bytes() == b"foreign"
        folder.chmod(0o644)
        verdict = das.one(tree.file("lib/a/same", b"new"))
        assert (verdict["verdict"], "cannot be read" in verdict["message"]) == ("failed", True)

    unprivileged(tmp_path, work)


@pytest.mark.parametrize("closed", ["local/lib/own", "local/lib/own/x", "local/lib"])
@pytest.mark.parametrize("mode", [0o000, 0o644])
def test_local_files_that_cannot_be_read_any_more_still_win(tmp_path: Path, closed: str, mode: int) -> None:
    reachable(tmp_path)

    def work() -> None:
        das = Das(tmp_path)
        tree = Tree().file("lib/own/x", b"the repository's")
        assert das.one(tree)["verdict"] == "done"
        own = tmp_path / "web1/local/lib/own"
        own.mkdir(parents=True)
        (own / "x").write_bytes(b"its own")
        assert das.one(tree)["verdict"] == "done"
        if closed.endswith("x"):
            (own / "x").write_bytes(b"edited")
            os.utime(own / "x", ns=(1, 1))
        (tmp_path / "web1" / closed).chmod(mode)
        for _ in range(2):
            das.one(tree)
            assert (tmp_path / "web1/lib/own/x").read_bytes() in (b"its own", b"edited")
        das.one(tree.file("lib/own/x", b"the repository's second"))
        assert (tmp_path / "web1/lib/own/x").read_bytes() in (b"its own", b"edited")

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
