"""Staging: contents beside the tree, verified before they have a name that promises something.

What lives here: the folder `.dasctl/staging` and copying into it. What must not: which contents are needed (`sharing.py`),
what they become (`fresh.py`), the commit.

    DIGEST             a content, whole and verified: a name of 64 digits is a promise
    part.DIGEST        the beginning of a large content; a transfer that broke off goes on behind it
    side.PID.DIGEST    a content that a further channel is receiving
    new.N, tree.N      files and folders made for one commit (`fresh.py`)
"""

from __future__ import annotations

from dasctl.remote import disk as on_disk
from dasctl.remote import handles as by_handle
from dasctl.remote import state
from dasctl.remote.system import os, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FICLONE = 0x40049409  # the ioctl of linux/fs.h: one file becomes another's copy and shares its blocks
PART = b"part."
SIDE = b"side."
MADE = (b"new.", b"tree.")
DIGITS = 64  # of a SHA-256 in hex


class BadContent(Exception):
    """The bytes are not the content that they are said to be."""


def name_of(digest: bytes) -> bytes:
    """Where the verified content lies."""
    return state.STAGING + b"/" + digest


def has(place: state.Place, digest: bytes, size: int, mend: bool = True) -> bool:
    """Whether the content lies verified. One of another size was cut by a power failure: with `mend` it goes."""
    status = by_handle.lstat(place.handles, name_of(digest))
    if status is None:
        return False
    if stat.S_ISREG(status.st_mode) and status.st_size == size:
        return True
    if mend:
        place.disk.remove_tree(name_of(digest))
    return False


def begun(place: state.Place, digest: bytes, size: int) -> int:
    """How many bytes of the beginning of a content are there."""
    status = by_handle.lstat(place.handles, state.STAGING + b"/" + PART + digest)
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_size > size:
        return 0
    # One that has another name, in a backup by hard links, is not gone on from: `Writing` makes a file of its own.
    return status.st_size if status.st_nlink == 1 else 0


class Writing:
    """A content on its way into the staging of `place`: `write` pieces, then `done`, `pause` or `abort`.

    `offset`: so much of its beginning is there already and is read again. `beside`: further channels write under names of
    their own. Raises BadContent where the beginning is not there.
    """

    def __init__(
        self, place: state.Place, digest: bytes, size: int, offset: int = 0, beside: bool = False
    ) -> None:
        import hashlib

        self.digest, self.place = digest, place
        self._left = size
        self._hash = hashlib.sha256()
        prefix = b"%s%d." % (SIDE, os.getpid()) if beside else PART
        self._name = state.STAGING + b"/" + prefix + digest
        if offset:
            self._handle = self._opened()
            try:
                self._read_again(offset)
            except BaseException:
                os.close(self._handle)
                raise
        else:
            place.disk.remove_tree(self._name)
            self._handle = place.disk.create(self._name)
        self.at = self._whole = offset

    def _opened(self) -> int:
        folder, name = self.place.handles.parent(self._name)
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(name, flags, dir_fd=folder)
        except FileNotFoundError:
            raise BadContent("the beginning of the content is not there") from None

    def _read_again(self, offset: int) -> None:
        status = os.fstat(self._handle)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_size < offset:
            raise BadContent("the beginning of the content is shorter than it was")
        os.ftruncate(self._handle, offset)
        for piece in by_handle.pieces(self._handle):
            self._count(piece)

    def _count(self, data: bytes | bytearray | memoryview) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise BadContent("more bytes than it should have")
        self._hash.update(data)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Raises BadContent where there is more than there should be, OSError where the disk is full."""
        self._count(data)
        on_disk.write_all(self._handle, data)
        self.at += len(data)

    def copy(self, source: int) -> None:
        """Take all bytes behind the handle `source`: as a reflink where the file system can."""
        if not clone(source, self._handle):
            for piece in by_handle.pieces(source):
                self.write(piece)
            return
        os.lseek(self._handle, 0, 0)
        reading = by_handle.open_file(self.place.handles, self._name)
        try:
            for piece in by_handle.pieces(reading):
                self._count(piece)
        finally:
            os.close(reading)

    def whole_piece(self) -> None:
        """What has been written so far is worth going on from."""
        self._whole = self.at

    def done(self) -> None:
        """Give the content its name. Raises BadContent where its digest is another one."""
        if self._left or self._hash.hexdigest().encode() != self.digest:
            raise BadContent("the bytes do not have the digest that they were announced with")
        self._close()
        self.place.disk.rename(self._name, name_of(self.digest))

    def pause(self) -> None:
        """The link is cut: keep the whole pieces."""
        try:
            if self._handle >= 0 and self._whole:
                os.ftruncate(self._handle, self._whole)
                self._close()
                return
        except OSError:
            pass
        self.abort()

    def abort(self) -> None:
        """Forget what was written."""
        self._close()
        try:
            self.place.disk.remove_tree(self._name)
        except OSError:
            pass

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def drop(place: state.Place) -> None:
    """Remove all contents: nobody waits for them any more, or they keep a full disk full."""
    try:
        for name in state.in_staging(place):
            place.disk.remove_tree(state.STAGING + b"/" + name)
    except OSError:
        pass  # they are in nobody's way but the disk's


def clear(place: state.Place) -> None:
    """Remove what was made for a commit; verified contents stay."""
    for name in state.in_staging(place):
        if name.startswith((*MADE, SIDE)):
            try:
                place.disk.remove_tree(state.STAGING + b"/" + name)
            except OSError:
                pass


def salvage(place: state.Place) -> None:
    """After a helper that was killed: what it made for a commit that never began becomes contents again."""
    names = [name for name in state.in_staging(place) if name.startswith((*MADE, SIDE))]
    for name in names:
        path = state.STAGING + b"/" + name
        if name.startswith(MADE):
            for found in list(_files(place, path)):
                try:
                    place.disk.rename(found, name_of(by_handle.hashed(place.handles, found)))
                except OSError:
                    pass  # it is removed
        try:
            place.disk.remove_tree(path)
        except OSError:
            pass  # in nobody's way: names are not used twice


def _files(place: state.Place, path: bytes) -> Iterator[bytes]:
    """The files at and below `path` that are ours alone: a file that has further names is one of the tree's."""
    pending = [path]
    while pending:
        path = pending.pop()
        try:
            status = by_handle.lstat(place.handles, path)
            if status is not None and stat.S_ISDIR(status.st_mode):
                # It may have its final mode already, which may let nobody in.
                place.disk.dress_folder(path, on_disk.OPENED, on_disk.LEAVE)
                names = by_handle.names(place.handles, path)
        except OSError:
            continue
        if status is None:
            continue
        if stat.S_ISDIR(status.st_mode):
            pending += [path + b"/" + name for name in names]
        elif stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            yield path


