"""Staging: nothing is sent twice, what broke off goes on, and nobody else's files are touched on the way."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import (
    END,
    Das,
    Tree,
    content,
    instance,
    on_disk,
    pack,
    sync_request,
    talk,
)  # fmt: skip

from dasctl.remote import frames, state

LARGE = os.urandom(5 << 20)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def verdict_of(path: Path, tree: Tree, *frames_: bytes, name: str = "web1", expect: int | None = None) -> Any:
    request = sync_request(path, [instance(name, tree, 1, expect)], [tree])
    return talk(request, *frames_, END)[-1][0]["instances"][0]


def in_staging(root: Path) -> list[str]:
    return sorted(os.listdir(root / ".dasctl/staging"))


# -- packs


@pytest.mark.parametrize("z", [True, False])
def test_a_pack_brings_many_contents(tmp_path: Path, z: bool) -> None:
    tree = Tree().file("lib/a", b"first").file("lib/b", b"", 0o400).file("docroot/x/y", b"second", 0o4755)
    tree.file("docroot/again", b"first", mtime=7)
    assert verdict_of(tmp_path, tree, pack(b"first", b"second", b"nobody's", z=z))["verdict"] == "done"
    assert on_disk(tmp_path / "web1") == tree.entries


def changed_pack(number: int, value: Any) -> bytes:
    listing: list[Any] = [sha(b"first"), 5, 5, 0]
    listing[number] = value
    return frames.encode({"pack": [listing]}, b"first")


@pytest.mark.parametrize("frame", [
    changed_pack(0, 7), changed_pack(1, -1), changed_pack(1, "5"), changed_pack(1, True), changed_pack(2, 4),
    changed_pack(2, -5), changed_pack(3, 2), changed_pack(3, None), frames.encode({"pack": "x"}),
    frames.encode({"pack": [[]]}), frames.encode({"pack": [[sha(b"first"), 5, 3 << 20, 0]]}, bytes(3 << 20)),
    frames.encode({"content": "x", "last": True}), frames.encode({"content": sha(b"first"), "offset": -1}),
    frames.encode({"delta": sha(b"first")}),
])  # fmt: skip
def test_frames_that_are_not_allowed_end_the_request(tmp_path: Path, frame: bytes) -> None:
    tree = Tree().file("lib/a", b"first")
    request = sync_request(tmp_path, [instance("web1", tree, 1, None)], [tree])
    replies = [reply for reply, _body in talk(request, frame, END, request, content(b"first"), END)]
    assert (replies[0]["reply"], "not allowed" in replies[0]["message"]) == ("error", True)
    assert replies[1]["instances"][0]["verdict"] == "done"


@pytest.mark.parametrize("frame", [
    changed_pack(0, sha(b"other")), changed_pack(0, "ü"), changed_pack(1, 4), changed_pack(1, 1 << 50), changed_pack(3, 1),
    frames.encode({"pack": [[sha(b"first"), 5, 5, 0]]}, b"FIRST"),
    frames.encode({"content": sha(b"first"), "offset": 1, "last": True}, b"irst"),
])  # fmt: skip
def test_contents_that_are_not_what_they_should_be_are_dropped(tmp_path: Path, frame: bytes) -> None:
    tree = Tree().file("lib/a", b"first")
    verdict = verdict_of(tmp_path, tree, frame)
    assert (verdict["verdict"], verdict["contents"]) == ("needs", [sha(b"first")])
    assert in_staging(tmp_path / "web1") == []


def test_bytes_behind_the_end_of_what_is_compressed_are_not_gathered(tmp_path: Path) -> None:
    tree = Tree().file("lib/large", LARGE)
    body = zlib.compress(LARGE[:1000]) + bytes(3 << 20)
    verdict = verdict_of(tmp_path, tree, frames.encode({"content": sha(LARGE), "z": True, "offset": 0}, body))
    assert (verdict["verdict"], verdict["contents"]) == ("needs", [sha(LARGE)])
    assert in_staging(tmp_path / "web1") == []


# -- going on


def test_a_large_content_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    tree = Tree().file("lib/large", LARGE)
    request = sync_request(tmp_path, [instance("web1", tree, 1, None)], [tree])
    assert talk(request, content(LARGE, z=False)[: (3 << 20) + 500_000]) == []
    verdict = verdict_of(tmp_path, tree)
    assert verdict["contents"] == [[sha(LARGE), 3 << 20]]
    assert verdict_of(tmp_path, tree, content(LARGE, offset=2 << 20))["verdict"] == "done"
    assert on_disk(tmp_path / "web1") == tree.entries


def test_a_beginning_that_has_another_name_is_not_gone_on_from(tmp_path: Path) -> None:
    """A backup by hard links, made while a content had come in part."""
    tree = Tree().file("lib/large", LARGE)
    request = sync_request(tmp_path, [instance("web1", tree, 1, None)], [tree])
    talk(request, content(LARGE, z=False)[: 2 << 20])
    part = tmp_path / "web1/.dasctl/staging" / ("part." + sha(LARGE))
    os.link(part, tmp_path / "backup")
    before = (tmp_path / "backup").read_bytes()
    assert verdict_of(tmp_path, tree)["contents"] == [sha(LARGE)]
    assert verdict_of(tmp_path, tree, content(LARGE))["verdict"] == "done"
    assert (tmp_path / "backup").read_bytes() == before


def test_a_beginning_that_was_spoilt_is_thrown_away(tmp_path: Path) -> None:
    tree = Tree().file("lib/large", LARGE)
    request = sync_request(tmp_path, [instance("web1", tree, 1, None)], [tree])
    talk(request, content(LARGE, z=False)[: 2 << 20])
    part = tmp_path / "web1/.dasctl/staging" / ("part." + sha(LARGE))
    part.write_bytes(b"X" + part.read_bytes()[1:])
    assert verdict_of(tmp_path, tree)["contents"] == [[sha(LARGE), 1 << 20]]
    assert verdict_of(tmp_path, tree, content(LARGE, offset=1 << 20))["contents"] == [sha(LARGE)]
    assert verdict_of(tmp_path, tree, content(LARGE))["verdict"] == "done"


def test_more_of_a_content_than_there_is_cannot_be_gone_on_from(tmp_path: Path) -> None:
    tree = Tree().file("lib/large", LARGE)
    assert verdict_of(tmp_path, tree, content(LARGE, offset=1 << 20))["contents"] == [sha(LARGE)]


def test_what_a_killed_helper_made_is_not_sent_again(tmp_path: Path) -> None:
    tree = Tree().file("lib/a", b"first").file("docroot/b", b"second").file("docroot/deep/c", b"third")
    request = sync_request(tmp_path, [instance("web1", tree, 1, None)], [tree])
    pid = os.fork()
    if pid == 0:
        count = 0

        def before(operation: str) -> None:
            nonlocal count
            count += operation == "create"
            if count == 3:  # ahead of the third content
                os._exit(7)

        talk(request, pack(b"first", b"second", b"third"), END, before=before)
        os._exit(0)
    os.waitpid(pid, 0)
    assert verdict_of(tmp_path, tree)["contents"] == [sha(b"third")]
    assert verdict_of(tmp_path, tree, pack(b"first", b"second", b"third"))["verdict"] == "done"
    assert on_disk(tmp_path / "web1") == tree.entries
    assert in_staging(tmp_path / "web1") == []


# -- nothing twice


def test_contents_of_a_neighbour_are_copied(tmp_path: Path) -> None:
    das = Das(tmp_path)
    tree = Tree().file("docroot/a/x", b"x" * 1000).file("docroot/large", LARGE)
    das.sync(tree, "web2")
    verdict = das.sync(tree, "web1")[0]
    assert (verdict["verdict"], das.trips, verdict["copied"]) == ("done", 1, 2)
    assert on_disk(tmp_path / "web1") == tree.entries
    inodes = {(tmp_path / name / "docroot/large").stat().st_ino for name in ("web1", "web2")}
    assert len(inodes) == 2
    assert {change.get("from") for change in verdict["changes"] if change["path"] == "docroot/large"} == {
        "../web2/docroot/large"
    }


def test_contents_of_an_instance_with_nothing_to_do_are_copied(tmp_path: Path) -> None:
    das = Das(tmp_path)
    tree = Tree().file("docroot/a/x", b"x" * 1000).file("docroot/large", LARGE)
    das.sync(tree, "web2")
    foreseen = das.sync(tree, "web2", "web1", dry_run=True)[1]
    assert foreseen["contents"] == [], foreseen
    verdicts = das.sync(tree, "web2", "web1")
    assert [verdict["verdict"] for verdict in verdicts] == ["unchanged", "done"], verdicts
    assert (das.trips, verdicts[1]["copied"]) == (1, 2)
    assert on_disk(tmp_path / "web1") == on_disk(tmp_path / "web2") == tree.entries


def test_a_neighbour_is_not_believed(tmp_path: Path) -> None:
    das = Das(tmp_path)
    tree = Tree().file("lib/a", b"1234").file("lib/b", b"5678")
    das.sync(tree, "web2")
    file = tmp_path / "web2/lib/a"
    status = file.stat()
    file.write_bytes(b"4321")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "web2/lib/b").unlink()
    (tmp_path / "web2/lib/b").symlink_to("/etc/hostname")
    assert das.sync(tree, "web1")[0]["verdict"] == "done"
    assert das.trips == 2
    assert on_disk(tmp_path / "web1") == tree.entries


def test_a_neighbour_whose_manifest_is_none_is_no_obstacle(tmp_path: Path) -> None:
    tree = Tree()
    for number in range(40):  # so many that its lines are read one by one
        tree.file(f"lib/{number}", b"content of %d" % number)
    Das(tmp_path).sync(tree, "web2")
    manifest = tmp_path / "web2/.dasctl/manifest"
    header, _, data = manifest.read_bytes().partition(b"\n")
    told = json.loads(header)
    del told["crc"]  # as an older dasctl wrote it
    broken = data.replace(b" lib/7\0", b"_lib/7\0")
    manifest.write_bytes(json.dumps(told).encode() + b"\n" + broken)
    assert Das(tmp_path).sync(tree, "web1")[0]["verdict"] == "done"
    assert on_disk(tmp_path / "web1") == tree.entries


def test_neighbours_of_another_domain_are_left_alone(tmp_path: Path) -> None:
    tree = Tree().file("lib/a", b"1234")
    Das(tmp_path).sync(tree, "web2")
    state = tmp_path / "web2/.dasctl/state.json"
    state.write_text(state.read_text().replace("11111111", "99999999"))
    assert verdict_of(tmp_path, tree)["contents"] == [sha(b"1234")]


@pytest.mark.parametrize("alone", [True, False])
def test_files_of_a_renamed_folder_are_kept_and_nothing_is_read(tmp_path: Path, alone: bool) -> None:
    """The folder is renamed; where somebody else's file is about, the files are linked one by one."""
    das = Das(tmp_path)
    tree, later = Tree(), Tree()
    for number in range(50):
        tree.file(f"docroot/old/{number % 5}/{number}", b"%d" % number, mtime=number + 1)
        later.file(f"docroot/new/{number % 5}/{number}", b"%d" % number, mtime=number + 1)
    das.one(tree)
    root = tmp_path / "web1"
    inodes = {path.name: path.stat().st_ino for path in (root / "docroot/old").rglob("*") if path.is_file()}
    if not alone:
        (root / "lib/foreign").write_text("mine")
        later.file("lib/foreign", b"ours", mtime=5)
    made: list[str] = []
    verdict = das.one(later, before=made.append)
    assert (verdict["verdict"], das.trips, verdict["copied"]) == ("done", 1 if alone else 2, 50)
    assert on_disk(root) == later.entries
    found = {path.name: path.stat() for path in (root / "docroot/new").rglob("*") if path.is_file()}
    assert {name: status.st_ino for name, status in found.items()} == inodes
    assert {status.st_nlink for status in found.values()} == {1}
    # The lock and the journal are written, but no file is.
    assert made.count("link") == (0 if alone else 51) and made.count("create") < (6 if alone else 9)
    assert made.count("rename") < 12


