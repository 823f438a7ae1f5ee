"""Values that pass between operations and the outside world, through the ports.

What lives here: plain values without behaviour. What must not: protocols (`operations/ports.py`), anything that waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dasctl.core.slices import Part  # of use to few commands


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The last frame of an answer. `body` is what followed its header."""

    header: dict[str, Any]
    body: bytes = b""


PIECE = 256 << 10  # bytes of a content in each of its pieces but the last: so pieces begin at multiples of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of a content as it is kept and sent: `raw` bytes unpacked; `data` is a zlib stream where `packed`."""

    raw: int
    data: bytes
    packed: bool


class CutOff(bytes):
    """Encoded frames of which the last one goes on in what is sent next: nothing else may come between."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """A bundle as it was written: `size` in bytes, the file's SHA-256; `runs`: every python3 runs it by itself."""

    size: int
    sha256: str
    runs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A file that was copied: its SHA-256 (hex), and its `size` in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What came out of an archive: `files` with folders and links, `bytes` of contents."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRelease:
    """A release of software that is about to be installed. `folder`: what is to be kept on the DAS, staged; `contents`:
    SHA-256 to the file below the domain's folder that holds it now; `stripped`: the folder that all lay in, "" for none.
    """

    version: str
    archive: str
    part: Part
    contents: Mapping[str, bytes]
    folder: Path
    stripped: str
    files: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """The host key that a node shows: `kind` is `ssh-ed25519` …, `fingerprint` is `SHA256:…`."""

    kind: str
    fingerprint: str
    known: bool  # it was known before this command


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Progress of one node or instance, or of the DAS itself, for the live view. `phase` is one of the words in `PHASES`."""

    phase: str
    instance: str | None = None
    node: str | None = None
    sent: int = 0  # bytes that travel, as they travel
    total: int = 0  # bytes, 0 where unknown
    files: int = 0  # contents that went out whole
    files_total: int = 0
    text: str = ""


PHASES = (
    "copying",
    "packing",
    "unpacking",
    "keeping",
    "writing",
    "reading",
    "waiting",
    "connecting",
    "preparing",
    "comparing",
    "sending",
    "committing",
    "draining",
    "starting",
    "stopping",
    "running",
    "collecting",
    "ready",
    "undraining",
    "done",
    "failed",
    "skipped",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who runs the command, for the history and the lock.

    `files`: paths of files that were carried here for this command, and how whoever typed it called them.
    """

    user: str
    host: str
    command: str
    files: Mapping[str, str] = field(default_factory=dict)
