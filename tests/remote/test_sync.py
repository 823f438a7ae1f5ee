"""Synchronisation on real temporary trees, through whole conversations."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import (
    DOMAIN,
    END,
    Das,
    Tree,
    content,
    instance,
    lead,
    on_disk,
    sync_request,
    talk,
)  # fmt: skip

from dasctl.remote import frames


def shop() -> Tree:
    return (
        Tree()
        .file("config/app.conf", b"port=1", 0o600)
        .file("applications/hello/serve.py", b"print()", 0o755)
        .file("docroot/index.html", b"<h1>hi</h1>")
        .file("docroot/copy.html", b"<h1>hi</h1>", mtime=5)
        .file("docroot/empty", b"")
        .folder("docroot/nothing", 0o700)
        .link("docroot/start", b"index.html")
        .file(b"docroot/\xff\n -x", b"odd")
    )


def test_first_sync_gives_exactly_the_tree(tmp_path: Path) -> None:
    das = Das(tmp_path)
    verdict = das.one(shop())
    assert verdict["verdict"] == "done", verdict
    assert on_disk(tmp_path / "web1") == shop().entries
    assert sorted(os.listdir(tmp_path / "web1" / ".dasctl" / "staging")) == []
    again = das.one(shop())
    assert (again["verdict"], again["changes"], again["deviations"]) == ("unchanged", [], [])
    assert das.trips == 1


def kinds(verdict: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(item["path"], item["kind"], item["action"]) for item in verdict["deviations"]]


def synced(path: Path, tree: Tree | None = None) -> tuple[Das, Path]:
    das = Das(path)
    assert das.one(tree or shop())["verdict"] == "done"
    return das, path / "web1"


def test_an_edited_file_is_replaced_and_kept_aside(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    (root / "config/app.conf").write_bytes(b"mine!!")
    (root / "docroot/index.html").unlink()
    verdict = das.one(shop())
    assert kinds(verdict) == [
        ("config/app.conf", "changed", "replaced"),
        ("docroot/index.html", "missing", "restored"),
    ]
    assert (root / verdict["deviations"][0]["aside"]).read_bytes() == b"mine!!"
    assert on_disk(root) == shop().entries
    assert das.trips == 2  # of the two contents one is still on the node: only the other is asked for


def test_keep_leaves_deviations_and_tells_of_them_each_time(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    (root / "config/app.conf").write_bytes(b"mine!!")
    for _round in range(2):
        verdict = das.one(shop(), deviations="keep")
        assert (verdict["verdict"], kinds(verdict)) == ("unchanged", [("config/app.conf", "changed", "kept")])
    assert (root / "config/app.conf").read_bytes() == b"mine!!"
    assert das.one(shop())["deviations"][0]["action"] == "replaced"


def test_fail_changes_nothing(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    (root / "config/app.conf").write_bytes(b"mine!!")
    before = on_disk(root)
    verdict = das.one(shop().file("lib/new", b"n"), deviations="fail")
    assert verdict["verdict"] == "failed"
    assert "config/app.conf" in verdict["message"]
    assert on_disk(root) == before
    assert json.loads((root / ".dasctl/state.json").read_text())["revision"] == 1


def test_foreign_files_stay_unless_full(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    (root / "docroot/nothing/cache").write_bytes(b"its own")
    os.mkfifo(root / "docroot/nothing/fifo")
    tree = shop().without("docroot/nothing")
    assert das.one(tree)["verdict"] in ("done", "unchanged")
    assert (root / "docroot/nothing/cache").read_bytes() == b"its own"
    verdict = das.one(tree, full=True)
    assert (verdict["deleted"], len(verdict["deviations"])) == (2, 2)
    assert on_disk(root) == tree.entries
    assert (root / verdict["deviations"][0]["aside"]).read_bytes() == b"its own"


def test_local_files_win_and_give_way(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    local = root / "local" / "config"
    (local / "extra").mkdir(parents=True)
    (local / "app.conf").write_bytes(b"local")
    (local / "extra" / "more.conf").write_bytes(b"more")
    os.utime(local / "app.conf", ns=(123, 456))
    for number in range(2):
        verdict = das.one(shop())
        assert verdict["verdict"] == ("unchanged" if number else "done"), verdict
        assert kinds(verdict) == [
            ("config/app.conf", "overridden", "kept"), ("config/extra/more.conf", "overridden", "kept"),
        ]  # fmt: skip
        assert (root / "config/app.conf").read_bytes() == b"local"
        assert (root / "config/app.conf").stat().st_mtime_ns == 456
        assert (root / "config/app.conf").stat().st_ino != (local / "app.conf").stat().st_ino
        assert (root / "config/extra/more.conf").read_bytes() == b"more"
    (local / "app.conf").write_bytes(b"local, changed")
    assert das.one(shop())["changed"] == 1
    assert (root / "config/app.conf").read_bytes() == b"local, changed"
    shutil.rmtree(local)
    assert kinds(das.one(shop())) == []
    assert on_disk(root) == shop().entries


def test_a_local_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    (root / "local/applications").mkdir(parents=True)
    (root / "local/applications/hello").write_bytes(b"a file")
    assert das.one(shop())["verdict"] == "done"
    assert (root / "applications/hello").read_bytes() == b"a file"
    assert das.one(shop())["verdict"] == "unchanged"
    (root / "local/applications/hello").unlink()
    das.one(shop())
    assert on_disk(root) == shop().entries


def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    das, root = synced(tmp_path / "node")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "index.html").write_bytes(b"untouched")
    shutil.rmtree(root / "docroot")
    (root / "docroot").symlink_to(outside)
    assert das.one(shop())["verdict"] == "done"
    assert on_disk(root) == shop().entries
    assert [(entry.name, entry.read_bytes()) for entry in outside.iterdir()] == [("index.html", b"untouched")]


def test_contents_arrive_once_for_all_instances_of_a_node(tmp_path: Path) -> None:
    das = Das(tmp_path)
    verdicts = das.sync(shop(), "web1", "web2", "web3")
    assert [verdict["verdict"] for verdict in verdicts] == ["done"] * 3
    inodes = set()
    for name in ("web1", "web2", "web3"):
        assert on_disk(tmp_path / name) == shop().entries
        inodes.add((tmp_path / name / "docroot/index.html").stat().st_ino)
    assert len(inodes) == 3
    tree = shop().file("docroot/renamed", b"<h1>hi</h1>").without("docroot/index.html")
    das.sync(tree, "web1", "web2", "web3")
    assert das.trips == 1  # a rename costs nothing


def test_aborted_and_wrong_contents_are_asked_for_again(tmp_path: Path) -> None:
    tree = Tree().file("lib/a", b"first").file("lib/b", b"second")
    request = sync_request(tmp_path, [instance("web1", tree, 1, None)], [tree])
    digests = {name: hashlib.sha256(name).hexdigest() for name in (b"first", b"second")}
    broken = (
        frames.encode({"content": digests[b"first"], "z": False, "last": False}, b"fir")
        + frames.encode({"content": digests[b"first"], "abort": True})
        + frames.encode({"content": digests[b"second"], "z": False, "last": True}, b"SECOND")
        + content(b"nobody needs this")
    )
    again = frames.encode({"op": "contents"})
    replies = [
        reply["instances"][0]
        for reply, _body in talk(
            request, broken, END, again, content(b"second"), END, again, content(b"first", piece=2), END
        )
    ]
    assert [reply["verdict"] for reply in replies] == ["needs", "needs", "done"]
    assert replies[0]["contents"] == [digests[b"first"], digests[b"second"]]
    assert replies[1]["contents"] == [digests[b"first"]]
    assert on_disk(tmp_path / "web1") == tree.entries


def test_a_broken_off_transfer_goes_on_where_it_stopped(tmp_path: Path) -> None:
    tree = Tree().file("lib/a", b"first").file("lib/b", b"second")
    request = sync_request(tmp_path, [instance("web1", tree, 1, None)], [tree])
    cut = content(b"first") + content(b"second")[:-3]
    assert talk(request, cut) == []
    reply = talk(request, END)[-1][0]["instances"][0]
    assert reply["contents"] == [hashlib.sha256(b"second").hexdigest()]
    assert sorted(os.listdir(tmp_path / "web1/.dasctl/staging")) == [hashlib.sha256(b"first").hexdigest()]


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    das = Das(tmp_path / "node")
    verdict = das.one(shop(), dry_run=True)
    assert (verdict["verdict"], verdict["changed"]) == ("done", 7)
    assert list(tmp_path.iterdir()) == []


def everything(root: Path) -> list[tuple[str, int, int]]:
    """All that a write would show in, but for the times of access."""
    return sorted(
        (str(path), path.lstat().st_ctime_ns, path.lstat().st_mtime_ns) for path in (root, *root.rglob("*"))
    )


def test_dry_run_leaves_an_instance_as_it_is(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    (root / "config/app.conf").write_bytes(b"mine!!")
    (root / ".dasctl/lock").unlink()
    (root / ".dasctl/staging" / ("0" * 64)).write_bytes(b"cut by a power failure")
    before = everything(root)
    tree = shop().file("lib/new", b"n").without("docroot/nothing")
    verdict = das.one(tree, dry_run=True)
    assert (verdict["verdict"], das.trips) == ("done", 1)
    assert everything(root) == before


class Killed(BaseException):
    pass


def test_dry_run_leaves_an_interrupted_commit_as_it_is(tmp_path: Path) -> None:
    das, root = synced(tmp_path)

    def kill(operation: str) -> None:
        if (root / ".dasctl/journal").exists():
            raise Killed

    changed = shop().file("config/app.conf", b"port=2").without("docroot/copy.html")
    with pytest.raises(Killed):
        das.one(changed, before=kill)
    before = everything(root)
    das.revision -= 1
    verdict = das.one(changed, dry_run=True)
    assert (verdict["verdict"], verdict["interrupted"]) == ("done", True)
    assert everything(root) == before
    das.expects["web1"] = das.revision
    assert das.one(changed)["verdict"] in ("done", "unchanged")
    assert on_disk(root) == changed.entries


def test_dry_run_tells_what_would_travel(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    das.sync(Tree().file("lib/theirs", b"the neighbour's"), "web2")
    (root / "local/lib").mkdir()
    (root / "local/lib/own").write_bytes(b"own")
    tree = (
        shop()
        .without("docroot/index.html")
        .file("docroot/sub/renamed.html", b"<h1>hi</h1>", mtime=6)
        .file("lib/theirs", b"the neighbour's")
        .file("lib/own", b"ours")
        .file("lib/new", b"only the repository has it")
        .file("lib/empty", b"")
    )
    verdict = das.one(tree, dry_run=True)
    assert verdict["contents"] == [hashlib.sha256(b"only the repository has it").hexdigest()]
    sources = {item["path"]: item.get("from") for item in verdict["changes"] if item["why"] != "deleted"}
    assert sources == {
        "docroot/sub": None,
        "docroot/sub/renamed.html": "docroot/copy.html",
        "lib/empty": sources["lib/empty"],
        "lib/new": None,
        "lib/own": "local/lib/own",
        "lib/theirs": "../web2/lib/theirs",
    }
    real = das.one(tree)
    assert [item["path"] for item in real["changes"]] == [item["path"] for item in verdict["changes"]]
    assert real["verdict"] == "done"


def test_dry_run_knows_of_a_transfer_that_broke_off(tmp_path: Path) -> None:
    big = bytes(range(256)) * 8192
    tree = Tree().file("lib/big", big)
    pieces = content(big, z=False, piece=1 << 20)
    assert (
        talk(
            sync_request(tmp_path, [instance("web1", tree, 1, None)], [tree]), pieces[: len(pieces) * 3 // 4]
        )
        == []
    )
    verdict = Das(tmp_path).one(tree, dry_run=True)
    assert verdict["contents"] == [[hashlib.sha256(big).hexdigest(), 1 << 20]]


def many(count: int) -> Tree:
    tree = Tree().file("config/stays", b"s")
    for number in range(count):
        tree.file(f"docroot/{number}", b"%d" % (number % 3))
    return tree


@pytest.mark.parametrize(
    "there, left, asks",
    [
        (250, 100, True),
        (250, 130, False),
        (100, 0, False),
        (101, 0, True),
        (1000, 899, False),
        (300, 149, True),
    ],
)
def test_a_mass_deletion_is_worth_a_question(tmp_path: Path, there: int, left: int, asks: bool) -> None:
    das, root = synced(tmp_path, many(there))
    after = many(left)
    dry = das.one(after, mass_deletion=False, dry_run=True)
    assert (dry["verdict"], "mass_deletion" in dry) == ("done", asks)
    verdict = das.one(after, mass_deletion=False)
    if not asks:
        assert (verdict["verdict"], on_disk(root)) == ("done", after.entries)
        return
    assert (verdict["verdict"], "--yes" in verdict["hint"]) == ("failed", True)
    assert verdict["mass_deletion"] == dry["mass_deletion"] == {"files": there + 1, "deleted": there - left}
    assert f"would delete {there - left:,} of {there + 1:,} files" in verdict["message"]
    assert on_disk(root) == many(there).entries
    assert das.one(after, mass_deletion=True)["deleted"] == there - left
    assert on_disk(root) == after.entries


def test_a_mass_deletion_of_foreign_files(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    for number in range(150):
        (root / "lib" / str(number)).write_bytes(b"theirs")
    assert das.one(shop(), mass_deletion=False)["verdict"] == "unchanged"
    verdict = das.one(shop(), mass_deletion=False, full=True)
    assert verdict["mass_deletion"] == {"files": 157, "deleted": 150}
    assert len(os.listdir(root / "lib")) == 150


def test_all_changes_are_named_where_that_is_asked_for(tmp_path: Path) -> None:
    das = Das(tmp_path)
    das.one(Tree())
    few = das.one(many(1200))
    assert (len(few["changes"]), few["more"]) == (1000, 201)
    every = das.one(many(0), changes="all")
    assert (len(every["changes"]), "more" in every) == (1200, False)
    assert len(das.one(many(1200), dry_run=True)["changes"]) == 1200


def test_only_and_except(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    changed = (
        shop()
        .file("docroot/index.html", b"new")
        .file("config/app.conf", b"port=2")
        .without("applications/hello")
    )
    verdict = das.one(changed, only=["^docroot/"])
    assert [item["path"] for item in verdict["changes"]] == ["docroot/index.html"]
    assert (root / "config/app.conf").read_bytes() == b"port=1"
    assert json.loads((root / ".dasctl/state.json").read_text())["revision"] == 1
    verdict = das.one(changed, **{"except": ["^config/"]})
    assert [item["path"] for item in verdict["changes"]] == ["applications/hello/serve.py"]
    assert das.one(changed)["changed"] == 1
    assert on_disk(root) == changed.entries


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe"])
@pytest.mark.parametrize("name", ["state.json", "manifest"])
def test_damaged_state_is_found_out_by_looking(tmp_path: Path, name: str, damage: bytes) -> None:
    das, root = synced(tmp_path)
    (root / ".dasctl" / name).write_bytes(damage)
    stands = das.one(shop())
    assert (stands["verdict"], stands["at"]) == ("stands", None)
    das.expects.clear()
    verdict = das.one(shop())
    assert (verdict["verdict"], das.trips) == ("unchanged", 1)
    assert das.one(shop())["verdict"] == "unchanged"


@pytest.mark.parametrize(
    "what, damaged", [(b" lib/b\0", b"_lib/b\0"), (b" lib/b\0", b" lib/z\0"), (b"f 644", b"f 6x4")]
)
def test_a_manifest_that_is_damaged_in_its_middle_is_found_out(
    tmp_path: Path, what: bytes, damaged: bytes
) -> None:
    tree = Tree().file("lib/a", b"a").file("lib/b", b"b").file("lib/c", b"c")
    das = Das(tmp_path)
    das.one(tree)
    manifest = tmp_path / "web1/.dasctl/manifest"
    data = manifest.read_bytes()
    assert what in data
    manifest.write_bytes(data.replace(what, damaged))
    assert das.one(tree)["verdict"] == "stands"
    das.expects.clear()
    verdict = das.one(tree)
    assert (verdict["verdict"], verdict["deviations"]) == ("unchanged", [])
    assert das.one(tree)["verdict"] == "unchanged"
    assert on_disk(tmp_path / "web1") == tree.entries


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    (root / ".dasctl/state.json").write_text('{"format": 2}')
    verdict = das.one(shop())
    assert (verdict["verdict"], verdict["reason"]) == ("refused", "newer format")


def test_parts_that_are_missing_are_named(tmp_path: Path) -> None:
    tree = shop()
    request = sync_request(tmp_path, [instance("web1", tree, 1, None)]) + END
    reply = talk(request)[-1][0]["instances"][0]
    assert (reply["verdict"], reply["at"]) == ("stands", None)
    assert reply["missing"] == [digest for _name, digest, _data in tree.parts()]


def test_the_criterion_hash_sees_what_modtimes_hide(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    file = root / "docroot/index.html"
    status = file.stat()
    file.write_bytes(b"<h1>HI</h1>")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert das.one(shop())["verdict"] == "unchanged"
    assert kinds(das.one(shop(), criterion="hash")) == [("docroot/index.html", "changed", "replaced")]
    assert on_disk(root) == shop().entries


def test_a_busy_instance(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    with (root / ".dasctl/lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        verdict = das.one(shop())
    assert (verdict["verdict"], "busy" in verdict["message"]) == ("failed", True)


BAD_PARTS = [
    Tree().file("lib/x", b"1").link("lib/out", b"../../etc/passwd"),
    Tree().link("lib/abs", b"/etc"),
]


@pytest.mark.parametrize("tree", BAD_PARTS)
def test_links_that_lead_out_are_refused(tmp_path: Path, tree: Tree) -> None:
    reply = talk(sync_request(tmp_path, [instance("web1", tree, 1, None)], [tree]) + END)[-1][0]["instances"][
        0
    ]
    assert (reply["verdict"], "leads out" in reply["message"]) == ("failed", True)


@pytest.mark.parametrize("path", [b"lib/../../x", b"/etc/x", b"config/x", b"lib//x", b"lib/missing/x"])
def test_paths_that_do_not_belong_are_refused(tmp_path: Path, path: bytes) -> None:
    lines = b"d 755 0 1 - lib\0f 644 1 1 " + b"a" * 64 + b" " + path + b"\0"
    digest = hashlib.sha256(lines).hexdigest()
    item = {**instance("web1", Tree(), 1, None), "parts": [["lib", digest]]}
    packed = zlib.compress(lines)
    header = {
        "op": "sync", "dir": str(tmp_path), "domain": DOMAIN, "epoch": 1, "instances": [item],
        "blobs": [{"part": digest, "base": None, "size": len(packed)}],
    }  # fmt: skip
    reply = talk(frames.encode(header, packed), END)[-1][0]["instances"][0]
    assert reply["verdict"] == "failed"
    assert os.listdir(tmp_path) == ["web1"]


LEADS = {"name": "a", "lead": lead(1), "parts": []}
MALFORMED: list[dict[str, Any]] = [
    {}, {"op": "fly"}, {"op": "sync"}, {"op": "look", "dir": 5}, {"op": "contents"},
    {"op": "look", "dir": "relative", "domain": "D", "instances": []},
    {"op": "look", "dir": "/tmp", "domain": "D", "instances": [{"name": "../x"}]},
    {"op": "look", "dir": "/tmp", "domain": "D", "instances": [{"name": ".dasctl"}]},
    {"op": "stop", "dir": "/tmp", "domain": "D", "instances": [{"name": "a", "expect": [True, "x"]}]},
    {"op": "sync", "dir": "/tmp", "domain": "D", "instances": [{"name": "a", "lead": None, "parts": []}]},
    {"op": "sync", "dir": "/tmp", "domain": "D", "instances": [], "hold": "yes"},
    {"op": "sync", "dir": "/tmp", "domain": "D", "instances": [], "changes": "some"},
    {"op": "sync", "dir": "/tmp", "domain": "D", "instances": [{**LEADS, "keep": "x"}]},
    {"op": "sync", "dir": "/tmp", "domain": "D", "instances": [{**LEADS, "keep": [5]}]},
    {"op": "sync", "dir": "/tmp", "domain": "D", "instances": [{**LEADS, "keep": ["x"] * 10_001}]},
    {"op": "sync", "dir": "/tmp", "domain": "D", "instances": [{**LEADS, "mass_deletion": 1}]},
    {"op": "commit"}, {"op": "commit", "dir": 5}, {"op": "stage"}, {"op": "deviations"}, {"op": "read"},
]  # fmt: skip


@pytest.mark.parametrize("header", MALFORMED, ids=lambda header: str(header)[:120])
def test_malformed_requests_are_answered_and_the_next_is_served(
    tmp_path: Path, header: dict[str, Any]
) -> None:
    more = END if header.get("op") in ("sync", "contents", "stage") else b""
    ping = frames.encode({"op": "ping", "dir": str(tmp_path)})
    replies = [reply["reply"] for reply, _body in talk(frames.encode(header), more, ping)]
    assert replies == ["error", "ping"]


def test_deep_trees_and_many_folders(tmp_path: Path) -> None:
    tree = Tree().file(b"lib" + b"/d" * 600 + b"/file", b"deep")
    for number in range(1500):
        tree.folder(f"docroot/{number}")
    das, root = synced(tmp_path, tree)
    assert das.one(tree)["verdict"] == "unchanged"
    assert das.one(Tree().folder("lib"))["deleted"] == 1
    assert sorted(os.listdir(root / "lib")) == []


def test_what_was_replaced_is_kept_for_twenty_commits(tmp_path: Path) -> None:
    tree = Tree().file(b"docroot/page", b"ours")
    das = Das(tmp_path)
    das.one(tree)
    for number in range(23):
        (tmp_path / "web1/docroot/page").write_bytes(b"theirs %d" % number)
        das.one(tree)
    kept = sorted((tmp_path / "web1/.dasctl/replaced").iterdir())
    assert len(kept) == 20
    contents = {(folder / "docroot/page").read_bytes() for folder in kept}
    assert contents == {b"theirs %d" % number for number in range(3, 23)}