def test_a_moved_file_with_another_modtime_is_copied(tmp_path: Path) -> None:
    das = Das(tmp_path)
    das.one(Tree().file("lib/a", b"same", mtime=5).file("lib/b", b"same", mtime=5))
    root = tmp_path / "web1"
    inodes = {(root / "lib" / name).stat().st_ino for name in ("a", "b")}
    later = Tree().file("lib/c", b"same", mtime=6).file("lib/d", b"same", 0o600, mtime=5)
    assert das.one(later)["verdict"] == "done"
    assert (on_disk(root), das.trips) == (later.entries, 1)
    assert inodes.isdisjoint((root / "lib" / name).stat().st_ino for name in ("c", "d"))


def test_one_file_that_moves_to_two_places_becomes_two(tmp_path: Path) -> None:
    das = Das(tmp_path)
    das.one(Tree().file("lib/a", b"same", mtime=5))
    later = Tree().file("lib/b", b"same", mtime=5).file("lib/c", b"same", mtime=5)
    assert das.one(later)["verdict"] == "done"
    assert on_disk(tmp_path / "web1") == later.entries
    found = [(tmp_path / "web1/lib" / name).stat() for name in ("b", "c")]
    assert [status.st_nlink for status in found] == [1, 1]


def test_a_file_with_further_names_keeps_mode_and_modtime_there(tmp_path: Path) -> None:
    das = Das(tmp_path)
    das.one(Tree().file("lib/a", b"shared", 0o644, mtime=5))
    root = tmp_path / "web1"
    os.link(root / "lib/a", tmp_path / "outside")
    later = Tree().file("lib/a", b"shared", 0o600, mtime=9)
    assert das.one(later)["verdict"] in ("done", "unchanged")
    assert on_disk(root) == later.entries
    outside = (tmp_path / "outside").stat()
    assert (outside.st_mode & 0o777, outside.st_mtime_ns, outside.st_nlink) == (0o644, 5, 1)
    assert in_staging(root) == []


