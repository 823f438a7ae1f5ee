"""What differs on an instance, told without changing anything."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import DOMAIN, Das, Tree, ask, talk

from dasctl.remote import deviations, frames, state


def shop() -> Tree:
    return (
        Tree()
        .file("config/app.conf", b"port=1", 0o600)
        .file("docroot/page", b"page")
        .file("docroot/moved", b"moved")
        .file(b"docroot/\xff\n", b"odd")
        .link("docroot/start", b"page")
        .file("lib/a/x", b"x")
    )


def synced(path: Path) -> tuple[Das, Path]:
    das = Das(path)
    assert das.one(shop())["verdict"] == "done"
    return das, path / "web1"


def looked(node: Path, **further: Any) -> dict[str, Any]:
    reply = ask(
        {
            "op": "deviations",
            "dir": str(node),
            "domain": DOMAIN,
            "epoch": 1,
            "instances": [{"name": "web1", **further}],
        }
    )
    found: dict[str, Any] = reply["instances"][0]
    assert found["verdict"] == "done", found
    return found


def kinds(node: Path, **further: Any) -> list[tuple[str, str]]:
    return [(item["path"], item["kind"]) for item in looked(node, **further)["deviations"]]


def fingerprint(root: Path) -> list[tuple[str, int, int, int]]:
    return sorted(
        (str(path), status.st_mtime_ns, status.st_ctime_ns, status.st_mode)
        for path in root.rglob("*")
        for status in [path.lstat()]
    )


def test_nothing_differs(tmp_path: Path) -> None:
    _das, root = synced(tmp_path)
    before = fingerprint(root)
    found = looked(tmp_path)
    assert (found["deviations"], found["problems"], found["interrupted"]) == ([], [], False)
    assert (found["exists"], found["at"]["revision"]) == (True, 1)
    assert looked(tmp_path, verify=True)["deviations"] == []
    assert fingerprint(root) == before


def test_all_kinds(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    (root / "config/app.conf").write_bytes(b"mine, longer")
    (root / "docroot/page").chmod(0o666)
    (root / "docroot/moved").unlink()
    os.utime(root / os.fsdecode(b"docroot/\xff\n"), ns=(1, 1))  # its modtime alone: no deviation
    (root / "docroot/start").unlink()
    (root / "docroot/start").symlink_to("/etc")
    (root / "docroot/cache").mkdir()
    (root / "docroot/cache/one").write_bytes(b"1")
    (root / "lib/empty").mkdir()
    os.mkfifo(root / "lib/fifo")
    (root / "local/lib/a").mkdir(parents=True)
    (root / "local/lib/a/x").write_bytes(b"my own")
    found = looked(tmp_path)
    assert sorted((item["path"], item["kind"]) for item in found["deviations"]) == [
        ("config/app.conf", "changed"),
        ("docroot/cache/one", "extra"),
        ("docroot/moved", "missing"),
        ("docroot/page", "changed"),
        ("docroot/start", "changed"),
        ("lib/a/x", "overridden"),
        ("lib/empty", "extra"),
        ("lib/fifo", "extra"),
    ]
    by_path = {item["path"]: item for item in found["deviations"]}
    assert by_path["config/app.conf"]["size"] == 12
    assert by_path["config/app.conf"]["modtime"] == (root / "config/app.conf").stat().st_mtime_ns
    assert (by_path["docroot/moved"]["size"], by_path["docroot/moved"]["modtime"]) == (None, None)
    # What the next synchronisation says is the same.
    said = {(item["path"], item["kind"]) for item in das.one(shop(), dry_run=True, full=True)["deviations"]}
    assert said == {(item["path"], item["kind"]) for item in found["deviations"]} - {("lib/empty", "extra")}


def test_verify_sees_what_modtimes_hide(tmp_path: Path) -> None:
    _das, root = synced(tmp_path)
    file = root / "docroot/page"
    status = file.stat()
    file.write_bytes(b"PAGE")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert kinds(tmp_path) == []
    assert kinds(tmp_path, verify=True) == [("docroot/page", "changed")]


def test_patterns(tmp_path: Path) -> None:
    _das, root = synced(tmp_path)
    (root / "config/app.conf").write_bytes(b"mine, longer")
    (root / "docroot/page").write_bytes(b"theirs, longer")
    (root / "lib/upload").write_bytes(b"1")
    assert len(kinds(tmp_path)) == 3
    assert kinds(tmp_path, only=["^docroot/"]) == [("docroot/page", "changed")]
    assert kinds(tmp_path, **{"except": ["^(config|lib)/"]}) == [("docroot/page", "changed")]
    assert kinds(tmp_path, keep=["^docroot/"], excluded=["upload$"]) == [("config/app.conf", "changed")]


def test_a_deviation_that_was_kept_is_told_each_time(tmp_path: Path) -> None:
    das, root = synced(tmp_path)
    (root / "config/app.conf").write_bytes(b"mine, longer")
    (root / "lib/new").write_bytes(b"in the way")
    das.one(shop().file("lib/new", b"ours"), deviations="keep")
    assert kinds(tmp_path) == [("config/app.conf", "changed"), ("lib/new", "extra")]


def test_an_instance_that_is_not_there(tmp_path: Path) -> None:
    found = looked(tmp_path / "nowhere")
    assert (found["exists"], found["at"], found["deviations"]) == (False, None, [])
    assert list(tmp_path.iterdir()) == []


def test_before_the_first_synchronisation_all_is_foreign(tmp_path: Path) -> None:
    (tmp_path / "web1/lib").mkdir(parents=True)
    (tmp_path / "web1/lib/x").write_bytes(b"by hand")
    assert kinds(tmp_path) == [("lib/x", "extra")]
    assert os.listdir(tmp_path / "web1") == ["lib"]


def test_a_busy_instance_can_be_looked_at(tmp_path: Path) -> None:
    _das, root = synced(tmp_path)
    with (root / ".dasctl/lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert kinds(tmp_path) == []


def test_a_reply_stays_within_its_size(tmp_path: Path) -> None:
    _das, root = synced(tmp_path)
    for number in range(50):
        (root / f"lib/{number}").write_bytes(b"")
    kept = state.open_place(str(tmp_path), "web1", create=False)
    assert kept is not None
    everything = {"verify": False, "only": None, "except": None, "excluded": None, "keep": None}
    look = deviations.Look(kept, state.load(kept), everything)
    assert len(look.told(1 << 20)["deviations"]) == 50
    cut = look.told(1200)
    assert 0 < len(cut["deviations"]) < 12
    assert len(cut["deviations"]) + cut["more"] == 50
    kept.close()


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    _das, root = synced(tmp_path)
    (root / ".dasctl/state.json").write_text('{"format": 2}')
    reply = ask({"op": "deviations", "dir": str(tmp_path), "domain": DOMAIN, "instances": [{"name": "web1"}]})
    assert (reply["instances"][0]["verdict"], reply["instances"][0]["reason"]) == ("refused", "newer format")


def test_a_folder_that_cannot_be_followed_is_not_left(tmp_path: Path) -> None:
    _das, root = synced(tmp_path / "node")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"1")
    (root / "lib/link").symlink_to(outside)
    assert kinds(tmp_path / "node") == [("lib/link", "extra")]


@pytest.mark.parametrize(
    "item",
    [
        {"name": "../x"},
        {"name": "a", "verify": 1},
        {"name": "a", "only": "x"},
        {"name": "a", "keep": ["("]},
        {},
    ],
    ids=json.dumps,
)
def test_hostile_requests(tmp_path: Path, item: dict[str, Any]) -> None:
    header = {"op": "deviations", "dir": str(tmp_path), "domain": DOMAIN, "instances": [item]}
    ping = frames.encode({"op": "ping", "dir": str(tmp_path)})
    replies = [reply["reply"] for reply, _body in talk(frames.encode(header), ping)]
    assert replies == ["error", "ping"]
