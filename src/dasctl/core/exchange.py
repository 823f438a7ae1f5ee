"""Values that pass between operations and the outside world, through the ports.

What lives here: plain values without behaviour. What must not: protocols (`operations/ports.py`), anything that waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The last frame of an answer. `body` is what followed its header."""

    header: dict[str, Any]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of a content as it is kept and sent: `raw` bytes unpacked; `data` is a zlib stream where `packed`."""

    raw: int
    data: bytes
    packed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """The host key that a node shows: `kind` is `ssh-ed25519` …, `fingerprint` is `SHA256:…`."""
@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """A bundle as it was written: `size` in bytes, the file's SHA-256; `runs`: every python3 runs it by itself."""

    size: int
    sha256: str
    runs: bool



    kind: str
    fingerprint: str
    known: bool  # it was known before this command


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Progress of one node or instance, for the live view. `phase` is one of the words in `PHASES`."""

    phase: str
    instance: str | None = None
    node: str | None = None
    sent: int = 0  # bytes
    total: int = 0  # bytes, 0 where unknown
    text: str = ""


PHASES = (
    "connecting",
    "comparing",
    "sending",
    "committing",
    "starting",
    "stopping",
    "ready",
    "done",
    "failed",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who runs the command, for the history and the lock."""

    user: str
    host: str
    command: str
