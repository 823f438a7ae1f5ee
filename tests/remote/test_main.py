"""The conversation itself: cut anywhere, fed byte by byte, interrupted by another request."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from tests.remote.conversation import (
    DOMAIN,
    END,
    Das,
    Tree,
    content,
    instance,
    on_disk,
    spoken,
    sync_request,
    talk,
)  # fmt: skip

from dasctl.remote import frames, main


class Dribble(io.RawIOBase):
    """A stream that gives one byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._data.read(1)
        buffer[: len(data)] = data
        return len(data)


def conversation(path: Path) -> bytes:
    tree = Tree().file("lib/a", b"one").file("docroot/b", b"two")
    return (
        sync_request(path, [instance("web1", tree, 1, None)], [tree])
        + content(b"one")
        + END
        + frames.encode({"op": "contents"})
        + content(b"two", piece=2)
        + END
        + frames.encode({"op": "look", "dir": str(path), "domain": DOMAIN, "instances": [{"name": "web1"}]})
    )


def test_byte_by_byte(tmp_path: Path) -> None:
    out = io.BytesIO()
    main.main(io.BufferedReader(Dribble(conversation(tmp_path)), 1), out)
    replies = [header for header, _body in spoken(out.getvalue())]
    assert [reply["reply"] for reply in replies] == ["sync", "contents", "look"]
    assert replies[1]["instances"][0]["verdict"] == "done"
    assert replies[2]["instances"][0]["at"]["revision"] == 1


def test_cut_at_every_byte(tmp_path: Path) -> None:
    """Whatever was cut, the files are none or all, and the next conversation succeeds."""
    tree = Tree().file("lib/a", b"one").file("docroot/b", b"two")
    length = len(conversation(tmp_path / str(10_000)))
    for cut in range(0, length, 7):
        path = tmp_path / str(10_000 + cut)
        talk(conversation(path)[:cut])
        root = path / "web1"
        assert on_disk(root) in ({}, tree.entries), cut
        das = Das(path)
        if on_disk(root):
            das.expects["web1"] = 1
        assert das.one(tree)["verdict"] in ("done", "unchanged"), cut
        assert on_disk(root) == tree.entries


def test_another_request_instead_of_contents_frees_the_instance(tmp_path: Path) -> None:
    tree = Tree().file("lib/a", b"one")
    request = sync_request(tmp_path, [instance("web1", tree, 1, None)], [tree]) + END
    ping = frames.encode({"op": "ping", "dir": str(tmp_path)})
    late = frames.encode({"op": "contents"}) + content(b"one") + END
    replies = [reply for reply, _body in talk(request, ping, late, request, late)]
    assert [reply["reply"] for reply in replies] == ["sync", "ping", "error", "sync", "contents"]
    assert replies[-1]["instances"][0]["verdict"] == "done"


def test_what_is_not_a_frame_is_answered_and_ends_the_conversation() -> None:
    replies = [reply for reply, _body in talk(b"hello\n", frames.encode({"op": "ping", "dir": "/tmp"}))]
    assert [reply["reply"] for reply in replies] == ["error"]


def test_one_failing_instance_does_not_end_the_others(tmp_path: Path) -> None:
    (tmp_path / "web2").write_text("a file in the way")
    verdicts = Das(tmp_path).sync(Tree().file("lib/a", b"one"), "web1", "web2", "web3")
    assert [verdict["verdict"] for verdict in verdicts] == ["done", "failed", "done"]
    assert "web2 is not a folder" in verdicts[1]["message"]


def test_parts_travel_as_changes(tmp_path: Path) -> None:
    from dasctl.remote import manifest

    das = Das(tmp_path)
    old, new = Tree().file("lib/a", b"one"), Tree().file("lib/a", b"two").file("lib/b", b"one")
    assert das.one(old)["verdict"] == "done"
    import zlib

    before = {name: (digest, data) for name, digest, data in old.parts()}
    blobs, body = [], b""
    for name, digest, data in new.parts():
        base, base_data = before[name]
        if base != digest:
            packed = zlib.compress(manifest.changes(base_data, data))
            blobs.append({"part": digest, "base": base, "size": len(packed)})
            body += packed
    header = {
        "op": "sync", "dir": str(tmp_path), "domain": DOMAIN, "epoch": 1, "blobs": blobs,
        "instances": [instance("web1", new, 2, 1)],
    }  # fmt: skip
    reply = talk(frames.encode(header, body), content(b"two"), END)[-1][0]["instances"][0]
    assert (reply["verdict"], reply["changed"]) == ("done", 2)
    assert on_disk(tmp_path / "web1") == new.entries
