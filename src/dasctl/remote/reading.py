"""`read`: files of an instance as they are, for showing what differs. Read only, and without the lock.

What lives here: reading within the limits of a reply. What must not: comparing (`deviations.py`).
"""

from __future__ import annotations

import os
import stat

from dasctl.remote import asked, manifest, messages, paths, state, tree, words
from dasctl.remote import handles as by_handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Reply = dict[str, Any]

MOST_PACKED = 8 << 20  # bytes of all packed contents of a reply
MOST_PLAIN = 8 << 20  # bytes of one file that is packed, whatever was asked for
LEVEL = 1  # zlib: the link is as fast as the others are slow


def answer(header: Reply) -> tuple[Reply, bytes]:
    """Answer a `read`: the reply, and its body."""
    common = messages.common(header)
    requests = messages.instances(header, messages.read_instance)
    if len(requests) != 1:
        raise messages.BadMessage("a read is about one instance, not %d" % len(requests))
    node = state.node_path(common["dir"])
    request = requests[0]
    packed: list[bytes] = []
    reply = asked.safely(request["name"], node, lambda: _answer(request, node, packed))
    if reply["verdict"] != words.DONE:
        packed = []
    return {"reply": words.READ, "instances": [reply]}, b"".join(packed)


def _answer(request: Reply, node: str, packed: list[bytes]) -> Reply:
    reply = {"name": request["name"], "verdict": words.DONE, "exists": False, "at": None, "problems": []}
    place = state.open_place(node, request["name"], create=False)
    if place is None:
        return {**reply, "files": [_nothing(path) for path in request["paths"]]}
    try:
        kept = state.load(place)
        found = request["paths"] or _different(place, kept)
        reading = Reading(place, min(request["most"], MOST_PLAIN), packed)
        reply.update(
            exists=True, at=kept.at, files=[reading.file(path) for path in found[: messages.MOST_READ]]
        )
        reply["problems"] = reading.problems
        if len(found) > messages.MOST_READ:
            reply["more"] = len(found) - messages.MOST_READ
        return reply
    finally:
        place.close()


def _different(place: state.Place, kept: state.Kept) -> list[bytes]:
    """The files and links that are not as the manifest says, or not there; foreign ones are nobody's business."""
    from dasctl.remote import deviations

    everything = {"verify": False, "only": None, "except": None, "excluded": None, "keep": None}
    look = deviations.Look(place, kept, everything)
    return sorted((item.path for item in look.deviations if item.kind != words.EXTRA), key=manifest.order)


class Reading:
    """Reads files; `packed` takes the contents, up to the limits. `problems`: those that could not be read."""

    def __init__(self, place: state.Place, most: int, packed: list[bytes]) -> None:
        self._place, self._most, self._packed = place, most, packed
        self._left = MOST_PACKED
        self.problems: list[Reply] = []

    def file(self, path: bytes) -> Reply:
        """What is at `path`, with the digest of its content; its content is packed where it fits."""
        told = _nothing(path)
        try:
            status = by_handle.lstat(self._place.handles, path)
            if status is None:
                return told
            entry = tree.entry_of(self._place.handles, path, status)
            told.update(kind=entry.kind, mode=entry.mode, mtime=entry.mtime)
            if entry.kind == "l":
                told["target"] = paths.printable(entry.digest)
            elif entry.kind == "f":
                self._content(path, told)
        except OSError as error:
            self.problems.append({"path": paths.printable(path), "message": error.strerror or str(error)})
        return told

    def _content(self, path: bytes, told: Reply) -> None:
        """Digest and content of one opening, so that they are of one file."""
        import hashlib

        handle = by_handle.open_file(self._place.handles, path)
        try:
            status = os.fstat(handle)
            told.update(mode=stat.S_IMODE(status.st_mode), mtime=status.st_mtime_ns)
            digest, size, kept = hashlib.sha256(), 0, []
            while True:
                piece = os.read(handle, by_handle.PIECE)
                if not piece:
                    break
                digest.update(piece)
                size += len(piece)
                if size <= self._most:
                    kept.append(piece)
        finally:
            os.close(handle)
        told.update(size=size, sha256=digest.hexdigest())
        if size <= self._most:
            told["packed"] = self._pack(b"".join(kept))

    def _pack(self, data: bytes) -> int | None:
        import zlib

        packed = zlib.compress(data, LEVEL)
        if len(packed) > self._left:
            return None
        self._left -= len(packed)
        self._packed.append(packed)
        return len(packed)


def _nothing(path: bytes) -> Reply:
    return {
        "path": paths.printable(path), "kind": None, "mode": None, "mtime": None, "size": None, "sha256": None,
        "target": None, "packed": None,
    }  # fmt: skip
