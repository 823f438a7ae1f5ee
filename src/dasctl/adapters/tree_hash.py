"""Hashing files of the repository, noticing those that change meanwhile.

What lives here: one file at a time, and many side by side. What must not: the index, the walk.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dasctl.core import areas
from dasctl.errors import RepositoryError
from dasctl.remote.paths import printable

TRIES = 3
PIECE = 1 << 20  # bytes
SMALL = 256 * 1024  # bytes: below, handing a file to a thread costs more than it gains
WORKERS = min(8, (os.cpu_count() or 1) + 1)

# NONBLOCK: what was a file a moment ago may be a pipe now, and opening it must not wait.
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


class Moved(Exception):
    """What the walk saw is not there any more: look again."""


class Hashed(NamedTuple):
    """A file's SHA-256 in hex, and its stat, which was the same before and after reading."""

    digest: bytes
    stat: os.stat_result


def hash_files(root: bytes, files: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, Hashed | OSError]]:
    """Hash all `files` (path, size), small ones at once and large ones in threads; in no order.

    Raises Moved, and RepositoryError for a file that keeps changing. A file that cannot be read gives its OSError.
    """
    files = list(files)
    large = [path for path, size in files if size > SMALL]
    if len(large) < 2:
        for path, _ in files:
            yield path, _hash_or_error(root, path)
        return
    from concurrent.futures import ThreadPoolExecutor  # most scans never need it

    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            running = [(path, pool.submit(_hash_or_error, root, path)) for path in large]
            for path, size in files:
                if size <= SMALL:
                    yield path, _hash_or_error(root, path)
            for path, future in running:
                yield path, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _hash_or_error(root: bytes, path: bytes) -> Hashed | OSError:
    try:
        return hash_file(root, path)
    except OSError as error:
        if error.errno in _GONE:
            raise Moved from error
        return error


def hash_file(root: bytes, path: bytes) -> Hashed:
    """The file at `path` below `root`. Raises OSError, Moved, and RepositoryError where it keeps changing.

    One that grows without pause, a log, is taken as it was when it was opened, and kept as an object at once: what was
    hashed could not be read again. Its stat is the one from before, so it is looked at again the next time.
    """
    grows = True
    for _ in range(TRIES):
        handle, before = _opened(root, path)
        try:
            digest, size = _digest(handle, before.st_size)
            after = os.fstat(handle)
        finally:
            os.close(handle)
        if size == after.st_size and _times(before) == _times(after):
            return Hashed(digest=digest, stat=after)
        grows = grows and after.st_size > before.st_size
    return _changing(root, path, grows=grows)


def _changing(root: bytes, path: bytes, *, grows: bool) -> Hashed:
    from dasctl.adapters.object_making import ObjectMaker  # most scans never need it

    if grows:
        handle, before = _opened(root, path)
        os.close(handle)
        maker = ObjectMaker(root, root + b"/" + areas.OWN_FOLDER + b"/objects")
        digest = maker.snapshot(path, before.st_size)
        if digest is not None:
            return Hashed(digest=digest.encode("ascii"), stat=before)
    raise RepositoryError(
        f"{printable(path)} keeps changing while it is read",
        hint="wait until it is written, or exclude it under domain: exclude: in config/domain.yaml",
    )


def _opened(root: bytes, path: bytes) -> tuple[int, os.stat_result]:
    """A handle of a file, and its stat. Raises Moved where something else has taken its place."""
    handle = os.open(root + b"/" + path, FLAGS)
    seen = os.fstat(handle)
    if not stat.S_ISREG(seen.st_mode):
        os.close(handle)
        raise Moved
    return handle, seen


def _times(seen: os.stat_result) -> tuple[int, int, int]:
    return seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _digest(handle: int, size: int) -> tuple[bytes, int]:
    """SHA-256 in hex and the bytes read, up to the end of the file, wherever that is by now."""
    first = os.read(handle, min(size + 1, PIECE))
    digest, total = hashlib.sha256(first), len(first)
    if total == size:  # one more was asked for, so this is the end
        return digest.hexdigest().encode("ascii"), total
    buffer = memoryview(bytearray(min(size + 1, PIECE)))
    while count := os.readv(handle, [buffer]):
        digest.update(buffer[:count])
        total += count
    return digest.hexdigest().encode("ascii"), total
