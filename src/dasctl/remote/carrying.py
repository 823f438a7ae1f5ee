"""`stage`: what a further channel of a connection carries while the first one waits for contents.

What lives here: taking whole contents that were announced into an instance's staging, under names of our own until they are
verified. What must not: the lock, which the helper at the first channel holds; anything outside of staging. Where nobody
waits, what is staged is what an earlier synchronisation might have left.
"""

from __future__ import annotations

from dasctl.remote import messages, staging, state, words
from dasctl.remote.state import Failure
from dasctl.remote.wire import Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from dasctl.remote.wire import Link

    Header = dict[str, Any]

MOST_PACK = 1 << 20  # bytes of the body of a pack
UNPACKED = 1 << 20  # bytes unpacked at a time


def stage(link: Link, header: Header) -> Header:
    """Answer a `stage`: reads the frames behind it, up to the end."""
    common = messages.common(header)
    name, announced = messages.staged(header)
    place = state.open_place(state.node_path(common["dir"]), name, create=False)
    if place is None:
        announced = {}
    try:
        if place is not None:
            _of_this_domain(place, common["domain"])
        carried = Carrying(link, place, announced)
        carried.all()
        return {"reply": words.STAGE, "staged": [digest.decode() for digest in carried.staged]}
    finally:
        if place is not None:
            place.close()


def _of_this_domain(place: state.Place, domain: str) -> None:
    at = state.load(place, with_parts=False).at
    if at is not None and at["domain"] != domain:
        raise Failure("%s belongs to another domain (id %s)" % (place.path, at["domain"]))


class Carrying:
    """Frames into the staging of `place`. `staged`: the announced contents that lie there verified, in their order."""

    def __init__(self, link: Link, place: state.Place | None, announced: dict[bytes, int]) -> None:
        self._link, self._place, self._announced = link, place, announced
        self._writing: staging.Writing | None = None
        self._current = b""
        self.staged: dict[bytes, None] = {}

    def all(self) -> None:
        """Read all frames up to `end`. Raises Gone, BadMessage, FrameError."""
        try:
            while True:
                header = self._link.header()
                if header is None:
                    raise Gone
                if header.get("end") is True:
                    return
                if "pack" in header:
                    self._pack(header)
                elif "content" in header:
                    self._piece(header)
                else:
                    raise messages.BadMessage("neither a pack nor a content")
        finally:
            self._forget()

    def _forget(self) -> None:
        if self._writing is not None:
            self._writing.abort()
        self._writing, self._current = None, b""

    # -- packs

    def _pack(self, header: Header) -> None:
        self._forget()
        items = messages.need(header, "pack", list)
        body = b""
        for piece in self._link.pieces():
            body += piece
            if len(body) > MOST_PACK:
                raise messages.BadMessage("a pack of more than %d bytes" % MOST_PACK)
        offset = 0
        for item in items:
            digest, raw, packed, compressed = _packed(item)
            data = body[offset : offset + packed]
            offset += packed
            if self._announced.get(digest) == raw and digest not in self.staged:
                self._whole(digest, raw, data, compressed)
        if offset != len(body):
            raise messages.BadMessage("contents of %d bytes in a pack of %d" % (offset, len(body)))

    def _whole(self, digest: bytes, raw: int, data: bytes, compressed: bool) -> None:
        self._begin(digest)
        try:
            for piece in _plain([data], compressed):
                self._write(piece)
        except staging.BadContent:
            self._forget()
        self._finish()

    # -- contents in pieces

    def _piece(self, header: Header) -> None:
        digest = messages.digest(header, "content").encode()
        if digest != self._current:
            self._forget()
            self._current = digest
            # One that begins in its middle goes on behind what only the first channel's helper knows of.
            if not header.get("offset") and header.get("abort") is not True:
                self._begin(digest)
        if header.get("abort") is True:
            self._forget()
            return
        if self._writing is None:
            self._link.skip()
        else:
            self._pieces(header.get("z") is True)
        if header.get("last") is True:
            self._finish()

    def _pieces(self, compressed: bool) -> None:
        try:
            for piece in _plain(self._link.pieces(), compressed):
                self._write(piece)
        except staging.BadContent:
            self._drop()
        self._link.skip()

    # -- one content

    def _begin(self, digest: bytes) -> None:
        self._current = digest
        size = self._announced.get(digest)
        if size is None or self._place is None or digest in self.staged:
            return
        try:
            if staging.has(self._place, digest, size, mend=False):
                self.staged[digest] = None
            else:
                self._writing = staging.Writing(self._place, digest, size, beside=True)
        except OSError:
            pass  # no room, no rights, no staging: the first channel meets the same, and says so

    def _write(self, piece: bytes) -> None:
        if self._writing is None:
            return
        try:
            self._writing.write(piece)
        except OSError:
            self._drop()

    def _finish(self) -> None:
        if self._writing is not None:
            try:
                self._writing.done()
                self.staged[self._current] = None
                self._writing = None
            except (staging.BadContent, OSError):
                pass
        self._forget()

    def _drop(self) -> None:
        """What is left of this content is read, and not written."""
        if self._writing is not None:
            self._writing.abort()
            self._writing = None


def _packed(item: Any) -> tuple[bytes, int, int, bool]:
    if not isinstance(item, list) or len(item) != 4 or any(type(number) is not int for number in item[1:3]):
        raise messages.BadMessage("pack: %r" % (item,))
    if min(item[1], item[2]) < 0 or item[3] not in (0, 1, True, False):
        raise messages.BadMessage("pack: %r" % (item,))
    return messages.digest({"pack": item[0]}, "pack").encode(), item[1], item[2], bool(item[3])


def _plain(pieces: Any, compressed: bool) -> Iterator[bytes]:
    """The pieces unpacked, little at a time: whoever counts them stops a bomb."""
    if not compressed:
        yield from pieces
        return
    import zlib

    unpacker = zlib.decompressobj()
    try:
        for piece in pieces:
            while piece:
                yield unpacker.decompress(piece, UNPACKED)
                piece = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error:
        raise staging.BadContent("not compressed as it should be") from None