def copy(source: state.Place, path: bytes, place: state.Place, digest: bytes, size: int) -> bool:
    """Stage the content from a file of an instance; False where the file has another content by now."""
    try:
        reading = by_handle.open_file(source.handles, path)
    except OSError as error:
        if _other_by_now(error):
            return False
        raise
    try:
        if os.fstat(reading).st_size != size:
            return False
        writing = Writing(place, digest, size)
        try:
            writing.copy(reading)
            writing.done()
        except BadContent:
            writing.abort()
            return False
        except BaseException:
            writing.abort()
            raise
        return True
    finally:
        os.close(reading)


def small(source: state.Place, path: bytes, digest: bytes, size: int) -> bytes | None:
    """The bytes of a small file of an instance; None where it has another content by now."""
    import hashlib

    try:
        reading = by_handle.open_file(source.handles, path)
    except OSError as error:
        if _other_by_now(error):
            return None
        raise
    try:
        data = os.read(reading, size + 1)
    finally:
        os.close(reading)
    return data if hashlib.sha256(data).hexdigest().encode() == digest else None


def _other_by_now(error: OSError) -> bool:
    return by_handle.absent(error) or isinstance(error, (PermissionError, by_handle.NotAFile))


def share(source: state.Place, place: state.Place, digest: bytes) -> None:
    """Give a content that lies verified in one staging to another one."""
    part = state.STAGING + b"/" + PART + digest
    place.disk.remove_tree(part)
    duplicate(source, name_of(digest), place, part)
    place.disk.rename(part, name_of(digest))


def duplicate(source: state.Place, name: bytes, place: state.Place, target: bytes) -> None:
    """Copy a verified file of a staging to `target`, which is not there. Raises OSError, with nothing left behind."""
    reading = by_handle.open_file(source.handles, name)
    try:
        writing = place.disk.create(target)
        try:
            pour(reading, writing)
        except BaseException:
            os.close(writing)
            writing = -1
            place.disk.remove_tree(target)
            raise
        finally:
            if writing >= 0:
                os.close(writing)
    finally:
        os.close(reading)


def clones(source: state.Place, path: bytes, place: state.Place) -> bool:
    """Whether a copy of the file at `path` would share its blocks, and so need no space."""
    probe = state.STAGING + b"/new.probe"
    try:
        reading = by_handle.open_file(source.handles, path)
    except OSError:
        return False
    try:
        writing = place.disk.create(probe)
        try:
            return clone(reading, writing)
        finally:
            os.close(writing)
            place.disk.unlink(probe)
    except OSError:
        return False
    finally:
        os.close(reading)


def clone(reading: int, writing: int) -> bool:
    """Make one file another's reflink; False where the file system does not know that."""
    import errno
    import fcntl

    try:
        fcntl.ioctl(writing, FICLONE, reading)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        return False
    return True


def pour(reading: int, writing: int) -> None:
    """Copy all bytes, by the kernel where it can."""
    import errno

    if clone(reading, writing):
        return
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
    for piece in by_handle.pieces(reading):
        on_disk.write_all(writing, piece)
