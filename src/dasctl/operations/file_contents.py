"""Contents straight from the repository's files, for a member that asks for them: nothing is recorded for that.

Each file is checked while it is read; one that changed meanwhile is taken back with an `abort` frame. What nodes get in a
synchronisation comes from objects instead (`contents.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

from dasctl.core.exchange import PIECE
from dasctl.core.packing import packed
from dasctl.errors import RepositoryError
from dasctl.operations.ports import Repository
from dasctl.remote import frames


class FileContents:
    """Makes the content frames. `paths` maps SHA-256 (hex) to the file below the domain's folder."""

    def __init__(self, repository: Repository, paths: Mapping[str, bytes]) -> None:
        self._repository = repository
        self._paths = paths
        self.changed: dict[str, bytes] = {}  # contents whose files no longer hold them, with their paths

    async def frames(self, wanted: Iterable[str]) -> AsyncIterator[bytes]:
        """Encoded frames of these contents, and the end."""
        for digest in wanted:
            made = self._frames_of(digest)
            while (frame := await asyncio.to_thread(next, made, None)) is not None:
                yield frame
        yield frames.encode({"end": True})

    def _frames_of(self, digest: str) -> Iterator[bytes]:
        path = self._paths.get(digest)
        if path is None:
            yield self._taken_back(digest, b"")
            return
        seen = hashlib.sha256()
        try:
            pieces = iter(self._repository.read(path, piece=PIECE))
            raw = next(pieces, b"")
            for following in pieces:
                seen.update(raw)
                yield _frame(digest, raw, last=False)
                raw = following
        except RepositoryError:
            yield self._taken_back(digest, path)
            return
        seen.update(raw)
        if seen.hexdigest() != digest:
            yield self._taken_back(digest, path)
            return
        yield _frame(digest, raw, last=True)

    def _taken_back(self, digest: str, path: bytes) -> bytes:
        self.changed[digest] = path
        return frames.encode({"content": digest, "abort": True})


def _frame(digest: str, raw: bytes, *, last: bool) -> bytes:
    piece = packed(raw)
    return frames.encode({"content": digest, "z": piece.packed, "last": last}, piece.data)
