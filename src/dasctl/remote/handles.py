"""Folders by handles: every path is walked one name at a time, and no step follows a symbolic link.

What lives here: opening folders below a root, and reading and hashing files in them. What must not: changing anything
(`disk.py`), decisions.
"""

from __future__ import annotations

import sys

from dasctl.remote.system import os, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a fifo that somebody put in a file's place must not hold us up.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
MOST_OPEN = 64  # handles kept at a time: deep trees must not meet the limit of 1024 open files
PIECE = 1 << 20  # bytes read at a time


class NotAFile(OSError):
    """What should be a regular file is something else."""


class Handles:
    """Handles of folders below `root` (a handle of which the caller is the owner), kept while they are of use."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._open: dict[bytes, int] = {}

    def folder(self, path: bytes) -> int:
        """The handle of the folder at `path` (b"" is the root), valid until the next call. Raises OSError: ENOTDIR or
        ELOOP where a step is a symbolic link."""
        if not path:
            return self.root
        known = self._open.get(path)
        if known is not None:
            return known
        start, handle = self._nearest(path)
        while start < len(path):
            end = path.find(b"/", start)
            if end < 0:
                end = len(path)
            handle = self._keep(path[:end], os.open(path[start:end], FOLDER, dir_fd=handle))
            start = end + 1
        return handle

    def parent(self, path: bytes) -> tuple[int, bytes]:
        """The handle of the folder that holds `path`, and the last name of `path`."""
        folder, _, name = path.rpartition(b"/")
        return self.folder(folder), name

    def forget(self) -> None:
        """Close all handles but the root's: folders have been made, moved or removed."""
        for handle in self._open.values():
            os.close(handle)
        self._open.clear()

    def drop(self, path: bytes) -> None:
        """Close the handle of the folder at `path`, of which nothing below is open: it is about to go."""
        handle = self._open.pop(path, None)
        if handle is not None:
            os.close(handle)

    def _nearest(self, path: bytes) -> tuple[int, int]:
        end = path.rfind(b"/")
        while end > 0:
            known = self._open.get(path[:end])
            if known is not None:
                return end + 1, known
            end = path.rfind(b"/", 0, end)
        return 0, self.root

    def _keep(self, path: bytes, handle: int) -> int:
        if len(self._open) >= MOST_OPEN:
            os.close(self._open.pop(next(iter(self._open))))
        self._open[path] = handle
        return handle


def names(handles: Handles, path: bytes) -> list[bytes]:
    """What the folder at `path` holds, in no order."""
    encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    return [name.encode(encoding, errors) for name in os.listdir(handles.folder(path))]


def lstat(handles: Handles, path: bytes) -> os.stat_result | None:
    """What is at `path`, or None where nothing is, or a step of the path is not a folder."""
    try:
        folder, name = handles.parent(path)
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if absent(error):
            return None
        raise


def absent(error: OSError) -> bool:
    """Whether `error` says that there is nothing at a path: not there, or below something that is not a folder."""
    import errno

    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def open_file(handles: Handles, path: bytes) -> int:
    """A handle for reading the regular file at `path`; NotAFile for anything else."""
    folder, name = handles.parent(path)
    handle = os.open(name, FILE, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotAFile("not a regular file")
    return handle


def hashed(handles: Handles, path: bytes, take: Callable[[bytes], object] | None = None) -> bytes:
    """The SHA-256 (hex) of the file at `path`; each piece is also given to `take`."""
    import hashlib

    digest = hashlib.sha256()
    handle = open_file(handles, path)
    try:
        for piece in pieces(handle):
            digest.update(piece)
            if take is not None:
                take(piece)
        return digest.hexdigest().encode()
    finally:
        os.close(handle)


def pieces(handle: int) -> Iterator[bytes]:
    """What is behind an open handle, piece by piece to the end of the file."""
    while True:
        piece = os.read(handle, PIECE)
        if not piece:
            return
        yield piece


def contents(handles: Handles, path: bytes, limit: int) -> bytes | None:
    """The bytes of a small file, at most `limit`; None where it is not there."""
    try:
        handle = open_file(handles, path)
    except OSError as error:
        if absent(error):
            return None
        raise
    try:
        pieces, room = [], os.fstat(handle).st_size + 1  # more room would be cleared for nothing
        while limit > 0:
            piece = os.read(handle, min(limit, room, 1 << 24))
            if not piece:
                break
            pieces.append(piece)
            limit -= len(piece)
        return b"".join(pieces)
    finally:
        os.close(handle)
