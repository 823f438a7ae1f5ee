"""A conversation with the helper inside the test process: requests go in as bytes, replies come out as objects.

`talk(requests)` is one whole conversation over streams in memory. `Tree` describes what is wanted; `sync` carries it out
as a DAS would, in as many trips as it takes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dasctl.remote import frames, main, manifest, words
from dasctl.remote.manifest import Entry

DOMAIN = "11111111-2222-3333-4444-555555555555"


def nothing(operation: str) -> None:
    """The hook that does not interrupt."""


def talk(*requests: bytes, before: Callable[[str], None] = nothing) -> list[tuple[dict[str, Any], bytes]]:
    """All frames after the greeting that the helper answers `requests` with."""
    return answers(b"".join(requests), before)


def answers(data: bytes, before: Callable[[str], None] = nothing) -> list[tuple[dict[str, Any], bytes]]:
    out = io.BytesIO()
    main.main(io.BytesIO(data), out, before)
    return spoken(out.getvalue())


def spoken(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """The frames behind marker and greeting."""
    intro = b"\n" + words.MARKER + b"\n"
    assert data.startswith(intro), data[:100]
    decoder = frames.Decoder()
    got = decoder.feed(data[len(intro) :])
    assert not decoder.pending()
    assert got[0][0]["greeting"] == 1
    return got[1:]


def ask(header: dict[str, Any], body: bytes = b"", more: bytes = b"") -> dict[str, Any]:
    """The reply to one request in a conversation of its own."""
    return talk(frames.encode(header, body), more)[-1][0]


def standing(revision: int) -> list[Any]:
    return [revision, hashlib.sha256(b"%d" % revision).hexdigest()]


def lead(revision: int, config_id: int = 7) -> dict[str, Any]:
    number, digest = standing(revision)
    return {
        "epoch": 1, "config_id": config_id, "revision": number, "digest": digest,
        "who": "ann", "host": "das", "when": 12.5, "command": "sync-domain",
    }  # fmt: skip


class Tree:
    """What is wanted: entries by path, and the contents of its files by digest."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.contents: dict[str, bytes] = {}
        for area in words.AREAS:
            self.folder(area)

    def folder(self, path: str | bytes, mode: int = 0o755, mtime: int = 1_600_000_000_123_456_789) -> Tree:
        path = _raw(path)
        self._parents(path)
        self.entries[path] = Entry(path, "d", mode, 0, mtime, b"-")
        return self

    def file(
        self, path: str | bytes, data: bytes = b"x", mode: int = 0o644, mtime: int = 1_600_000_001_000_000_001
    ) -> Tree:
        path = _raw(path)
        self._parents(path)
        digest = hashlib.sha256(data).hexdigest()
        self.contents[digest] = data
        self.entries[path] = Entry(path, "f", mode, len(data), mtime, digest.encode())
        return self

    def link(self, path: str | bytes, target: bytes, mtime: int = 1_600_000_002_000_000_002) -> Tree:
        path = _raw(path)
        self._parents(path)
        self.entries[path] = Entry(path, "l", 0o777, 0, mtime, target)
        return self

    def without(self, path: str | bytes) -> Tree:
        path = _raw(path)
        for other in list(self.entries):
            if other == path or other.startswith(path + b"/"):
                del self.entries[other]
        return self

    def copy(self) -> Tree:
        other = Tree()
        other.entries = dict(self.entries)
        other.contents = dict(self.contents)
        return other

    def parts(self) -> list[tuple[str, str, bytes]]:
        """(name, digest, canonical bytes), as a DAS has them."""
        grouped: dict[str, list[Entry]] = {}
        for path in sorted(self.entries, key=manifest.order):
            steps = path.split(b"/")
            name = steps[0]
            if name == b"applications" and len(steps) > 1:
                name = b"/".join(steps[:2])
            grouped.setdefault(os.fsdecode(name), []).append(self.entries[path])
        parts = []
        for name, entries in grouped.items():
            data = manifest.encode(entries)
            parts.append((name, manifest.digest_of(data), data))
        return parts

    def _parents(self, path: bytes) -> None:
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            if path not in self.entries or self.entries[path].kind != "d":
                self.entries[path] = Entry(path, "d", 0o755, 0, 1_600_000_000_123_456_789, b"-")


def _raw(path: str | bytes) -> bytes:
    return os.fsencode(path)


def instance(name: str, tree: Tree, revision: int, expect: int | None, **further: Any) -> dict[str, Any]:
    """An instance of a `sync` request."""
    return {
        "name": name, "expect": None if expect is None else standing(expect), "lead": lead(revision), "config_id": 7,
        "parts": [[part, digest] for part, digest, _data in tree.parts()],
        "criterion": "modtime", "deviations": "overwrite", "full": False, "only": None, "except": None, **further,
    }  # fmt: skip


def sync_request(
    node: Path, instances: list[dict[str, Any]], trees: Iterable[Tree] = (), **further: Any
) -> bytes:
    """The request frame, with the parts of `trees` as blobs, without content frames and the end."""
    parts = {digest: zlib.compress(data) for tree in trees for _name, digest, data in tree.parts()}
    header = {
        "op": "sync", "dir": str(node), "domain": DOMAIN, "name": "shop", "epoch": 1, "dry_run": False,
        "blobs": [{"part": digest, "base": None, "size": len(data)} for digest, data in parts.items()],
        "instances": instances, **further,
    }  # fmt: skip
    return frames.encode(header, b"".join(parts.values()))


