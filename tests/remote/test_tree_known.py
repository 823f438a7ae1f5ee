"""The quick look at a tree finds each difference that the walk finds, and nothing where there is none."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dasctl.remote import manifest, tree
from dasctl.remote.handles import FOLDER, Handles

AREAS = [b"config", b"applications", b"lib", b"docroot"]
T = 1_700_000_000_000_000_001


def _make(root: Path) -> None:
    for path in ("docroot/a/b", "docroot/a-b", "docroot/a.b/c", "docroot/empty", "config"):
        (root / path).mkdir(parents=True)
    names = [b"docroot/a/b/x", b"docroot/a-b/y", b"docroot/a.b/c/z z", b"docroot/\xff\xfe", b"docroot/\xc3\xa4",
             b"docroot/\xf0\x9f\x98\x80", b"docroot/\xef\xbf\xbd", b"docroot/new\nline",
             b"config/f", b"docroot/a/0 1 2"]  # fmt: skip
    for name in names:
        path = os.path.join(os.fsencode(root), name)
        Path(os.fsdecode(path)).write_bytes(name)
        os.utime(path, ns=(T, T))
    (root / "docroot/link").symlink_to("a b%/c")
    deep = root / "docroot/deep"
    for _ in range(150):  # more folders than handles are kept
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "end").write_text("end")


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Handles, list[bytes]]:
    root = tmp_path / "i"
    root.mkdir()
    _make(root)
    handles = Handles(os.open(root, FOLDER))
    entries = tree.walk(handles, AREAS, {}, tree.Digests(handles).of).other.values()
    parts = []
    for area in (b"config", b"docroot"):
        own = [entry for entry in entries if entry.path == area or entry.path.startswith(area + b"/")]
        parts.append(manifest.encode(sorted(own, key=lambda entry: manifest.order(entry.path))))
    return root, handles, parts


def _retimed(path: Path) -> None:
    os.utime(path, ns=(T, T + 1), follow_symlinks=False)


def _other_link(path: Path) -> None:
    seen = path.lstat()
    path.unlink()
    path.symlink_to("elsewhere")
    os.utime(path, ns=(T, seen.st_mtime_ns), follow_symlinks=False)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path)  # its whole path may be too long for a socket
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("s")
    finally:
        os.chdir(here)


def _renamed(path: Path) -> None:
    folder = path.parent.stat()
    path.rename(path.with_name("w"))
    os.utime(path.parent, ns=(T, folder.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file is longer": lambda root: (root / "docroot/a/b/x").write_bytes(b"longer than before"),
    "a modtime by a nanosecond": lambda root: _retimed(root / "docroot/a-b/y"),
    "a mode": lambda root: (root / "docroot/a.b/c/z z").chmod(0o640),
    "a folder's mode": lambda root: (root / "docroot/empty").chmod(0o700),
    "a folder's modtime": lambda root: _retimed(root / "docroot/empty"),
    "an area's modtime": lambda root: _retimed(root / "docroot"),
    "a link leads elsewhere": lambda root: _other_link(root / "docroot/link"),
    "a link's modtime": lambda root: _retimed(root / "docroot/link"),
    "a file is gone": lambda root: (root / "docroot/a/b/x").unlink(),
    "the last file is gone": lambda root: (root / "docroot/\udcff\udcfe").unlink(),
    "another name, the folder as old as before": lambda root: _renamed(root / "docroot/a/b/x"),
    "one more file": lambda root: (root / "docroot/zz").write_bytes(b""),
    "one more area": lambda root: (root / "lib").mkdir(),
    "an area is gone": lambda root: (root / "config").rename(root / "was"),
    "an area is a file": lambda root: (root / "lib").write_bytes(b""),
    "a socket": lambda root: _socket(root / "docroot"),
    "deep down": lambda root: next((root / "docroot/deep").rglob("end")).write_text("another end"),
}  # fmt: skip


def test_a_tree_that_is_as_known(place: tuple[Path, Handles, list[bytes]]) -> None:
    _root, handles, parts = place
    assert tree.is_as_known(handles, AREAS, parts)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_each_difference_is_found(
    place: tuple[Path, Handles, list[bytes]], change: Callable[[Path], object]
) -> None:
    root, handles, parts = place
    change(root)
    handles.forget()
    assert not tree.is_as_known(handles, AREAS, parts)


def test_no_parts_and_nothing_there(tmp_path: Path) -> None:
    handles = Handles(os.open(tmp_path, FOLDER))
    assert tree.is_as_known(handles, AREAS, [])
    (tmp_path / "docroot").mkdir()
    assert not tree.is_as_known(handles, AREAS, [])


@pytest.mark.parametrize("cut", [1, 70, 200])
def test_a_manifest_that_is_cut_off_is_not_followed(
    place: tuple[Path, Handles, list[bytes]], cut: int
) -> None:
    _root, handles, parts = place
    assert not tree.is_as_known(handles, AREAS, [parts[0], parts[1][:-cut]])
