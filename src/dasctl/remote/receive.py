"""Content frames: what comes behind a `sync` or a `contents`, up to the end.

What lives here: reading pieces, unpacking them within the size that is known, staging what is needed and dropping the
rest. What must not: which instance needs what.
"""

from __future__ import annotations

from dasctl.remote import messages, staging, state
from dasctl.remote.wire import Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from dasctl.remote.wire import Link

UNPACKED = 1 << 20  # bytes unpacked at a time


class Received:
    """frames: how many came; failures: contents that could not be written, with the reason."""

    def __init__(self) -> None:
        self.frames = 0
        self.failures: dict[bytes, OSError] = {}


def contents(link: Link, needed: Mapping[bytes, tuple[state.Place, int]]) -> Received:
    """Read all frames up to `end`; stage those in `needed` (digest to place and size). Raises Gone, BadMessage.

    A content that is not what it should be is forgotten: whoever needs it asks again.
    """
    received = Received()
    writing: staging.Writing | None = None
    current = b""
    try:
        while True:
            header = link.header()
            if header is None:
                raise Gone
            if header.get("end") is True:
                return received
            digest = messages.digest(header, "content").encode()
            received.frames += 1
            if digest != current:
                if writing is not None:
                    writing.abort()
                current, writing = digest, _begin(digest, needed, received)
            if header.get("abort") is True:
                if writing is not None:
                    writing.abort()
                current, writing = b"", None
                continue
            writing = _piece(link, header, writing, received)
            if header.get("last") is True:
                current = b""
                if writing is not None:
                    _last(writing, received)
                    writing = None
    finally:
        if writing is not None:
            writing.abort()


def _begin(
    digest: bytes, needed: Mapping[bytes, tuple[state.Place, int]], received: Received
) -> staging.Writing | None:
    if digest not in needed or digest in received.failures:
        return None
    place, size = needed[digest]
    try:
        if staging.has(place, digest, size):
            return None
        return staging.Writing(place, digest, size)
    except OSError as error:
        received.failures[digest] = error
        return None


def _piece(
    link: Link, header: dict[str, Any], writing: staging.Writing | None, received: Received
) -> staging.Writing | None:
    if writing is None:
        link.skip()
        return None
    try:
        for piece in _plain(link.pieces(), header.get("z") is True):
            writing.write(piece)
        return writing
    except staging.BadContent:
        writing.abort()
    except OSError as error:
        received.failures[writing.digest] = error
        writing.abort()
    link.skip()
    return None


def _last(writing: staging.Writing, received: Received) -> None:
    try:
        writing.done()
    except staging.BadContent:
        writing.abort()
    except OSError as error:
        received.failures[writing.digest] = error
        writing.abort()


def _plain(pieces: Iterable[bytes], packed: bool) -> Iterator[bytes]:
    if not packed:
        yield from pieces
        return
    import zlib

    unpacker = zlib.decompressobj()
    try:
        for piece in pieces:
            while piece:
                plain = unpacker.decompress(piece, UNPACKED)
                yield plain
                piece = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error:
        raise staging.BadContent("not compressed as it should be") from None
