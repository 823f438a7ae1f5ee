"""Frames: one JSON header line, and `size` raw bytes after it.

What lives here: encoding, and a decoder that is fed bytes and does no I/O. What must not: sockets, pipes, meaning.
A header is an object; `size` (bytes that follow, 0 where absent) is the only key that this file knows.
"""

from __future__ import annotations

from dasctl.remote import quick_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Header = dict[str, Any]

MAX_HEADER = 1 << 26  # bytes: the digests or changes of some 100,000 files fit, a runaway peer does not
MAX_BODY = 1 << 30  # bytes of one frame; contents travel in pieces far below


class FrameError(Exception):
    """The bytes are not a frame."""


def encode(header: Header, body: bytes = b"") -> bytes:
    """One frame as bytes. `header` must not hold `size`: it is set from `body`."""
    if body:
        header = dict(header, size=len(body))
    return quick_json.dumps(header).encode("ascii") + b"\n" + body


class Decoder:
    """Feed bytes in any cuts, take frames out: `feed(data)` returns a list of (header, body).

    Raises FrameError, after which the decoder must not be used again.
    """

    def __init__(self, largest: int = MAX_BODY, longest: int = MAX_HEADER) -> None:
        self._largest = largest  # bytes of one body
        self._longest = longest  # bytes of one header line
        self._buffer = bytearray()
        self._header: Header | None = None
        self._size = 0

    def feed(self, data: bytes) -> list[tuple[Header, bytes]]:
        self._buffer += data
        frames: list[tuple[Header, bytes]] = []
        while True:
            frame = self._next()
            if frame is None:
                return frames
            frames.append(frame)

    def pending(self) -> bool:
        """True in the middle of a frame: an end of the stream here is a cut."""
        return bool(self._buffer) or self._header is not None

    def _next(self) -> tuple[Header, bytes] | None:
        if self._header is None:
            end = self._buffer.find(b"\n", 0, self._longest + 1)
            if end < 0:
                if len(self._buffer) > self._longest:
                    raise FrameError("a header line of more than %d bytes" % self._longest)
                return None
            self._header, self._size = parse_header(bytes(self._buffer[:end]))
            if self._size > self._largest:
                raise FrameError("a body of %d bytes" % self._size)
            del self._buffer[: end + 1]
        if len(self._buffer) < self._size:
            return None
        frame = (self._header, bytes(self._buffer[: self._size]))
        del self._buffer[: self._size]
        self._header = None
        return frame


def parse_header(line: bytes) -> tuple[Header, int]:
    """(header, size) of one header line without its newline."""
    try:
        header = quick_json.loads(line)
    except (ValueError, RecursionError):
        raise FrameError("a header that is not JSON: %r" % line[:80]) from None
    if not isinstance(header, dict):
        raise FrameError("a header that is not an object: %r" % line[:80])
    size = header.pop("size", 0)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_BODY:
        raise FrameError("a size that is out of range: %r" % (size,))
    return header, size
