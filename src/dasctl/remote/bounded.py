"""Output of which the beginning and the end are kept, however much there is.

What lives here: keeping and counting. What must not: where the bytes come from.
"""

from __future__ import annotations

MARK = "[... %d bytes are not shown here ...]"


class Bounded:
    """At most `most` bytes of all that is added: half from the beginning, half from the end."""

    def __init__(self, most: int) -> None:
        self._room = most - most // 2
        self._last = most // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0

    def add(self, data: bytes) -> None:
        self._size += len(data)
        take = self._room - len(self._head)
        if take > 0:
            self._head += data[:take]
            data = data[take:]
        self._tail += data
        if len(self._tail) > 2 * self._last + (1 << 16):  # seldom: moving bytes costs
            del self._tail[: len(self._tail) - self._last]

    def pieces(self) -> tuple[bytes, int, bytes]:
        """What is kept, and how many bytes are missing between the two; cut at the ends of lines where there are any."""
        head, tail = bytes(self._head), bytes(self._tail)
        if len(head) + len(tail) == self._size and len(tail) <= self._last:
            return head + tail, 0, b""
        tail = tail[len(tail) - self._last :]
        end, start = head.rfind(b"\n") + 1, tail.find(b"\n") + 1
        head, tail = head[: end or len(head)], tail[start if start < len(tail) else 0 :]
        return head, self._size - len(head) - len(tail), tail

    def text(self) -> tuple[str, int]:
        """What is kept as text, with a line that tells where bytes are missing; and how many they are."""
        head, missing, tail = self.pieces()
        shown = head.decode("utf-8", "surrogateescape")
        if not missing:
            return shown, 0
        if shown and not shown.endswith("\n"):
            shown += "\n"
        return shown + MARK % missing + "\n" + tail.decode("utf-8", "surrogateescape"), missing
