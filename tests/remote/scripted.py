"""A conversation with the helper in which each request is made up when the answer to the one before it is known."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

from tests.remote.conversation import nothing, spoken

from dasctl.remote import main

# Is given the replies so far; what it does in passing happens while the helper waits.
Step = Callable[[list[dict[str, Any]]], bytes]


class _Reader(io.RawIOBase):
    def __init__(self, steps: Sequence[bytes | Step], out: io.BytesIO) -> None:
        self._steps = list(steps)
        self._out = out
        self._data = io.BytesIO()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._data.read(len(buffer))
        while not data and self._steps:
            step = self._steps.pop(0)
            self._data = io.BytesIO(step if isinstance(step, bytes) else step(replies(self._out)))
            data = self._data.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def replies(out: io.BytesIO) -> list[dict[str, Any]]:
    return [header for header, _body in spoken(out.getvalue()) if "reply" in header]


def conversed(*steps: bytes | Step, before: Callable[[str], None] = nothing) -> list[dict[str, Any]]:
    """All replies of the conversation, which ends after the last step."""
    out = io.BytesIO()
    main.main(io.BufferedReader(_Reader(steps, out)), out, before)
    return replies(out)


def meanwhile(do: Callable[[], object], request: bytes = b"") -> Step:
    """Do something while the helper waits, then send `request`."""

    def step(_replies: list[dict[str, Any]]) -> bytes:
        do()
        return request

    return step
