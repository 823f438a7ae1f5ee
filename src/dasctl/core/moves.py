"""Changes of the repository's files as values: what is put where, and what must hold before anything moves.

What lives here: the shapes, and whether they can be carried out in any order. What must not: files (`adapters/working.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dasctl.remote import paths
from dasctl.remote.manifest import order
from dasctl.remote.paths import printable

MAKING = (
    b".dasctl/making"  # below the domain's folder: what is being made, and the journal of what is being put
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The file, folder or link at `staged` becomes what is at `to` (below the domain's folder); None: nothing is there then.

    A staged folder keeps its mode and its modtime.
    """

    to: bytes
    staged: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """What is at `path` gets this mode and this modtime (ns), once everything else is done; None leaves what is there."""

    path: bytes
    mode: int | None = None
    mtime: int | None = None


def check(moves: Sequence[Move], touches: Sequence[Touch] = ()) -> None:
    """Raises PathError where a path is not one below the domain's folder, and ValueError where a move is within another.

    Moves that keep out of each other's way can be made again, after a kill at any of them.
    """
    for path in (*(move.to for move in moves), *(touch.path for touch in touches)):
        paths.check(path)
        if is_within(path, MAKING) or is_within(MAKING, path):
            raise paths.PathError(f"not a place for the repository's files: {printable(path)!r}")
    before: bytes | None = None
    for path in sorted((move.to for move in moves), key=order):
        if before is not None and is_within(path, before):
            raise ValueError(f"{printable(path)!r} is put into {printable(before)!r}, which is moved as well")
        before = path


def is_within(path: bytes, folder: bytes) -> bool:
    """Whether `path` is `folder`, or lies in it."""
    return path == folder or path.startswith(folder + b"/")


def folders_above(all_paths: Iterable[bytes]) -> list[bytes]:
    """All folders on the way to these paths, the highest first."""
    found: set[bytes] = set()
    for path in all_paths:
        names = path.split(b"/")
        found.update(b"/".join(names[:end]) for end in range(1, len(names)))
    return sorted(found, key=order)
