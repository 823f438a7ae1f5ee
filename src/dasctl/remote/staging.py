"""Staging: contents beside the tree, named by their SHA-256 once they are verified.

What lives here: receiving, copying and preparing contents in `.dasctl/staging`. A name of 64 digits is a promise: its
bytes have that digest. What must not: which contents are needed (`sync.py`), the commit.
"""

from __future__ import annotations

import os
import stat

from dasctl.remote import disk as on_disk
from dasctl.remote import handles as by_handle
from dasctl.remote import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dasctl.remote.manifest import Entry

PART = state.STAGING + b"/part"  # the content that is being written


class BadContent(Exception):
    """The bytes are not the content that they are said to be."""


def name_of(digest: bytes) -> bytes:
    """Where the verified content lies."""
    return state.STAGING + b"/" + digest


def has(place: state.Place, digest: bytes, size: int) -> bool:
    """Whether the content lies verified. One of another size was cut by a power failure: it goes."""
    status = by_handle.lstat(place.handles, name_of(digest))
    if status is None:
        return False
    if stat.S_ISREG(status.st_mode) and status.st_size == size:
        return True
    place.disk.remove_tree(name_of(digest))
    return False


class Writing:
    """A content on its way into the staging of `place`: `write` pieces, then `done` or `abort`."""

    def __init__(self, place: state.Place, digest: bytes, size: int) -> None:
        import hashlib

        self.digest, self._size = digest, size
        self._place = place
        self._hash = hashlib.sha256()
        place.disk.remove_tree(PART)
        self._handle = place.disk.create(PART)

    def write(self, data: bytes) -> None:
        """Raises BadContent where there is more than there should be, OSError where the disk is full."""
        self._size -= len(data)
        if self._size < 0:
            raise BadContent("more bytes than it should have")
        self._hash.update(data)
        on_disk.write_all(self._handle, data)

    def done(self) -> None:
        """Give the content its name. Raises BadContent where its digest is another one."""
        if self._size or self._hash.hexdigest().encode() != self.digest:
            raise BadContent("the bytes do not have the digest that they were announced with")
        os.close(self._handle)
        self._handle = -1
        self._place.disk.rename(PART, name_of(self.digest))

    def abort(self) -> None:
        """Forget what was written."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        try:
            self._place.disk.remove_tree(PART)
        except OSError:
            pass


def drop(place: state.Place) -> None:
    """Remove all contents: nobody waits for them any more, or they keep a full disk full."""
    try:
        for name in os.listdir(place.handles.folder(state.STAGING)):
            place.disk.remove_tree(state.STAGING + b"/" + os.fsencode(name))
    except OSError:
        pass  # they are in nobody's way but the disk's


def copy(source: state.Place, path: bytes, place: state.Place, digest: bytes, size: int) -> bool:
    """Stage the content from a file of an instance; False where the file has another content by now."""
    writing = Writing(place, digest, size)
    try:
        by_handle.hashed(source.handles, path, writing.write)
        writing.done()
    except BadContent:
        writing.abort()
        return False
    except OSError as error:
        writing.abort()
        if by_handle.absent(error) or isinstance(error, (PermissionError, by_handle.NotAFile)):
            return False
        raise
    except BaseException:
        writing.abort()
        raise
    return True


def empty(place: state.Place, digest: bytes) -> None:
    """Stage the content of no bytes."""
    writing = Writing(place, digest, 0)
    writing.done()


def prepare(place: state.Place, entries: list[Entry]) -> list[list[Any]]:
    """Make of the staged contents one file per entry, dressed with mode and modtime; the `place` operations for them.

    The last user of a content takes it by a rename, the others get copies: each has an inode of its own.
    """
    last = {entry.digest: number for number, entry in enumerate(entries) if entry.kind == "f"}
    operations = []
    made = []
    for number, entry in enumerate(entries):
        name = state.STAGING + b"/new.%d" % number
        if entry.kind == "l":
            place.disk.symlink(entry.digest, name)
            place.disk.dress_link(name, entry.mtime)
        else:
            if last[entry.digest] == number:
                place.disk.rename(name_of(entry.digest), name)
            else:
                _duplicate(place, name_of(entry.digest), name)
            made.append(name)
        operations.append(["place", entry.path.decode("utf-8", "surrogateescape"), "new.%d" % number])
    _make_lasting(place, made)
    for number, entry in enumerate(entries):
        if entry.kind == "f":
            place.disk.dress_file(state.STAGING + b"/new.%d" % number, entry.mode, entry.mtime)
    return operations


def _make_lasting(place: state.Place, names: list[bytes]) -> None:
    """Contents reach the disk before the journal promises them. For many, one sync of everything is quicker."""
    from dasctl.remote.commit import FSYNC_EACH

    if len(names) > FSYNC_EACH:
        os.sync()
        return
    for name in names:
        handle = by_handle.open_file(place.handles, name)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _duplicate(place: state.Place, source: bytes, target: bytes) -> None:
    reading = by_handle.open_file(place.handles, source)
    try:
        writing = place.disk.create(target)
        try:
            _pour(reading, writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _pour(reading: int, writing: int) -> None:
    """Copy all bytes, by the kernel where it can."""
    import errno

    copied = 0
    while True:
        try:
            count = os.copy_file_range(reading, writing, 1 << 30)
        except OSError as error:
            if copied or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            break
        if not count:
            # Some file systems answer 0 where there is something to copy; then the loop below copies it.
            break
        copied += count
    while True:
        piece = os.read(reading, by_handle.PIECE)
        if not piece:
            return
        on_disk.write_all(writing, piece)