# -- folders that are placed whole


def test_what_came_to_a_new_folder_meanwhile_stays_and_what_is_wanted_comes(tmp_path: Path) -> None:
    das = Das(tmp_path)
    das.one(Tree().file("lib/x", b"1"))
    root = tmp_path / "web1"
    tree = (
        Tree()
        .file("lib/x", b"1")
        .folder("docroot/new", 0o750, mtime=3)
        .folder("docroot/new/in", 0o700, mtime=4)
    )
    tree.file("docroot/new/in/a", b"wanted").file("docroot/new/in/deep/b", b"wanted too").file(
        "docroot/new/c", b"c"
    )

    def before(operation: str) -> None:
        """Ahead of the first rename of the commit somebody makes the folder himself."""
        if (root / ".dasctl/journal").exists() and not (root / "docroot/new").exists():
            (root / "docroot/new/in").mkdir(parents=True)
            (root / "docroot/new/in/a").write_bytes(b"theirs")
            (root / "docroot/new/foreign").write_bytes(b"foreign")

    verdict = das.one(tree, before=before)
    assert (verdict["verdict"], verdict["problems"]) == ("done", [])
    found = on_disk(root)
    assert found.pop(b"docroot/new/foreign").digest == sha(b"foreign").encode()
    assert found == tree.entries
    assert in_staging(root) == []


