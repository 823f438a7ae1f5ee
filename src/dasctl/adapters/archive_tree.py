"""Folders that archives are unpacked into, and packed from: the file system's half.

What lives here: making files, folders and links, their modes and modtimes; walking a folder to be packed. What must not:
what is allowed (`core/archives.py`), the archives' own words.
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH101, PTH102, PTH115, PTH208, PTH211

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dasctl.core.archives import file_mode, folder_mode

PIECE = 1 << 18  # bytes
FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
DEFAULT_FOLDER = 0o755


@dataclass(slots=True)
class _Folder:
    """A folder that was made: `mtime` None is not known, `newest` the modtime of what is newest in it."""

    mode: int = DEFAULT_FOLDER
    mtime: int | None = None
    newest: int | None = None


@dataclass(kw_only=True)
class Growing:
    """The folder `root`, which is there and empty, while it is filled. Paths are below it; the caller has judged them.

    Everything raises OSError. What an archive says nothing of follows from the archive: a folder that it does not name has
    the modtime of what is newest in it, so that the same archive always makes the same tree.
    """

    root: bytes
    _folders: dict[bytes, _Folder] = field(default_factory=lambda: {b"": _Folder()})

    def folder(self, path: bytes, mode: int, mtime: int) -> None:
        made = self._made(path)
        made.mode, made.mtime = folder_mode(mode), mtime
        if path:
            self._note(path, mtime)

    def file(self, path: bytes, pieces: Iterable[bytes], mode: int, mtime: int) -> None:
        self._parent(path, mtime)
        handle = os.open(self._place(path), FRESH, 0o600)
        try:
            for piece in pieces:
                _write(handle, piece)
            os.fchmod(handle, file_mode(mode))
            os.utime(handle, ns=(mtime, mtime))
        finally:
            os.close(handle)

    def link(self, path: bytes, target: bytes, mtime: int) -> None:
        self._parent(path, mtime)
        os.symlink(target, self._place(path))
        os.utime(self._place(path), ns=(mtime, mtime), follow_symlinks=False)

    def read(self, path: bytes) -> Iterator[bytes]:
        """The content of a file that was made before."""
        handle = os.open(self._place(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while piece := os.read(handle, PIECE):
                yield piece
        finally:
            os.close(handle)

    def finish(self) -> None:
        """Set the folders' modes and modtimes, the deepest first: whatever is made in a folder changes them."""
        for path in sorted(self._folders, key=lambda path: path.count(b"/") + bool(path), reverse=True):
            made = self._folders[path]
            mtime = made.mtime if made.mtime is not None else made.newest
            if path and made.mtime is None and mtime is not None:
                self._note(path, mtime)
            os.chmod(self._place(path), made.mode)
            if mtime is not None:
                os.utime(self._place(path), ns=(mtime, mtime))

    def _place(self, path: bytes) -> bytes:
        return self.root + b"/" + path if path else self.root

    def _parent(self, path: bytes, mtime: int) -> None:
        self._made(path.rpartition(b"/")[0])
        self._note(path, mtime)

    def _note(self, path: bytes, mtime: int) -> None:
        above = self._folders[path.rpartition(b"/")[0]]
        above.newest = mtime if above.newest is None else max(above.newest, mtime)

    def _made(self, path: bytes) -> _Folder:
        """The folder at `path`, made with those above it."""
        missing = []
        while path not in self._folders:
            missing.append(path)
            path = path.rpartition(b"/")[0]
        for folder in reversed(missing):
            os.mkdir(self._place(folder), 0o700)
            self._folders[folder] = _Folder()
            path = folder
        return self._folders[path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Something in a folder that is packed: its path below it (empty: the folder itself), its stat, a link's target."""

    path: bytes
    seen: os.stat_result
    target: bytes = b""


def walked(root: bytes, path: bytes = b"") -> Iterator[Found]:
    """All that is in the folder `root`, itself first, sorted by names, a folder before what is in it. Raises OSError."""
    stack = [path]
    while stack:
        here = stack.pop()
        place = root + b"/" + here if here else root
        seen = os.lstat(place)
        target = os.readlink(place) if stat.S_ISLNK(seen.st_mode) else b""
        yield Found(path=here, seen=seen, target=target)
        if stat.S_ISDIR(seen.st_mode):
            names = sorted(os.listdir(place), reverse=True)
            stack += [here + b"/" + name if here else name for name in names]


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
