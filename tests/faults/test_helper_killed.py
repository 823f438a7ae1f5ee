"""The helper is killed ahead of every single change that it makes to the disk: every file is the old or the new one, and
the next request finishes the commit."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from dasctl.remote import frames
from tests.remote.conversation import DOMAIN, Das, Tree, on_disk, standing, talk

KILLED = 42


def old() -> Tree:
    return (
        Tree()
        .file("config/a", b"old a")
        .file("config/b", b"old b", 0o600)
        .file("lib/goes", b"old")
        .file("lib/deep/er/goes", b"old")
        .file("docroot/turns", b"a file")
        .file("docroot/closed/x", b"old x")
        .folder("docroot/closed", 0o555)
        .file("docroot/folder/in it", b"old")
        .link("docroot/link", b"turns")
    )


def new() -> Tree:
    return (
        Tree()
        .file("config/a", b"new a", 0o640, mtime=11)
        .file("config/b", b"old b", 0o644)
        .file("lib/comes", b"new a")
        .file("docroot/turns/into a folder", b"new")
        .file("docroot/closed/x", b"new x")
        .file("docroot/closed/y", b"new y")
        .folder("docroot/closed", 0o555, mtime=5)
        .file("docroot/folder", b"now a file")
        .link("docroot/link", b"closed/x")
        .folder("docroot/empty")
    )


def prepared(path: Path) -> Das:
    das = Das(path)
    assert das.one(old())["verdict"] == "done"
    root = path / "web1"
    (root / "config" / "b").write_bytes(b"edited by hand")
    (root / "docroot" / "folder" / "foreign").write_bytes(b"foreign")
    return das


def killed_at(das: Das, tree: Tree, number: int) -> bool:
    """Sync to `tree` in a child that is killed ahead of its change `number`; False if it had fewer."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def before(operation: str) -> None:
            nonlocal count
            count += 1
            if count == number:
                os._exit(KILLED)

        try:
            das.one(tree, before=before)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, KILLED)
    return status == KILLED


def old_or_new(root: Path) -> None:
    """No path that is a file before and after is anything but one of both, at any moment."""
    found, before, after = on_disk(root), old().entries, new().entries
    for path in (b"config/a", b"docroot/closed/x", b"docroot/link"):
        assert found[path].digest in (before[path].digest, after[path].digest), path
    edited = hashlib.sha256(b"edited by hand").hexdigest().encode()
    assert found[b"config/b"].digest in (edited, after[b"config/b"].digest)


@pytest.mark.parametrize("how", ["sync again", "another request"])
def test_killed_ahead_of_every_change(tmp_path: Path, how: str) -> None:
    number = 0
    while True:
        number += 1
        path = tmp_path / str(number)
        path.mkdir()
        das = prepared(path)
        root = path / "web1"
        if not killed_at(das, new(), number):
            break
        old_or_new(root)
        journalled = (root / ".dasctl" / "journal").exists()
        if how == "another request" and journalled:
            item = {"name": "web1", "expect": standing(2), "lead": None, "config_id": 7}
            request = {"op": "stop", "dir": str(path), "domain": DOMAIN, "epoch": 1, "instances": [item]}
            reply = talk(frames.encode(request))[-1][0]
            assert reply["instances"][0]["verdict"] == "unchanged", reply
        else:
            das.expects["web1"] = 1
            verdict = das.one(new())
            if verdict["verdict"] == "stands":
                assert verdict["at"]["revision"] == 2
                das.expects["web1"] = 2
                verdict = das.one(new())
            assert verdict["verdict"] in ("done", "unchanged"), verdict
        assert on_disk(root) == new().entries, number
        assert not (root / ".dasctl" / "journal").exists()
        assert os.listdir(root / ".dasctl" / "staging") == []
        aside = {
            entry.name: entry.read_bytes()
            for entry in (root / ".dasctl" / "replaced").rglob("*")
            if entry.is_file()
        }
        assert aside.get("b") == b"edited by hand"
        assert aside.get("foreign") == b"foreign"
        (root / "docroot" / "closed").chmod(0o755)
    assert number > 40
    assert on_disk(root) == new().entries


def first_tree() -> Tree:
    """A new instance: folders that are placed whole, a content twice, a large one, links, read-only folders."""
    return (
        Tree()
        .file("config/a", b"one", 0o600, mtime=-5)
        .file("config/again", b"one")
        .file("docroot/deep/er/x", b"two", 0o444)
        .file("docroot/large", bytes(range(256)) * 5000)
        .file("docroot/empty", b"")
        .folder("docroot/deep/er", 0o555, mtime=9)
        .link("docroot/deep/link", b"er/x")
    )


def moved_tree() -> Tree:
    """The same with a folder renamed, so that its files are linked, and one file of it in an old place."""
    tree = first_tree().without("docroot/deep")
    tree.file("docroot/moved/er/x", b"two", 0o444).folder("docroot/moved/er", 0o555, mtime=9)
    return tree.file("config/a", b"one", 0o640, mtime=-4).file("lib/new/a", b"three")


def renamed_tree() -> Tree:
    """The same with a folder renamed, all that is in it as it was, and another file changed."""
    tree = first_tree().without("docroot/deep").file("docroot/sub/moved/er/x", b"two", 0o444)
    tree.folder("docroot/sub", 0o755, mtime=3).folder("docroot/sub/moved/er", 0o555, mtime=9)
    return tree.link("docroot/sub/moved/link", b"er/x").file("config/a", b"other", 0o600, mtime=-5)


@pytest.mark.parametrize("step", ["first", "moved", "renamed"])
def test_killed_where_folders_are_placed_whole(tmp_path: Path, step: str) -> None:
    number = 0
    while True:
        number += 1
        path = tmp_path / str(number)
        path.mkdir()
        das, tree = Das(path), first_tree()
        if step == "moved":
            assert das.one(tree)["verdict"] == "done"
            tree = moved_tree()
        elif step == "renamed":
            assert das.one(tree.folder("docroot/sub", 0o755))["verdict"] == "done"
            tree = renamed_tree()
        if not killed_at(das, tree, number):
            break
        root = path / "web1"
        verdict = das.one(tree)
        if verdict["verdict"] == "stands":
            das.expects["web1"] = verdict["at"]["revision"]
            verdict = das.one(tree)
        assert verdict["verdict"] in ("done", "unchanged"), (number, verdict)
        assert on_disk(root) == tree.entries, number
        assert os.listdir(root / ".dasctl/staging") == []
        files = [file for file in (root / "docroot").rglob("*") if file.is_file() and not file.is_symlink()]
        assert {file.stat().st_nlink for file in files} == {1}, number
        for folder, _folders, _files in os.walk(root):
            os.chmod(folder, 0o755)
    assert number > {"first": 40, "moved": 25, "renamed": 15}[step]
    assert on_disk(path / "web1") == tree.entries
