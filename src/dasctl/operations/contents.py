"""Contents on their way to nodes: read once, compressed once where they are small, checked while they are read.

The stream of one node is made as fast as that node takes it; what is kept in memory is bounded.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from dasctl.errors import RepositoryError
from dasctl.operations.ports import Repository
from dasctl.remote import frames

PIECE = (
    256 << 10
)  # bytes of a file per frame: large enough for zlib, small enough for a fair share of a slow line
SMALL = 64 << 10  # bytes: a content whose one frame is not larger is kept for the next node
KEPT = 64 << 20  # bytes of such frames
LEVEL = 3  # zlib: the knee of time against size for text; what does not shrink goes as it is
WORTH = 0.95  # a piece that zlib leaves larger than this share goes as it is, and the rest of its file too
BATCH = 128 << 10  # bytes of frames handed to the link at once


class ContentStreams:
    """Makes the content frames for nodes. `paths` maps SHA-256 (hex) to the file below the domain's folder."""

    def __init__(self, repository: Repository, paths: Mapping[str, bytes]) -> None:
        self._repository = repository
        self._paths = paths
        self._kept: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        self._kept_size = 0
        self.changed: dict[str, bytes] = {}  # contents whose files no longer hold them, with their paths

    async def frames(self, wanted: Iterable[str], on_sent: Callable[[int], None]) -> AsyncIterator[bytes]:
        """Encoded frames of these contents and the end; `on_sent` is told the raw bytes handed on so far."""
        batch = bytearray()
        raw = 0
        for digest in wanted:
            async for size, frame in self._frames_of(digest):
                batch += frame
                raw += size
                if len(batch) >= BATCH:
                    yield bytes(batch)
                    batch.clear()
                    on_sent(raw)
        batch += frames.encode({"end": True})
        yield bytes(batch)
        on_sent(raw)

    async def _frames_of(self, digest: str) -> AsyncIterator[tuple[int, bytes]]:
        """(raw bytes, frame) of one content."""
        kept = self._kept.get(digest)
        if kept is not None:
            self._kept.move_to_end(digest)
            yield kept
            return
        count = 0
        async for size, frame in self._fresh(digest):
            count += 1
            yield size, frame
        if count == 1 and len(frame) <= SMALL and digest not in self.changed:
            self._keep(digest, size, frame)

    async def _fresh(self, digest: str) -> AsyncIterator[tuple[int, bytes]]:
        path = self._paths.get(digest)
        seen = hashlib.sha256()
        shrinks = True
        last = b""
        try:
            if path is None:
                raise RepositoryError(f"no file of the repository holds the content {digest[:12]}…")
            pieces = iter(self._repository.read(path, piece=PIECE))
            last = next(pieces, b"")
            for piece in pieces:
                frame, shrinks = await _encode(digest, last, seen, shrinks, last=False)
                yield len(last), frame
                last = piece
        except RepositoryError:
            self.changed[digest] = path or b""
            yield 0, frames.encode({"content": digest, "abort": True})
            return
        frame, _ = await _encode(digest, last, seen, shrinks, last=True)
        if seen.hexdigest() != digest:
            self.changed[digest] = path
            frame = frames.encode({"content": digest, "abort": True})
        yield len(last), frame

    def _keep(self, digest: str, raw: int, frame: bytes) -> None:
        self._kept[digest] = (raw, frame)
        self._kept_size += len(frame)
        while self._kept_size > KEPT:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._kept_size -= len(dropped)


async def _encode(
    digest: str, piece: bytes, seen: hashlib._Hash, shrinks: bool, *, last: bool
) -> tuple[bytes, bool]:
    """The frame of one piece, and whether the next one is worth compressing."""
    if len(piece) < SMALL:
        return _pack(digest, piece, seen, shrinks, last)
    return await asyncio.to_thread(_pack, digest, piece, seen, shrinks, last)


def _pack(digest: str, piece: bytes, seen: hashlib._Hash, shrinks: bool, last: bool) -> tuple[bytes, bool]:
    seen.update(piece)
    packed = zlib.compress(piece, LEVEL) if shrinks and piece else piece
    worth = len(packed) < len(piece) * WORTH
    header = {"content": digest, "z": worth, "last": last}
    return frames.encode(header, packed if worth else piece), worth