def test_a_file_in_the_way_of_a_new_folder_is_a_problem_of_its_path(tmp_path: Path) -> None:
    das = Das(tmp_path)
    das.one(Tree())
    root = tmp_path / "web1"

    def before(operation: str) -> None:
        if (root / ".dasctl/journal").exists() and not (root / "docroot/new").exists():
            (root / "docroot/new").write_bytes(b"in the way")

    tree = Tree().file("docroot/new/a", b"1").file("docroot/fine", b"2")
    verdict = das.one(tree, before=before)
    assert (verdict["verdict"], "docroot/new" in verdict["message"]) == ("failed", True)
    assert (root / "docroot/fine").read_bytes() == b"2"
    das.expects["web1"] = das.revision
    assert das.one(tree)["deviations"][0]["path"] == "docroot/new"
    assert on_disk(root) == tree.entries


def test_a_folder_that_comes_while_contents_are_on_their_way(tmp_path: Path) -> None:
    """The plan changes between the trips: what was made for the folder is placed file by file."""
    das = Das(tmp_path)
    das.one(Tree())
    root = tmp_path / "web1"
    tree = (
        Tree().file("docroot/new/a", b"first").file("docroot/new/b", LARGE).file("docroot/new/in/c", b"third")
    )
    das.expects["web1"] = 1
    request = sync_request(tmp_path, [instance("web1", tree, 2, 1)], [tree], hold=True)
    made = []

    def before(operation: str) -> None:
        if not made and any(name.startswith("tree.") for name in in_staging(root)):
            made.append(operation)
            (root / "docroot/new").mkdir(mode=0o700)
            (root / "docroot/new/b").write_bytes(b"theirs")

    replies = talk(
        request, pack(b"first", b"third"), content(LARGE), END,
        frames.encode({"op": "commit", "dir": str(tmp_path), "domain": "D", "epoch": 1}), before=before,
    )  # fmt: skip
    verdicts = [reply["instances"][0] for reply, _body in replies if "reply" in reply]
    assert [verdict["verdict"] for verdict in verdicts] == ["staged", "done"], verdicts
    assert on_disk(root) == tree.entries
    assert (root / verdicts[1]["deviations"][0]["aside"]).read_bytes() == b"theirs"


