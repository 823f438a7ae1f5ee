"""The files below `local/`: they win over synchronised ones at the same path, by a copy.

What lives here: finding them, and laying them over what is wanted. What must not: making the copies (`sync.py`).
"""

from __future__ import annotations

from dasctl.remote import manifest, paths, tree, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import Any

    from dasctl.remote import state

LOCAL = b"local/"
AREAS = [LOCAL + area.encode() for area in words.AREAS]


class Overlay:
    """lines: target path to line of a local entry; hidden: wanted paths below a local file that stands for a folder."""

    def __init__(self) -> None:
        self.lines: dict[bytes, bytes] = {}
        self.hidden: list[bytes] = []
        self.others: dict[bytes, bytes] = {}  # those of before that the request is not about
        self.problems: list[tuple[bytes, str]] = []

    def files(self) -> list[bytes]:
        """The paths that are overridden, folders left out."""
        return [path for path, line in self.lines.items() if line[:1] != b"d"]

    def over(self, wanted: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """`wanted` with the local entries laid over it."""
        self.hidden = []
        for path, line in {**self.others, **self.lines}.items():
            if not line:
                wanted.pop(path, None)
            elif line[:1] == b"d":
                if wanted.get(path, b"")[:1] != b"d":
                    wanted[path] = line
                else:
                    self.lines.pop(path, None)
            else:
                if wanted.get(path, b"")[:1] == b"d":
                    below = path + b"/"
                    self.hidden += [other for other in wanted if other.startswith(below)]
                wanted[path] = line
        for path in self.hidden:
            if path not in self.lines:
                wanted.pop(path, None)
        return wanted

    def exceptions(self, kept: state.Kept) -> dict[str, dict[str, Any]]:
        """What the manifest on the node remembers of this."""
        lines: dict[bytes, bytes] = {**self.others, **dict.fromkeys(self.hidden, b""), **self.lines}
        return {
            paths.printable(path): {
                "kind": words.OVERRIDDEN,
                "entry": paths.printable(line) if line else None,
            }
            for path, line in lines.items()
        }


def look(
    place: state.Place,
    kept: state.Kept,
    digests: tree.Digests | None,
    read_all: bool,
    matches: Callable[[bytes], bool] | None,
) -> Overlay:
    """The overlay as it is on disk. Files are read where their copy's size, mode or modtime is another one."""
    assert digests is not None
    found = Overlay()
    before = kept.overridden() if kept.exceptions else {}
    if matches is not None:
        found.others = {path: line for path, line in before.items() if not matches(path)}
    seen = tree.walk(place.handles, AREAS, {})
    found.problems = seen.problems
    for path in sorted(seen.other, key=manifest.order):
        entry, target = seen.other[path], path[len(LOCAL) :]
        if matches is not None and not matches(target):
            continue
        if entry.kind == tree.OTHER:
            found.problems.append((path, "neither a file, a folder nor a symbolic link: left out"))
            continue
        entry = entry._replace(path=target)
        if entry.kind == "f":
            line = before.get(target)
            if not read_all and line and tree.matches(entry, line):
                found.lines[target] = line
                continue
            try:
                entry = entry._replace(digest=digests.of(path, _status(place, path)))
            except OSError as error:
                found.problems.append((path, error.strerror or str(error)))
                if line:
                    found.lines[target] = line  # it still wins, as what it was when it could be read
                continue
        found.lines[target] = manifest.line(entry)
    if seen.unseen:
        _remember(found, before, [path[len(LOCAL) :] for path in seen.unseen], matches)
    return found


def _remember(
    found: Overlay,
    before: dict[bytes, bytes],
    unseen: list[bytes],
    matches: Callable[[bytes], bool] | None,
) -> None:
    """What was in folders that cannot be looked into is taken to be there still."""
    below = tuple(path + b"/" for path in unseen)
    for path, line in before.items():
        if line and path.startswith(below) and (matches is None or matches(path)):
            found.lines[path] = line
    found.lines = {path: found.lines[path] for path in sorted(found.lines, key=manifest.order)}


def _status(place: state.Place, path: bytes) -> os.stat_result:
    from dasctl.remote import handles

    status = handles.lstat(place.handles, path)
    if status is None:
        raise FileNotFoundError(2, "it went away while it was looked at")
    return status
