"""The helper's end of the link: requests in, events and replies out, blocking.

What lives here: reading frames without keeping large bodies in memory, writing frames whole. What must not: meaning.
"""

from __future__ import annotations

from dasctl.remote import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

PIECE = (
    256 << 10
)  # bytes read at a time of a body: they stay in the processor's cache while they are hashed and written
WHOLE = 2 << 20  # bytes of a body that is read at once, where it is wanted as a whole


class Gone(Exception):
    """The other end is gone, in the middle of something."""


class Link:
    """Frames over two streams. `send` may be called by several threads."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer
        self._left = 0  # bytes of the current body that were not read
        self.sending = False  # in the middle of a frame

    def header(self) -> dict[str, Any] | None:
        """The next frame's header, without what was left of the last one's body; None at the end of the stream.

        `size` stays in it for `body` and `pieces`. Raises frames.FrameError, Gone.
        """
        self.skip()
        line = self._reader.readline(frames.MAX_HEADER + 1)
        if not line:
            return None
        if not line.endswith(b"\n"):
            if len(line) > frames.MAX_HEADER:
                raise frames.FrameError("a header line of more than %d bytes" % frames.MAX_HEADER)
            raise Gone
        header, self._left = frames.parse_header(line)
        return header

    def pieces(self) -> Iterator[bytes]:
        """The body of the current frame, piece by piece."""
        while self._left:
            piece = self._reader.read(min(self._left, PIECE))
            if not piece:
                raise Gone
            self._left -= len(piece)
            yield piece

    def body(self) -> bytes:
        """The body of the current frame as a whole."""
        if not self._left:
            return b""
        data = self._reader.read(min(self._left, WHOLE))
        if not data:
            raise Gone
        self._left -= len(data)
        return b"".join([data, *self.pieces()]) if self._left else data

    def left(self) -> int:
        """Bytes of the current body that were not read."""
        return self._left

    def skip(self) -> None:
        """Drop what is left of the current body."""
        for _piece in self.pieces():
            pass

    def read_ahead(self, found: Callable[..., Any]) -> tuple[dict[str, Any], bytes]:
        """The next frame with modules, which `found` looks for; what comes before it is read again afterwards."""
        header, body, self._reader = found(self._reader, self._left, lambda header: True)
        return header, body

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """One frame, at once."""
        self.sending = True
        try:
            self._writer.write(frames.encode(header, body))
            self._writer.flush()
        except (OSError, ValueError):
            raise Gone from None
        finally:
            self.sending = False

    def gone(self) -> bool:
        """Whether the other end has closed its side. Never waits; a stream in memory is never gone."""
        import select

        try:
            handle = self._reader.fileno()
        except (AttributeError, OSError, ValueError):
            return False
        ready = select.select([handle], [], [], 0)[0]
        peek = getattr(self._reader, "peek", None)
        return bool(ready) and peek is not None and not peek(1)