END = frames.encode({"end": True})


def content(data: bytes, *, z: bool = True, piece: int = 1 << 20, offset: int = 0) -> bytes:
    """The frames of one content, from `offset` on."""
    digest = hashlib.sha256(data).hexdigest()
    starts = range(offset, len(data), piece) or [offset]
    return b"".join(
        frames.encode(
            {"content": digest, "z": z, "offset": start, "last": start == starts[-1]},
            zlib.compress(data[start : start + piece]) if z else data[start : start + piece],
        )
        for start in starts
    )


def pack(*contents: bytes, z: bool = True) -> bytes:
    """One frame with whole contents."""
    listing, body = [], b""
    for data in contents:
        packed = zlib.compress(data) if z else data
        listing.append([hashlib.sha256(data).hexdigest(), len(data), len(packed), int(z)])
        body += packed
    return frames.encode({"pack": listing}, body)


def wanted_contents(needed: Iterable[Any], contents: dict[str, bytes]) -> bytes:
    """The frames that a DAS sends for what `needs` names, each once."""
    offsets = dict((item, 0) if isinstance(item, str) else tuple(item) for item in needed)
    return b"".join(content(contents[digest], offset=offset) for digest, offset in offsets.items())


class Das:
    """A DAS in memory that syncs one tree to some instances of a node, in two trips at most.

    `expects` remembers where each instance stands. The last replies are kept in `trips`.
    """

    def __init__(self, node: Path) -> None:
        self.node = node
        self.expects: dict[str, int] = {}
        self.revision = 0
        self.trips = 0

    def sync(
        self, tree: Tree, *names: str, before: Callable[[str], None] = nothing, **further: Any
    ) -> list[dict[str, Any]]:
        """The verdicts, in order. `further` goes into each instance; `dry_run`, `epoch` and `local` into the request."""
        names = names or ("web1",)
        request = {
            key: further.pop(key) for key in ("changes", "dry_run", "epoch", "local") if key in further
        }
        self.revision += 1
        items = [instance(name, tree, self.revision, self.expects.get(name), **further) for name in names]
        first = sync_request(self.node, items, [tree], **request) + END
        replies = _two_trips(first, tree, before)
        self.trips = len(replies)
        verdicts = {item["name"]: item for reply in replies for item in reply["instances"]}
        for name in names:
            good = verdicts[name]["verdict"] in ("done", "unchanged")
            if good and not request.get("dry_run") and not further.get("only") and not further.get("except"):
                self.expects[name] = self.revision
        return [verdicts[name] for name in names]

    def one(self, tree: Tree, **further: Any) -> dict[str, Any]:
        """The verdict of the instance web1."""
        return self.sync(tree, **further)[0]


class _Reader(io.RawIOBase):
    """A stream that makes the second request up from the reply to the first."""

    def __init__(self, first: bytes, out: io.BytesIO, tree: Tree) -> None:
        self._data = io.BytesIO(first)
        self._out = out
        self._tree = tree
        self._asked = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._data.read(len(buffer))
        if not data and not self._asked:
            self._asked = True
            self._data = io.BytesIO(self._second())
            data = self._data.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _second(self) -> bytes:
        reply = spoken(self._out.getvalue())[-1][0]
        waiting = [item for item in reply.get("instances", ()) if item["verdict"] == "needs"]
        needed = [digest for item in waiting for digest in item["contents"]]
        if not needed:
            return b""
        return frames.encode({"op": "contents"}) + wanted_contents(needed, self._tree.contents) + END


def _two_trips(first: bytes, tree: Tree, before: Callable[[str], None]) -> list[dict[str, Any]]:
    out = io.BytesIO()
    main.main(io.BufferedReader(_Reader(first, out, tree)), out, before)
    replies = [header for header, _body in spoken(out.getvalue()) if "reply" in header]
    assert all("instances" in reply for reply in replies), json.dumps(replies)
    return replies


def on_disk(root: Path, areas: Iterable[str] = words.AREAS) -> dict[bytes, Entry]:
    """What lies in an instance's folder, read by other means than the helper's own."""
    found: dict[bytes, Entry] = {}
    base = os.fsencode(root)
    pending = [area.encode() for area in areas]
    while pending:
        path = pending.pop()
        full = os.path.join(base, path)
        if not os.path.lexists(full):
            continue
        status = os.lstat(full)
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            found[path] = Entry(path, "l", 0o777, 0, status.st_mtime_ns, os.readlink(full))
        elif stat.S_ISDIR(status.st_mode):
            found[path] = Entry(path, "d", mode, 0, status.st_mtime_ns, b"-")
            pending += [path + b"/" + name for name in os.listdir(full)]
        else:
            data = Path(os.fsdecode(full)).read_bytes() if os.access(full, os.R_OK) else b""
            digest = hashlib.sha256(data).hexdigest().encode()
            found[path] = Entry(path, "f", mode, status.st_size, status.st_mtime_ns, digest)
    return found
