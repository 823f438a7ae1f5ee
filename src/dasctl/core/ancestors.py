"""Ancestors: which old content a new one was probably made of, so that it can travel as a delta.

What lives here: the guess, from two states of one part. What must not: contents. A wrong guess costs time alone: a delta
that is not worth it is not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dasctl.remote.manifest import trimmed

SMALLEST = 16 << 10  # bytes: below, looking for deltas and keeping them costs more than they save
ALIKE = 3  # letters that names of old and new have in common at least: app-1.2.war, app-1.3.war
MOST_CANDIDATES = (
    100  # per folder and suffix: hashed names of a whole site are no reason to compare all with all
)


@dataclass(frozen=True, slots=True)
class _File:
    path: bytes
    size: int
    digest: bytes


def ancestors(base: bytes, wanted: bytes, new: Iterable[str]) -> dict[str, str]:
    """For contents among `new`, the SHA-256 of the content in `base` that each was probably made of.

    `base` and `wanted` are canonical bytes of a part. The same path comes first; then a removed file of the same folder
    with the same suffix and a similar name.
    """
    fresh = {digest.encode() for digest in new}
    start, base_end, end = trimmed(base, wanted)
    old_lines, new_lines = set(base[start:base_end].split(b"\0")), set(wanted[start:end].split(b"\0"))
    before = {file.path: file for file in _files(old_lines - new_lines)}
    after = [file for file in _files(new_lines - old_lines) if file.digest in fresh]
    kept = {text.split(b" ", 5)[5] for text in new_lines - old_lines if text}
    removed = _by_place(file for path, file in before.items() if path not in kept)
    found: dict[str, str] = {}
    for file in sorted(after, key=lambda file: file.path):
        old = before.get(file.path) or _similar(file, removed)
        if old is not None and old.digest != file.digest:
            found.setdefault(file.digest.decode(), old.digest.decode())
    return found


def _files(lines: Iterable[bytes]) -> Iterable[_File]:
    """The files among `lines` that are large enough for a delta."""
    for text in lines:
        if text[:1] == b"f":
            _, _, size, _, digest, path = text.split(b" ", 5)
            if int(size) >= SMALLEST:
                yield _File(path, int(size), digest)


def _place(path: bytes) -> tuple[bytes, bytes]:
    """Folder and suffix."""
    folder, _, name = path.rpartition(b"/")
    stem, dot, suffix = name.rpartition(b".")
    return folder, suffix if dot and stem else b""


def _by_place(files: Iterable[_File]) -> dict[tuple[bytes, bytes], list[_File]]:
    places: dict[tuple[bytes, bytes], list[_File]] = {}
    for file in sorted(files, key=lambda file: file.path):
        places.setdefault(_place(file.path), []).append(file)
    return places


def _similar(file: _File, removed: Mapping[tuple[bytes, bytes], list[_File]]) -> _File | None:
    """The removed file whose name is most like that of `file`: the longest beginning in common, then the nearest size."""
    candidates = removed.get(_place(file.path), [])[:MOST_CANDIDATES]
    name = file.path.rpartition(b"/")[2]

    def likeness(other: _File) -> tuple[int, int]:
        return _in_common(name, other.path.rpartition(b"/")[2]), -abs(other.size - file.size)

    best = max(candidates, key=likeness, default=None)
    return best if best is not None and likeness(best)[0] >= ALIKE else None


def _in_common(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)
