"""Making objects of working files: read once, hashed and packed on the way, put in their place by a rename.

What lives here: one file at a time, many side by side, and making them durable. What must not: reading objects, which
are there already.
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH102, PTH105, PTH108, PTH120

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count

from dasctl.adapters import object_form
from dasctl.adapters.durable import sync_file_system, sync_path
from dasctl.adapters.object_form import SAMPLE
from dasctl.adapters.tree_hash import FLAGS
from dasctl.core.areas import DEFINITION
from dasctl.core.exchange import PIECE, Piece
from dasctl.errors import HistoryError, ObjectLost, RepositoryError
from dasctl.remote.paths import printable

WORKERS = min(4, os.cpu_count() or 1)
BATCH = 64  # files that a thread takes at a time
SINGLY = 8  # objects up to this number are synced one by one; more by one sync of the file system
FICLONE = 0x40049409  # ioctl of Linux: share the blocks of another file
MODE = 0o600

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)

_numbers = count()

Stamp = tuple[int, int, int, int, int]


class ObjectMaker:
    """Makes the objects of files below `root` in `folder`. May be used from several threads."""

    def __init__(self, root: bytes, folder: bytes) -> None:
        self._root = root
        self._folder = folder
        self.fresh = folder + b"/new"
        self._sources: dict[
            str, tuple[bytes, Stamp]
        ] = {}  # large contents to the files that they were read from

    def place(self, digest: str) -> bytes:
        """Where the object of this content lies."""
        name = digest.encode("ascii")
        return b"%s/%s/%s" % (self._folder, name[:2], name)

    def make(
        self, wanted: Sequence[tuple[str, bytes]], as_they_are: frozenset[str] = frozenset()
    ) -> dict[str, int | None]:
        """SHA-256 to what its pieces take, or None where the file holds another content by now. Large contents of
        `as_they_are` are not packed.

        When it returns, the objects survive a power cut. Raises HistoryError, RepositoryError.
        """
        with self._translated():
            self._make_folders()
            made = dict(self._side_by_side(wanted, as_they_are))
            self._sync([digest for digest, size in made.items() if size is not None])
        return made

    def snapshot(self, path: bytes, size: int) -> str | None:
        """Keep the first `size` bytes of a file that grows; their SHA-256, or None where it has become shorter."""
        with self._translated():
            self._make_folders()
            source = self._opened(path)
            if source is None:
                return None
            try:
                digest, packed = self._written(source, size, None)
            finally:
                os.close(source)
            if packed is None:
                return None
            self._sync([digest])
        return digest

    def just_read(self, digest: str) -> Iterator[bytes] | None:
        """The bytes of the working file that the object of a large content was made of, where it is as it was by then; they
        end in ObjectLost where it changes meanwhile. None: there is no such file.
        """
        path, stamp = self._sources.get(digest, (b"", None))
        source = self._opened(path) if stamp is not None else None
        if source is None:
            return None
        if _stamp(os.fstat(source)) != stamp:
            os.close(source)
            return None
        return _unchanged(source, stamp)

    def reread(self, path: bytes, digest: str) -> bytes | None:
        """The bytes of a small working file that holds this content; None where it does not, or is large."""
        try:
            source = os.open(self._root + b"/" + path, FLAGS)
            try:
                raw = os.read(source, min(os.fstat(source).st_size, PIECE) + 1)
            finally:
                os.close(source)
        except OSError:
            return None
        return raw if len(raw) <= PIECE and hashlib.sha256(raw).hexdigest() == digest else None

    def _make_folders(self) -> None:
        """One by one: of those on the way, `makedirs` would leave the mode to the umask."""
        for folder in (os.path.dirname(self._folder), self._folder, self.fresh):
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)

    def pack(self, source: int, digest: str) -> int | None:
        """Pack the object behind `source`, which is the content as it is, where it shrinks; what its pieces take then. None
        where it stays as it is: it is packed already, does not shrink, or holds another content.
        """
        size, is_packed = object_form.size_of(source)
        if is_packed or size <= PIECE or not _packs(source, size):
            return None
        with self._translated():
            packed = self._written(source, size, digest)[1]
            if packed is not None:
                self._sync([digest])
        return packed

    def _side_by_side(
        self, wanted: Sequence[tuple[str, bytes]], as_they_are: frozenset[str]
    ) -> Iterable[tuple[str, int | None]]:
        if len(wanted) < BATCH // 4 or WORKERS == 1:
            return self._one_by_one(wanted, as_they_are, threading.Event())
        from concurrent.futures import ThreadPoolExecutor  # few commands make many

        left, stop = _Shared(wanted), threading.Event()
        with ThreadPoolExecutor(WORKERS) as pool:
            try:
                futures = [pool.submit(self._one_by_one, left, as_they_are, stop) for _ in range(WORKERS)]
                return [row for future in futures for row in future.result()]
            finally:
                stop.set()  # one that was interrupted leaves nobody to wait for

    def _one_by_one(
        self, wanted: Iterable[tuple[str, bytes]], as_they_are: frozenset[str], stop: threading.Event
    ) -> list[tuple[str, int | None]]:
        made: list[tuple[str, int | None]] = []
        try:
            for digest, path in wanted:
                if stop.is_set():
                    break
                made.append((digest, self._made(digest, path, as_it_is=digest in as_they_are)))
        except BaseException:
            stop.set()
            raise
        return made

    def _made(self, digest: str, path: bytes, *, as_it_is: bool) -> int | None:
        """What the pieces take; None where the file is gone, or holds another content."""
        source = self._opened(path)
        if source is None:
            return None
        try:
            seen = os.fstat(source)
            if not stat.S_ISREG(seen.st_mode):
                return None
            with _told_of(path):
                raw = os.read(source, min(seen.st_size + 1, PIECE + 1))
            if len(raw) <= PIECE:
                return self._small(digest, raw)
            size = self._written(source, seen.st_size, digest, as_it_is=as_it_is)[1]
            if size is not None:
                self._sources[digest] = path, _stamp(seen)
            return size
        finally:
            os.close(source)

    def _opened(self, path: bytes) -> int | None:
        # Where domain.yaml is a link, its target is what the domain is loaded from.
        flags = FLAGS & ~os.O_NOFOLLOW if path == DEFINITION else FLAGS
        with _told_of(path):
            try:
                return os.open(self._root + b"/" + path, flags)
            except OSError as error:
                if error.errno in _GONE:
                    return None
                raise

    def _small(self, digest: str, raw: bytes) -> int | None:
        """The object of a content that is one piece."""
        if hashlib.sha256(raw).hexdigest() != digest:
            return None
        piece = object_form.packed(raw)
        if piece.packed or raw.startswith(object_form.MARK):
            raw = object_form.head(piece.raw) + object_form.framed(piece)
        with self._beside() as (handle, beside):
            _write(handle, raw)
            self._put(beside, digest)
        return len(piece.data)

    def _written(
        self, source: int, size: int, digest: str | None, *, as_it_is: bool = False
    ) -> tuple[str, int | None]:
        """The digest of the first `size` bytes, and what their object takes; that is None where it is not `digest`."""
        with self._beside() as (handle, beside):
            seen, packed = _copied(source, handle, size, as_it_is=as_it_is)
            if packed is None or digest not in (None, seen):
                os.unlink(beside)
                return seen, None
            self._put(beside, seen)
        return seen, packed

    @contextmanager
    def _beside(self) -> Iterator[tuple[int, bytes]]:
        """A new file, which is gone afterwards unless it was put in its place."""
        beside = b"%s/%d-%d" % (self.fresh, os.getpid(), next(_numbers))
        handle = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        try:
            yield handle, beside
        except BaseException:
            with suppress(OSError):
                os.unlink(beside)
            raise
        finally:
            os.close(handle)

    def _put(self, beside: bytes, digest: str) -> None:
        place = self.place(digest)
        try:
            os.replace(beside, place)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(os.path.dirname(place), 0o700)
            os.replace(beside, place)

    def _sync(self, digests: Sequence[str]) -> None:
        """Let the objects survive a power cut: few one by one, many by one sync of their file system."""
        if len(digests) > SINGLY:
            sync_file_system(self._folder)
            return
        for digest in digests:
            place = self.place(digest)
            for path in (place, os.path.dirname(place)):
                sync_path(path)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = printable(self._folder)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise HistoryError(
                    f"contents cannot be kept in {where}: {error.strerror}",
                    hint="make room on the disk that holds the domain's folder, or let the domain keep fewer revisions",
                ) from error
            raise HistoryError(
                f"contents cannot be kept in {where}: {error.strerror}",
                hint="make the folder .dasctl of the domain and what is in it writable",
            ) from error


@contextmanager
def _told_of(path: bytes) -> Iterator[None]:
    """Here a fault is one of the working file, and not of the objects."""
    try:
        yield
    except OSError as error:
        message = f"{printable(path)} cannot be read: {error.strerror}"
        raise RepositoryError(message, hint="make it readable, or exclude it") from error


class _Shared:
    """One list that several threads take from, large files as they come: none of them waits for another."""

    def __init__(self, wanted: Sequence[tuple[str, bytes]]) -> None:
        self._wanted = iter(wanted)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        while True:
            with self._lock:
                batch = [row for _, row in zip(range(BATCH), self._wanted, strict=False)]
            if not batch:
                return
            yield from batch


def _stamp(seen: os.stat_result) -> Stamp:
    """What is another after a change."""
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _unchanged(source: int, stamp: Stamp) -> Iterator[bytes]:
    """All bytes behind the handle, which is closed. It is read and not mapped: a mapped file that somebody makes shorter
    ends the process.
    """
    try:
        while raw := os.read(source, PIECE):
            yield raw
        if _stamp(os.fstat(source)) != stamp:
            raise ObjectLost("a working file changed while it was read")
    finally:
        os.close(source)


def _copied(source: int, target: int, size: int, *, as_it_is: bool) -> tuple[str, int | None]:
    """Pack, or share, or copy `size` bytes: their digest, and what the pieces take; None where there are fewer."""
    os.lseek(source, 0, os.SEEK_SET)
    if _must_pack(source) or (not as_it_is and _packs(source, size)):
        return _packed(source, target, size)
    shared = _shared(source, target, size)
    seen, left = hashlib.sha256(), size
    buffer = memoryview(bytearray(PIECE))
    while left and (count := os.readv(target if shared else source, [buffer[:left]])):
        raw = buffer[:count]
        left -= count
        seen.update(raw)
        if not shared:
            _write(target, raw)
    return seen.hexdigest(), None if left else size


def _must_pack(source: int) -> bool:
    """Whether it looks like a packed object."""
    return os.pread(source, len(object_form.MARK), 0) == object_form.MARK


def _packs(source: int, size: int) -> bool:
    """Whether any of a few samples shrinks."""
    places = {size * part // 8 for part in range(8)}
    return any(object_form.shrinks(os.pread(source, 2 * SAMPLE, place)) for place in places)


def _packed(source: int, target: int, size: int) -> tuple[str, int | None]:
    """Pieces are packed side by side, a few ahead of the one that is written."""
    from concurrent.futures import Future, ThreadPoolExecutor  # of use to large contents only

    seen, left, taken = hashlib.sha256(), size, 0
    ahead: deque[Future[Piece]] = deque()

    def write_next() -> int:
        piece = ahead.popleft().result()
        _write(target, object_form.framed(piece))
        return len(piece.data)

    _write(target, object_form.head(size))
    with ThreadPoolExecutor(WORKERS) as pool:
        while left and (raw := _piece(source, min(PIECE, left))):
            left -= len(raw)
            ahead.append(pool.submit(object_form.packed, raw))
            seen.update(raw)
            if len(ahead) > WORKERS:
                taken += write_next()
        while ahead:
            taken += write_next()
    return seen.hexdigest(), None if left else taken


def _piece(source: int, size: int) -> bytes:
    """As many bytes as a piece has, or all that are left."""
    raw = os.read(source, size)
    while len(raw) < size and (more := os.read(source, size - len(raw))):
        raw += more
    return raw


def _shared(source: int, target: int, size: int) -> bool:
    """Let `target` share the blocks of `source`, where the file system can: then it is there at once."""
    try:
        fcntl.ioctl(target, FICLONE, source)
        os.ftruncate(target, size)
    except OSError:
        os.ftruncate(target, 0)
        return False
    return True


def _write(handle: int, data: bytes | memoryview) -> None:
    written = os.write(handle, data)
    while written < len(data):
        written += os.write(handle, data[written:])
