"""A folder that is somebody else's (/usr/lib/jvm/…) and is used as it is: one digest over all that is in it. Read only.

What lives here: walking and hashing it, in little memory however much it holds, and remembering the answer while nothing has
changed. What must not: judging whether the answer is the right one; the DAS does that.

The digest says the same on two nodes that installed the same package: names, kinds, modes, sizes, contents, and where links
point to, which may be anywhere, and are not followed. Modtimes do not count: a package manager gives folders their own.
"""

from __future__ import annotations

import json
import os
import stat

from dasctl.remote import handles as by_handle
from dasctl.remote import manifest, state, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Reply = dict[str, Any]

REMEMBERED = state.DOT + b"/folders.json"
MOST_ENTRIES = 1_000_000  # of a folder: somebody named the wrong one
MOST_REMEMBERED = 1 << 20  # bytes of the file


class Walk:
    """One walk in canonical order. `stamp`: a digest that changes when anything has; `files` and `bytes` that were met."""

    def __init__(self, root: int) -> None:
        self.handles = by_handle.Handles(root)
        self.files = self.bytes = self._entries = 0

    def entries(self) -> Iterator[tuple[bytes, os.stat_result]]:
        """(path, stat) of all, a folder before what is in it. Raises OSError; state.Failure where there are too many."""
        pending = [(b"", iter(self._listed(b"")))]
        while pending:
            above, names = pending[-1]
            for name in names:
                path = above + b"/" + name if above else name
                status = by_handle.lstat(self.handles, path)
                if status is None:
                    continue
                self._count(status)
                yield path, status
                if stat.S_ISDIR(status.st_mode):
                    pending.append((path, iter(self._listed(path))))
                    break
            else:
                pending.pop()

    def _listed(self, path: bytes) -> list[bytes]:
        return sorted(os.fsencode(name) for name in os.listdir(self.handles.folder(path)))

    def _count(self, status: os.stat_result) -> None:
        self._entries += 1
        if self._entries > MOST_ENTRIES:
            raise state.Failure(
                "more than %d files and folders" % MOST_ENTRIES, "name the folder of the software alone"
            )
        if stat.S_ISREG(status.st_mode):
            self.files += 1
            self.bytes += status.st_size


def told(folder: str, node: str) -> Reply:
    """What is said of the folder: its digest, or why there is none."""
    reply: Reply = {"folder": folder, "digest": None, "files": 0, "bytes": 0, "message": ""}
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        return {**reply, "message": error.strerror or str(error)}
    try:
        walk = Walk(root)
        stamp = _stamp(walk)
        reply.update(files=walk.files, bytes=walk.bytes)
        remembered = _remembered(node)
        if remembered.get(folder, [None])[0] == stamp:
            reply["digest"] = remembered[folder][1]
        else:
            reply["digest"] = _digest(Walk(root))
            _remember(node, {**remembered, folder: [stamp, reply["digest"]]})
    except OSError as error:
        where = "%s: " % error.filename if error.filename else ""
        reply["message"] = where + (error.strerror or str(error))
    except state.Failure as failure:
        reply["message"] = failure.message
    finally:
        os.close(root)
    return reply


def _stamp(walk: Walk) -> str:
    import hashlib

    seen = hashlib.sha256()
    for path, status in walk.entries():
        seen.update(
            b"%d %d %d %d %d %d %s\0"
            % (
                status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
                path,
            )
        )  # fmt: skip
    walk.handles.forget()
    return seen.hexdigest()


def _digest(walk: Walk) -> str:
    import hashlib

    seen = hashlib.sha256()
    for path, status in walk.entries():
        seen.update(_line(walk.handles, path, status) + b"\0")
    walk.handles.forget()
    return seen.hexdigest()


def _line(handles: by_handle.Handles, path: bytes, status: os.stat_result) -> bytes:
    """The line of a manifest, without modtime."""
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISREG(status.st_mode):
        content = by_handle.hashed(handles, path)
        return manifest.line(manifest.Entry(path, words.FILE, mode, status.st_size, 0, content))
    if stat.S_ISDIR(status.st_mode):
        return manifest.line(manifest.Entry(path, words.FOLDER, mode, 0, 0, b"-"))
    if stat.S_ISLNK(status.st_mode):
        folder, name = handles.parent(path)
        target = os.readlink(name, dir_fd=folder)
        return manifest.line(manifest.Entry(path, words.LINK, 0o777, 0, 0, target))
    return b"o %o %s" % (mode, path)


def _remembered(node: str) -> dict[str, list[Any]]:
    """Folder to [stamp, digest]; a cache, so whatever is wrong with it counts as nothing."""
    place = _place(node)
    if place is None:
        return {}
    try:
        known = json.loads(by_handle.contents(place.handles, REMEMBERED, MOST_REMEMBERED) or b"{}")
        return {key: value for key, value in known.items() if isinstance(value, list) and len(value) == 2}
    except (OSError, ValueError, AttributeError):
        return {}
    finally:
        place.close()


def _remember(node: str, known: dict[str, list[Any]]) -> None:
    place = _place(node)
    if place is None:
        return  # nothing of ours is there yet
    try:
        place.disk.write(REMEMBERED, json.dumps(known).encode("ascii"), lasting=False)
    except OSError:
        pass  # the next look reads all again
    finally:
        place.close()


def _place(node: str) -> state.Place | None:
    try:
        return state.open_place(node, words.SOFTWARE, create=False)
    except state.Failure:
        return None
