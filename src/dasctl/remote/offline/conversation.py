"""A conversation with the helper of this process, as a DAS has it: the same frames, the same guard, the same commit.

What lives here: requests out, replies in, over a pair of sockets with the helper's `main` in a thread at the other end.
What must not: what is asked.
"""

from __future__ import annotations

import json
import socket
import threading

from dasctl.remote import frames, words
from dasctl.remote.main import main

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Header = dict[str, Any]

BATCH = 1 << 18  # bytes of frames that are written at once


class HelperEnded(Exception):
    """The helper ended in the middle, or refused the request as a whole; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Conversation:
    """One request at a time; `close` ends the helper, and waits for it."""

    def __init__(self, before: Callable[[str], None] = lambda operation: None) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._reader = ours.makefile("rb")
        self._writer = ours.makefile("wb", BATCH)
        self._thread = threading.Thread(target=_serve, args=(theirs, before), daemon=True)
        self._thread.start()
        while self._line() != words.MARKER + b"\n":
            pass
        self._frame()  # the greeting

    def ask(self, header: Header, body: bytes = b"", then: Iterable[bytes] = ()) -> Header:
        """Send a request with what follows it; its reply. Raises HelperEnded."""
        try:
            self._writer.write(frames.encode(header, body))
            for data in then:
                self._writer.write(data)
            self._writer.flush()
        except OSError:
            pass  # the reply says why, or there is none
        while True:
            reply = self._frame()
            if "reply" in reply:
                break
        if reply["reply"] == "error":
            raise HelperEnded(str(reply.get("message")), str(reply.get("hint", "")))
        return reply

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
            self._thread.join()
        except OSError:
            pass
        for stream in (self._reader, self._writer, self._socket):
            try:
                stream.close()
            except OSError:
                pass

    def _line(self) -> bytes:
        try:
            line = self._reader.readline(frames.MAX_HEADER + 1)
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise HelperEnded("the helper ended before it had answered", "run the command again")
        return line

    def _frame(self) -> Header:
        header: Header = json.loads(self._line())
        self._reader.read(header.get("size", 0))
        return header


def _serve(sock: socket.socket, before: Callable[[str], None]) -> None:
    with sock, sock.makefile("rb") as reader:
        writer = sock.makefile("wb")
        try:
            main(reader, writer, before)
        finally:
            try:
                writer.close()
            except OSError:
                pass
