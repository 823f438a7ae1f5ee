"""The actual tree: what is on disk, compared with what is known while it is walked.

What lives here: the walk. It is the hot path of a synchronisation that finds nothing to do: one `fstatat` and one
comparison of bytes per file, and no object for a file that is as it was. What must not: judgement (`compare.py`).
"""

from __future__ import annotations

import sys

from dasctl.remote import handles as by_handle
from dasctl.remote.manifest import Entry
from dasctl.remote.system import os, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

DIGEST = 64  # bytes of a SHA-256 in a line
_ENCODING = (sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())
OTHER = "o"  # a socket, a device, a fifo: never in a manifest


class Seen:
    """What a walk found. `same`: paths that are as known; `other`: entries that differ from what is known, or are not
    known (files without a digest unless they were read); `problems`: (path, message); `shared`: files that have further
    names, somewhere."""

    __slots__ = ("other", "problems", "same", "shared", "unseen")

    def __init__(self) -> None:
        self.same: set[bytes] = set()
        self.other: dict[bytes, Entry] = {}
        self.shared: set[bytes] = set()
        self.problems: list[tuple[bytes, str]] = []
        self.unseen: list[bytes] = []  # folders that could not be listed

    def equals(self, other: Seen) -> bool:
        """Whether another walk found the same."""
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)


def walk(
    handles: by_handle.Handles,
    areas: Iterable[bytes],
    known: Mapping[bytes, bytes],
    digest: Callable[[bytes, os.stat_result], bytes] | None = None,
) -> Seen:
    """Walk `areas` (paths of folders below the root). `known` maps paths to lines of a manifest.

    With `digest` every file is read, and its modtime alone makes no difference to `same`.
    """
    seen = Seen()
    for area in areas:
        status = by_handle.lstat(handles, area)
        if status is not None:
            _note(handles, area, status, known, digest, seen)
            if stat.S_ISDIR(status.st_mode):
                _walk_area(handles, area, known, digest, seen)
    return seen


def is_as_known(
    handles: by_handle.Handles,
    areas: Iterable[bytes],
    parts: Iterable[bytes],
    shared: set[bytes] | None = None,
) -> bool:
    """Whether all that lies in `areas` is what the canonical bytes `parts` say, no more and no less, by kind, mode, size and
    modtime. Half as much work as `walk` and what goes with it; where it is False, `walk` finds out what differs.
    `shared` is given the files that have further names, somewhere.
    """
    # As text, like the names that the system's folders are read with: text is put together faster than bytes.
    texts = [data.decode(*_ENCODING) for data in parts if data]
    expected: list[str] = []
    for text in texts:
        expected += text.split("\0")
        if expected.pop():
            return False  # it is cut off
    lines = iter(expected)
    order = None if all(text.isascii() for text in texts) else _as_bytes
    found: list[str] = []
    try:
        for area in areas:
            status = by_handle.lstat(handles, area)
            if status is not None and not _follows(handles, area, status, lines, order, found):
                return False
    except OSError:
        return False  # it cannot be read, or went away while we looked
    if shared is not None:
        shared.update([_as_bytes(path) for path in found])
    return next(lines, None) is None


def _follows(
    handles: by_handle.Handles,
    area: bytes,
    status: os.stat_result,
    lines: Iterator[str],
    order: Callable[[str], bytes] | None,
    shared: list[str],
) -> bool:
    """Whether a walk through `area` in canonical order meets what the next lines say."""
    if not stat.S_ISDIR(status.st_mode) or next(lines, "") != _line(handles, area, status):
        return False
    pending = [(area, iter(_listed(handles, area, order)))]
    heads: dict[int, str] = {}  # how the line of a file with this mode begins
    while pending:
        path, names = pending[-1]
        tail = " %s/" % path.decode(*_ENCODING)
        size = len(tail)
        for name, status in names:
            line, mode = next(lines, ""), status.st_mode
            head = heads.get(mode)
            if head is None and mode & 0o170000 == 0o100000:
                head = heads[mode] = "f %o " % (mode & 0o7777)
            if head is not None:
                end = -size - len(name)  # the digest stands before it, and is taken as it is
                if (
                    line
                    != f"{head}{status.st_size} {status.st_mtime_ns} {line[end - DIGEST : end]}{tail}{name}"
                ):
                    return False
                if status.st_nlink != 1:
                    shared.append(tail[1:] + name)
                continue
            below = path + b"/" + name.encode(*_ENCODING)
            if line != _line(handles, below, status):
                return False
            if mode & 0o170000 == 0o040000:
                pending.append((below, iter(_listed(handles, below, order))))
                break
        else:
            pending.pop()
    return True


def _listed(
    handles: by_handle.Handles, path: bytes, order: Callable[[str], bytes] | None
) -> list[tuple[str, os.stat_result]]:
    """What a folder holds, in canonical order."""
    found = {item.name: item for item in os.scandir(handles.folder(path))}
    return [(name, found[name].stat(follow_symlinks=False)) for name in sorted(found, key=order)]