def test_many_new_folders_and_odd_names(tmp_path: Path) -> None:
    tree = Tree()
    for number in range(200):
        tree.file(b"docroot/\xff%d/ \n/%%20" % number, b"%d" % number, mtime=-number)
    tree.folder(b"docroot/\xff7", 0o500, mtime=-(10**18)).link(b"docroot/\xff8/l", b"a b")
    das = Das(tmp_path)
    assert das.one(tree)["verdict"] == "done"
    assert on_disk(tmp_path / "web1") == tree.entries
    assert das.one(tree)["verdict"] == "unchanged"
    shutil.rmtree(tmp_path / "web1/docroot/\udcff9")
    verdict = das.one(tree)
    assert {item["action"] for item in verdict["deviations"]} == {"restored"}
    assert on_disk(tmp_path / "web1") == tree.entries


def test_large_contents_reach_every_path_of_every_instance(tmp_path: Path) -> None:
    das = Das(tmp_path)
    tree = Tree().file("docroot/large", LARGE).file("lib/the same", LARGE, 0o600, mtime=4)
    verdicts = das.sync(tree, "web1", "web2", "web3")
    assert [verdict["verdict"] for verdict in verdicts] == ["done"] * 3
    inodes = set()
    for name in ("web1", "web2", "web3"):
        assert on_disk(tmp_path / name) == tree.entries
        assert in_staging(tmp_path / name) == []
        inodes |= {(tmp_path / name / path).stat().st_ino for path in ("docroot/large", "lib/the same")}
    assert len(inodes) == 6


def test_a_file_that_moves_needs_no_space_and_a_copy_does(tmp_path: Path) -> None:
    das = Das(tmp_path)
    das.one(Tree().file("lib/big", b"x", mtime=5))
    root, size = tmp_path / "web1", 1 << 42
    os.truncate(root / "lib/big", size)
    os.utime(root / "lib/big", ns=(5, 5))

    def tree(path: str, mtime: int) -> Tree:
        made = Tree().file(path, b"x", mtime=mtime)
        entry = made.entries[path.encode()]
        made.entries[path.encode()] = entry._replace(size=size, digest=b"a" * 64)
        return made

    (root / ".dasctl/manifest").write_bytes(state.manifest_bytes(tree("lib/big", 5).parts(), {}))
    verdict = das.one(tree("docroot/moved/big", 5))
    assert (verdict["verdict"], verdict["copied"], das.trips) == ("done", 1, 1), verdict
    assert on_disk_without_contents(root / "docroot/moved/big") == (size, 5)

    made: list[str] = []

    def before(operation: str) -> None:
        """A copy that is begun all the same must not fill this machine; one probe of what the disk can is fine."""
        made.append(operation)
        assert made.count("create") < 2

    verdict = das.one(tree("docroot/moved again/big", 6), before=before)
    assert (verdict["verdict"], "not enough space" in verdict["message"]) == ("failed", True)
    assert on_disk_without_contents(root / "docroot/moved/big") == (size, 5)


def on_disk_without_contents(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
