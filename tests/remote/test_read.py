"""Contents of files as they are on a node."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import DOMAIN, Das, Tree, ask, talk

from dasctl.remote import frames, reading


def request(node: Path, *paths: str, most: int = 1 << 20, **further: Any) -> bytes:
    header = {
        "op": "read", "dir": str(node), "domain": DOMAIN, "epoch": 1,
        "instances": [{"name": "web1", "paths": list(paths), "most": most, **further}],
    }  # fmt: skip
    return frames.encode(header)


def read(node: Path, *paths: str, most: int = 1 << 20) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The verdict, and the contents by path."""
    reply, body = talk(request(node, *paths, most=most))[-1]
    assert reply["reply"] == "read", reply
    verdict = reply["instances"][0]
    assert verdict["verdict"] == "done", verdict
    contents, at = {}, 0
    for file in verdict["files"]:
        if file["packed"] is not None:
            contents[file["path"]] = zlib.decompress(body[at : at + file["packed"]])
            at += file["packed"]
    assert at == len(body)
    return verdict, contents


def synced(path: Path) -> Path:
    tree = Tree().file("config/a", b"a\n" * 1000, 0o600, 77).file("config/b", b"b").link("lib/l", b"x y")
    assert Das(path).one(tree.file(b"lib/\xff", b"odd"))["verdict"] == "done"
    return path / "web1"


def test_files_as_they_are(tmp_path: Path) -> None:
    root = synced(tmp_path)
    os.mkfifo(root / "lib/fifo")
    wanted = ["config/a", "lib", "lib/l", "lib/fifo", "lib/none", "lib/\udcff"]
    verdict, contents = read(tmp_path, *wanted)
    files = {file["path"]: file for file in verdict["files"]}
    assert list(files) == wanted
    assert [file["kind"] for file in files.values()] == ["f", "d", "l", "o", None, "f"]
    assert contents == {"config/a": b"a\n" * 1000, "lib/\udcff": b"odd"}
    assert files["lib/l"]["target"] == "x y"
    assert (files["config/a"]["mode"], files["config/a"]["mtime"], files["config/a"]["size"]) == (
        0o600,
        77,
        2000,
    )
    assert files["config/a"]["sha256"] == hashlib.sha256(b"a\n" * 1000).hexdigest()
    assert verdict["problems"] == []


def test_without_paths_what_differs(tmp_path: Path) -> None:
    root = synced(tmp_path)
    assert read(tmp_path)[0]["files"] == []
    (root / "config/a").write_bytes(b"changed")
    (root / "config/b").unlink()
    (root / "config/foreign").write_bytes(b"nobody's business")
    verdict, contents = read(tmp_path)
    assert [(file["path"], file["kind"]) for file in verdict["files"]] == [
        ("config/a", "f"),
        ("config/b", None),
    ]
    assert contents == {"config/a": b"changed"}


def test_large_files_are_told_by_their_digest(tmp_path: Path) -> None:
    root = synced(tmp_path)
    verdict, contents = read(tmp_path, "config/a", "config/b", most=1999)
    assert (verdict["files"][0]["packed"], list(contents)) == (None, ["config/b"])
    assert verdict["files"][0]["sha256"] == hashlib.sha256(b"a\n" * 1000).hexdigest()
    piece = os.urandom(3 << 20)
    for name in ("one", "two", "three"):
        (root / "lib" / name).write_bytes(piece)
    verdict, contents = read(tmp_path, "lib/one", "lib/two", "lib/three", "config/b", most=1 << 40)
    assert list(contents) == ["lib/one", "lib/two", "config/b"]  # 8 MiB of all together
    (root / "lib/one").write_bytes(bytes(reading.MOST_PLAIN + 1))
    assert read(tmp_path, "lib/one", most=1 << 40)[1] == {}  # whatever was asked for


def test_what_is_not_there(tmp_path: Path) -> None:
    verdict, contents = read(tmp_path / "nowhere", "config/a")
    assert (verdict["exists"], verdict["files"][0]["kind"], contents) == (False, None, {})
    assert list(tmp_path.iterdir()) == []


def test_no_step_follows_a_link(tmp_path: Path) -> None:
    root = synced(tmp_path / "node")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    (root / "docroot/out").symlink_to(tmp_path / "outside")
    (root / "docroot/file").symlink_to(tmp_path / "outside/secret")
    verdict, contents = read(tmp_path / "node", "docroot/out/secret", "docroot/file")
    assert [file["kind"] for file in verdict["files"]] == [None, "l"]
    assert contents == {}


@pytest.mark.parametrize(
    "further",
    [
        {"paths": ["../x"]}, {"paths": ["/etc/passwd"]}, {"paths": [".dasctl/state.json"]}, {"paths": ["logs/x"]},
        {"paths": [5]}, {"paths": "config/a"}, {"paths": ["config/\x00"]}, {"most": -1}, {"most": "x"},
        {"paths": ["config/x"] * 10_001}, {"name": "a/b"},
    ],
    ids=lambda further: json.dumps(further)[:40],
)  # fmt: skip
def test_hostile_requests(tmp_path: Path, further: dict[str, Any]) -> None:
    ping = frames.encode({"op": "ping", "dir": str(tmp_path)})
    replies = [reply["reply"] for reply, _body in talk(request(tmp_path, **further), ping)]
    assert replies == ["error", "ping"]


def test_one_instance_at_a_time(tmp_path: Path) -> None:
    header = {
        "op": "read",
        "dir": str(tmp_path),
        "domain": DOMAIN,
        "instances": [{"name": "a"}, {"name": "b"}],
    }
    assert "one instance" in ask(header)["message"]
