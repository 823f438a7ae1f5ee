"""Contents that a further channel brings while the first one waits."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import DOMAIN, END, Das, Tree, content, instance, on_disk, sync_request, talk
from tests.remote.scripted import conversed, meanwhile

from dasctl.remote import frames

BIG = bytes(range(256)) * 8192  # 2 MiB
TREE = Tree().file("lib/a", b"one").file("lib/b", b"two").file("lib/big", BIG)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def stage(node: Path, *announced: bytes, **further: Any) -> bytes:
    contents = [[sha(data), len(data)] for data in announced]
    header = {
        "op": "stage",
        "dir": str(node),
        "domain": DOMAIN,
        "epoch": 1,
        "instance": "web1",
        "contents": contents,
    }
    return frames.encode({**header, **further})


def pack(*contents: bytes) -> bytes:
    packed = [zlib.compress(data) for data in contents]
    items = [[sha(data), len(data), len(small), 1] for data, small in zip(contents, packed, strict=True)]
    return frames.encode({"pack": items}, b"".join(packed))


def staged(*frames_of: bytes) -> list[str]:
    reply = talk(*frames_of)[-1][0]
    assert reply["reply"] == "stage", reply
    return sorted(reply["staged"])


def staging(node: Path) -> list[str]:
    return sorted(os.listdir(node / "web1/.dasctl/staging"))


def more(*frames_of: bytes) -> bytes:
    return frames.encode({"op": "contents"}) + b"".join(frames_of) + END


@pytest.mark.parametrize("hold", [False, True])
def test_the_first_channel_finds_what_the_second_brought(tmp_path: Path, hold: bool) -> None:
    def second() -> None:
        brought = [pack(b"one", b"two"), content(BIG, piece=300_000), END]
        assert staged(stage(tmp_path, b"one", b"two", BIG), *brought) == sorted(
            map(sha, (b"one", b"two", BIG))
        )

    request = sync_request(tmp_path, [instance("web1", TREE, 1, None)], [TREE], hold=hold) + END
    commit = frames.encode({"op": "commit", "dir": str(tmp_path), "domain": DOMAIN, "epoch": 1})
    replies = conversed(request, meanwhile(second, more()), *([commit] if hold else []))
    verdicts = [reply["instances"][0]["verdict"] for reply in replies]
    assert verdicts == (["needs", "staged", "done"] if hold else ["needs", "done"])
    assert on_disk(tmp_path / "web1") == TREE.entries


def test_both_channels_bring_something(tmp_path: Path) -> None:
    def second() -> None:
        assert staged(stage(tmp_path, b"two"), pack(b"two"), END) == [sha(b"two")]

    request = sync_request(tmp_path, [instance("web1", TREE, 1, None)], [TREE]) + END
    replies = conversed(request, meanwhile(second, more(content(b"one"), content(BIG))))
    assert [reply["instances"][0]["verdict"] for reply in replies] == ["needs", "done"]
    assert on_disk(tmp_path / "web1") == TREE.entries


def test_where_nobody_waits_it_serves_the_next(tmp_path: Path) -> None:
    das = Das(tmp_path)
    assert das.one(Tree())["verdict"] in ("done", "unchanged")
    before = on_disk(tmp_path / "web1")
    staged(stage(tmp_path, b"one", b"two", BIG), content(b"one"), content(b"two"), content(BIG), END)
    assert on_disk(tmp_path / "web1") == before
    das.expects["web1"] = das.revision
    assert das.one(TREE)["verdict"] == "done"
    assert (das.trips, staging(tmp_path)) == (1, [])


def test_what_was_not_announced_is_dropped(tmp_path: Path) -> None:
    Das(tmp_path).one(Tree())
    assert staged(stage(tmp_path, b"one"), pack(b"one", b"two"), content(BIG), END) == [sha(b"one")]
    assert staging(tmp_path) == [sha(b"one")]


def test_wrong_bytes_and_wrong_sizes_are_dropped(tmp_path: Path) -> None:
    Das(tmp_path).one(Tree())
    lying = frames.encode({"content": sha(b"one"), "z": False, "last": True}, b"two")
    long = frames.encode({"content": sha(BIG), "z": True, "last": True}, zlib.compress(BIG + bytes(1 << 26)))
    other = frames.encode({"content": sha(b"two"), "z": True, "last": True}, b"no stream at all")
    assert staged(stage(tmp_path, b"one", b"two", BIG), lying, long, other, END) == []
    assert staging(tmp_path) == []
    sized = [[sha(b"one"), 2], [sha(b"two"), 1 << 40]]
    assert staged(stage(tmp_path, contents=sized), pack(b"one", b"two"), END) == []
    assert staging(tmp_path) == []


def test_a_channel_that_is_cut_leaves_nothing_but_whole_contents(tmp_path: Path) -> None:
    Das(tmp_path).one(Tree())
    pieces = content(BIG, z=False, piece=1 << 18)
    assert talk(stage(tmp_path, b"one", BIG), pack(b"one"), pieces[: len(pieces) // 2]) == []
    assert staging(tmp_path) == [sha(b"one")]


def test_an_instance_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert staged(stage(tmp_path / "nowhere", b"one"), pack(b"one"), END) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_told(tmp_path: Path) -> None:
    Das(tmp_path).one(Tree())
    for _round in range(2):
        assert staged(stage(tmp_path, b"one"), pack(b"one"), END) == [sha(b"one")]


def test_another_domain(tmp_path: Path) -> None:
    Das(tmp_path).one(Tree())
    ping = frames.encode({"op": "ping", "dir": str(tmp_path)})
    replies = [
        reply for reply, _body in talk(stage(tmp_path, b"one", domain="other"), pack(b"one"), END, ping)
    ]
    assert [reply["reply"] for reply in replies] == ["error", "ping"]
    assert staging(tmp_path) == []


def test_staging_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    Das(tmp_path / "node").one(Tree())
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "node/web1/.dasctl/staging").rmdir()
    (tmp_path / "node/web1/.dasctl/staging").symlink_to(outside)
    assert staged(stage(tmp_path / "node", b"one", BIG), pack(b"one"), content(BIG), END) == []
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "further",
    [
        {"instance": "../web1"}, {"instance": ".dasctl"}, {"instance": 5}, {"contents": None}, {"contents": {}},
        {"contents": [["../x", 1]]}, {"contents": [[sha(b"one"), -1]]}, {"contents": [[sha(b"one"), True]]},
        {"contents": [[sha(b"one")]]}, {"contents": [sha(b"one")]}, {"contents": [["A" * 64, 1]]}, {"dir": "relative"},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_hostile_requests(tmp_path: Path, further: dict[str, Any]) -> None:
    Das(tmp_path).one(Tree())
    ping = frames.encode({"op": "ping", "dir": str(tmp_path)})
    request = stage(tmp_path, **{"contents": [[sha(b"one"), 3]], **further})
    replies = [reply["reply"] for reply, _body in talk(request, pack(b"one"), END, ping)]
    assert replies == ["error", "ping"]
    assert staging(tmp_path) == []


HOSTILE_FRAMES = [
    {"pack": 5}, {"pack": [[sha(b"one"), 3, 99, 1]]}, {"pack": [[sha(b"one"), -1, 0, 0]]}, {"content": "../x"},
    {"content": sha(b"one"), "offset": -1}, {"delta": sha(b"one"), "base": 5}, {"hello": 1},
]  # fmt: skip


@pytest.mark.parametrize("frame", HOSTILE_FRAMES, ids=json.dumps)
def test_hostile_frames(tmp_path: Path, frame: dict[str, Any]) -> None:
    Das(tmp_path).one(Tree())
    ping = frames.encode({"op": "ping", "dir": str(tmp_path)})
    replies = [
        reply["reply"] for reply, _body in talk(stage(tmp_path, b"one"), frames.encode(frame), END, ping)
    ]
    assert replies == ["error", "ping"]
    assert staging(tmp_path) == []
