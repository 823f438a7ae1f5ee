"""What no file system can do is found before anything is changed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.remote.conversation import Das, Tree, on_disk

from dasctl.remote import mounts


def may_mount() -> bool:
    if os.getuid() != 0:
        return False
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


needs_mount = pytest.mark.skipif(not may_mount(), reason="only root mounts file systems")

TABLE = rb"""21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 21 0:35 / /srv/shop/web1/docroot/up\040loads rw - tmpfs none rw
41 21 0:36 / /srv/shop/web10 rw - tmpfs none rw
42 21 0:37 / /srv/shop/web1/lib rw - nfs host:/a\134b rw
short line
"""


def test_the_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_bytes(TABLE)
    table = str(tmp_path / "mountinfo")
    assert mounts.below("/srv/shop/web1", table) == [
        b"/srv/shop/web1/docroot/up loads",
        b"/srv/shop/web1/lib",
    ]
    assert mounts.below("/srv/shop/web10", table) == [b"/srv/shop/web10"]
    assert mounts.below("/srv/shop/web1/config", table) == []
    assert mounts.below("/srv", str(tmp_path / "none")) == []


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


TREE = Tree().file("docroot/page", b"1").folder("docroot/uploads").file("lib/app/code", b"c")


@needs_mount
def test_a_mount_point_is_not_removed(tmp_path: Path) -> None:
    das = Das(tmp_path)
    das.one(TREE)
    root = tmp_path / "web1"
    with mounted(root / "docroot/uploads"):
        before = on_disk(root)
        for dry_run in (True, False):
            verdict = das.one(
                TREE.copy().without("docroot/uploads").file("docroot/page", b"2"), dry_run=dry_run
            )
            assert verdict["verdict"] == "failed", verdict
            assert "cannot remove docroot/uploads, where something is mounted" in verdict["message"]
            assert "unmount" in verdict["hint"]
        assert on_disk(root) == before
        assert das.one(TREE.copy().file("docroot/page", b"2"))["verdict"] == "done"  # beside it all goes on
    assert das.one(TREE.copy().without("docroot/uploads"))["verdict"] == "done"


@needs_mount
def test_files_are_not_put_across_the_border(tmp_path: Path) -> None:
    das = Das(tmp_path)
    das.one(TREE)
    root = tmp_path / "web1"
    with mounted(root / "lib/app"):
        verdict = das.one(TREE)
        assert (verdict["verdict"], "lib/app/code" in verdict["message"]) == ("failed", True)
        assert "exclude" in verdict["hint"]
        (root / "lib/app/code").write_bytes(b"on the other file system")
        verdict = das.one(TREE)
        assert (verdict["verdict"], "cannot keep lib/app/code aside" in verdict["message"]) == (
            "failed",
            True,
        )
        assert das.one(TREE, deviations="keep")["verdict"] in ("done", "unchanged")
        assert (root / "lib/app/code").read_bytes() == b"on the other file system"
    assert das.one(TREE)["verdict"] in ("done", "unchanged")
    assert on_disk(root) == TREE.entries
