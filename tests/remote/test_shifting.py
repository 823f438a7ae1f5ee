"""A folder that was renamed in the repository is renamed on the node; nothing is lost or moved along with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import Das, Tree, on_disk

from dasctl.remote import commit, state


def tree_at(folder: bytes) -> Tree:
    tree = Tree().file("config/a", b"a").file("docroot/stays", b"stays").folder("docroot/in")
    tree.file(folder + b"/x", b"1", 0o600).file(folder + b"/deep/\xff \n", b"2", mtime=-7).file(
        folder + b"/deep/y", b"1"
    )
    return (
        tree.folder(folder + b"/empty", 0o700).link(folder + b"/link", b"x").folder(folder, 0o755, mtime=77)
    )


@pytest.fixture
def das(tmp_path: Path) -> Das:
    das = Das(tmp_path)
    assert das.one(tree_at(b"docroot/old"))["verdict"] == "done"
    return das


def inode(root: Path, path: str) -> int:
    return (root / path).stat().st_ino


@pytest.mark.parametrize("new", [b"docroot/new", b"docroot/in/new", b"lib/\xfe\xff"])
def test_a_renamed_folder_is_the_same_folder(tmp_path: Path, das: Das, new: bytes) -> None:
    root = tmp_path / "web1"
    folder = inode(root, "docroot/old")
    tree = tree_at(new).file("docroot/stays", b"changed")
    told = das.one(tree)
    assert told["verdict"] == "done" and on_disk(root) == tree.entries
    assert inode(root, os.fsdecode(new)) == folder
    assert (told["changed"], told["copied"], told["deleted"]) == (5, 2, 4)
    origin = {item["path"]: item.get("from") for item in told["changes"]}
    assert origin[os.fsdecode(new) + "/deep/\udcff \n"] == "docroot/old/deep/\udcff \n"
    assert origin["docroot/stays"] is None
    assert das.one(tree)["verdict"] == "unchanged"


@pytest.mark.parametrize(
    "other",
    [
        lambda tree: tree.file("docroot/new/x", b"1", 0o644),
        lambda tree: tree.file("docroot/new/x", b"3", 0o600),
        lambda tree: tree.file("docroot/new/more", b"1"),
        lambda tree: tree.without("docroot/new/deep/y"),
        lambda tree: tree.without("docroot/new/empty"),
        lambda tree: tree.link("docroot/new/link", b"deep/y"),
        lambda tree: tree.file("docroot/old", b"a file"),
    ],
)
def test_a_folder_that_is_another_one_is_made(tmp_path: Path, das: Das, other: Any) -> None:
    root, folder = tmp_path / "web1", inode(tmp_path / "web1", "docroot/old")
    tree = other(tree_at(b"docroot/new"))
    assert das.one(tree)["verdict"] == "done" and on_disk(root) == tree.entries
    assert tree.entries.get(b"docroot/old") or inode(root, "docroot/new") != folder


def test_modes_and_modtimes_of_the_folders_may_differ(tmp_path: Path, das: Das) -> None:
    root, folder = tmp_path / "web1", inode(tmp_path / "web1", "docroot/old")
    tree = (
        tree_at(b"docroot/new")
        .folder("docroot/new", 0o500, mtime=5)
        .folder("docroot/new/deep", 0o711, mtime=6)
    )
    assert das.one(tree)["verdict"] == "done" and on_disk(root) == tree.entries
    assert inode(root, "docroot/new") == folder
    (root / "docroot/new").chmod(0o700)


def test_two_folders_that_swap_their_names_are_right_in_the_end(tmp_path: Path) -> None:
    das = Das(tmp_path)
    one = Tree().file("docroot/a/x", b"1").file("docroot/b/x", b"2").file("docroot/c/x", b"1")
    other = Tree().file("docroot/b/x", b"1").file("docroot/a/x", b"2").file("docroot/d/x", b"1")
    for tree in (one, other, one):
        assert das.one(tree)["verdict"] == "done" and on_disk(tmp_path / "web1") == tree.entries


def test_foreign_files_in_the_folder_stay(tmp_path: Path, das: Das) -> None:
    root = tmp_path / "web1"
    (root / "docroot/old/foreign").write_text("mine")
    tree = tree_at(b"docroot/new")
    assert das.one(tree)["verdict"] == "done"
    assert (root / "docroot/old/foreign").read_text() == "mine"
    assert os.listdir(root / "docroot/old") == ["foreign"]
    assert not (root / "docroot/new/foreign").exists() and (root / "docroot/new/x").read_text() == "1"


def test_a_dry_run_tells_of_it_and_does_nothing(tmp_path: Path, das: Das) -> None:
    root, folder, tree = tmp_path / "web1", inode(tmp_path / "web1", "docroot/old"), tree_at(b"docroot/new")
    told = das.one(tree, dry_run=True)
    assert told["verdict"] == "done" and told["contents"] == [] and told["copied"] == 2
    assert inode(root, "docroot/old") == folder
    assert das.one(tree)["verdict"] == "done"
    assert inode(root, "docroot/new") == folder


HELD = [["", ["x", "link"]], ["/deep", ["\udcff \n", "y"]], ["/empty", []]]


def carried_out(root: Path, before: Any = None) -> list[tuple[bytes, str]]:
    """A journal that renames docroot/old; `before` works on the folder between the look and the commit."""
    place = state.open_place(str(root.parent), root.name, create=False)
    assert place is not None
    try:
        commit.begin(place, [["shift", "docroot/old", "docroot/new", HELD]], None, None)
        if before is not None:
            before(root / "docroot")
        return commit.finish(place)
    finally:
        place.close()


def test_what_came_into_the_folder_since_stays_there(tmp_path: Path, das: Das) -> None:
    root = tmp_path / "web1"
    assert carried_out(root, lambda docroot: (docroot / "old/deep/foreign").write_text("mine")) == []
    assert (root / "docroot/old/deep/foreign").read_text() == "mine"
    assert [path.name for path in (root / "docroot/old").rglob("*")] == ["deep", "foreign"]
    assert {path.name for path in (root / "docroot/new").iterdir()} == {"x", "link", "deep", "empty"}


def test_what_came_to_the_new_path_since_is_not_lost(tmp_path: Path, das: Das) -> None:
    root = tmp_path / "web1"

    def made(docroot: Path) -> None:
        (docroot / "new").mkdir()
        (docroot / "new/foreign").write_text("mine")

    assert carried_out(root, made) == []
    assert (root / "docroot/new/foreign").read_text() == "mine" and (
        root / "docroot/new/x"
    ).read_text() == "1"
    assert not (root / "docroot/old").exists()


def test_a_file_at_the_new_path_is_a_problem_and_nothing_is_lost(tmp_path: Path, das: Das) -> None:
    root = tmp_path / "web1"
    problems = carried_out(root, lambda docroot: (docroot / "new").write_text("mine"))
    assert problems and problems[0][0] == b"docroot/new"
    assert (root / "docroot/new").read_text() == "mine" and (root / "docroot/old/x").read_text() == "1"


def test_done_again_it_does_nothing(tmp_path: Path, das: Das) -> None:
    root = tmp_path / "web1"
    assert carried_out(root) == [] and carried_out(root) == []
    assert carried_out(root, lambda docroot: (docroot / "new").rename(docroot / "away")) == []
    assert os.listdir(root / "docroot/away/empty") == []


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path, das: Das) -> None:
    root, outside = tmp_path / "web1", tmp_path / "outside"

    def replaced(docroot: Path) -> None:
        (docroot / "old").rename(outside)
        (docroot / "old").symlink_to(outside)

    carried_out(root, replaced)
    assert (outside / "x").read_text() == "1" and len(list(outside.iterdir())) == 4