def _as_bytes(name: str) -> bytes:
    return name.encode(*_ENCODING)


def _line(handles: by_handle.Handles, path: bytes, status: os.stat_result) -> str:
    from dasctl.remote import manifest

    return manifest.line(entry_of(handles, path, status)).decode(*_ENCODING)


def _walk_area(
    handles: by_handle.Handles,
    area: bytes,
    known: Mapping[bytes, bytes],
    digest: Callable[[bytes, os.stat_result], bytes] | None,
    seen: Seen,
) -> None:
    pending = [area]
    same, get = seen.same.add, known.get
    encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    heads: dict[int, bytes] = {}  # how the line of a file with this mode begins
    while pending:
        path = pending.pop()
        prefix = path + b"/"
        try:
            folder = handles.folder(path)
            entries = list(os.scandir(folder))
        except OSError as error:
            if not by_handle.absent(error):
                seen.problems.append((path, error.strerror or str(error)))
                seen.unseen.append(path)
            continue
        slow = []
        for item in entries:
            try:
                status = item.stat(follow_symlinks=False)
            except OSError as error:
                if by_handle.absent(error):
                    continue  # it went away while we looked
                # A folder with names that may be read and with nothing in it that may be looked at: 0644, by mistake.
                seen.problems.append((prefix[:-1], error.strerror or str(error)))
                seen.unseen.append(prefix[:-1])
                break
            mode = status.st_mode
            path = prefix + item.name.encode(encoding, errors)
            head = heads.get(mode)
            if head is not None:
                line = get(path)
                if line is not None and line.startswith(
                    b"%s%d %d " % (head, status.st_size, status.st_mtime_ns)
                ):
                    same(path)
                    if status.st_nlink != 1:
                        seen.shared.add(path)
                    continue
            elif mode & 0o170000 == 0o040000:
                pending.append(path)
            elif digest is None and mode & 0o170000 == 0o100000:
                heads[mode] = b"f %o " % (mode & 0o7777)
            slow.append((path, status))
        # `_note` may open other folders, after which `folder` is no longer valid.
        for path, status in slow:
            _note(handles, path, status, known, digest, seen)


def _note(
    handles: by_handle.Handles,
    path: bytes,
    status: os.stat_result,
    known: Mapping[bytes, bytes],
    digest: Callable[[bytes, os.stat_result], bytes] | None,
    seen: Seen,
) -> None:
    try:
        entry = entry_of(handles, path, status, digest)
    except OSError as error:
        if by_handle.absent(error):
            return
        # It cannot be read: then size and modtime have to do, or it would be replaced each time.
        entry = _plain(path, status, b"")
        if path not in known or not matches(entry, known[path]):
            seen.problems.append((path, error.strerror or str(error)))
    if entry.kind == "f" and status.st_nlink != 1:
        seen.shared.add(path)
    line = known.get(path)
    if line is not None and matches(entry, line):
        seen.same.add(path)
    else:
        seen.other[path] = entry


def matches(entry: Entry, line: bytes) -> bool:
    """Whether `entry` is what `line` says in all that is known of it."""
    from dasctl.remote import manifest

    if entry.kind == "f" and not entry.digest:
        return line.startswith(b"f %o %d %d " % (entry.mode, entry.size, entry.mtime))
    return manifest.line(entry) == line


def entry_of(
    handles: by_handle.Handles,
    path: bytes,
    status: os.stat_result,
    digest: Callable[[bytes, os.stat_result], bytes] | None = None,
) -> Entry:
    """The entry of what is at `path`; a file's digest is empty where `digest` is None."""
    if stat.S_ISLNK(status.st_mode):
        folder, name = handles.parent(path)
        return _plain(path, status, os.readlink(name, dir_fd=folder))
    if stat.S_ISREG(status.st_mode) and digest is not None:
        return _plain(path, status, digest(path, status))
    return _plain(path, status, b"-" if stat.S_ISDIR(status.st_mode) else b"")


def _plain(path: bytes, status: os.stat_result, digest: bytes) -> Entry:
    mode, mtime = stat.S_IMODE(status.st_mode), status.st_mtime_ns
    if stat.S_ISREG(status.st_mode):
        return Entry(path, "f", mode, status.st_size, mtime, digest)
    if stat.S_ISDIR(status.st_mode):
        return Entry(path, "d", mode, 0, mtime, b"-")
    if stat.S_ISLNK(status.st_mode):
        return Entry(path, "l", 0o777, 0, mtime, digest)
    return Entry(path, OTHER, mode, 0, mtime, b"")


class Digests:
    """Digests of files that were read in this conversation, by what tells that they have not changed since."""

    def __init__(self, handles: by_handle.Handles) -> None:
        self._handles = handles
        self._known: dict[tuple[bytes, int, int, int, int], bytes] = {}

    def of(self, path: bytes, status: os.stat_result) -> bytes:
        """The digest of the file at `path`, which `status` describes. Raises OSError."""
        key = (path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if key not in self._known:
            self._known[key] = by_handle.hashed(self._handles, path)
        return self._known[key]
