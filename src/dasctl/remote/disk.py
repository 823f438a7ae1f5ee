"""Changes to an instance's folder: each one system call, each below a handle, none through a symbolic link.

What lives here: the mutating operations. `before` is called ahead of each with its name: tests stop there. What must not:
the order of operations (`commit.py`), decisions.
"""

from __future__ import annotations

from dasctl.remote import handles as by_handle
from dasctl.remote.system import os, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
LEAVE = -(1 << 63)  # a modtime that says: leave it as it is; times before 1970 are times
MADE_WITH = 0o600  # the mode of a new file until it is dressed
OPENED = 0o700  # what we need on a folder of our own while we work in it


def _nothing(operation: str) -> None:
    pass


class Disk:
    """The folder behind `root`, for changing. All paths are bytes below it; all methods raise OSError."""

    def __init__(self, root: int, before: Callable[[str], None] = _nothing) -> None:
        self.root = root
        self.handles = by_handle.Handles(root)
        self.before = before

    def rename(self, source: bytes, target: bytes) -> None:
        """Move a file or link; a file or link at `target` is replaced in the same instant."""

        def move(folder: int, name: bytes) -> None:
            # The second look-up may close the first one's handle: keep one of our own.
            mine = os.dup(folder)
            try:
                self._in_folder(
                    source, lambda other, old: os.rename(old, name, src_dir_fd=other, dst_dir_fd=mine)
                )
            finally:
                os.close(mine)

        self._change("rename", target, move)

    def link(self, source: bytes, target: bytes) -> None:
        """Give what is at `source` a second name."""
        folder, old = self.handles.parent(source)
        mine = os.dup(folder)
        try:
            self._change(
                "link",
                target,
                lambda other, name: os.link(
                    old, name, src_dir_fd=mine, dst_dir_fd=other, follow_symlinks=False
                ),
            )
        finally:
            os.close(mine)

    def unlink(self, path: bytes) -> None:
        """Remove a file or link."""
        self._change("unlink", path, lambda folder, name: os.unlink(name, dir_fd=folder))

    def mkdir(self, path: bytes) -> None:
        """Make a folder that only we can use; its mode is set when it is filled."""
        self._change("mkdir", path, lambda folder, name: os.mkdir(name, OPENED, dir_fd=folder))

    def rmdir(self, path: bytes) -> None:
        """Remove a folder, which must be empty."""
        self.handles.forget()
        self._change("rmdir", path, lambda folder, name: os.rmdir(name, dir_fd=folder))

    def symlink(self, target: bytes, path: bytes) -> None:
        """Make a symbolic link."""
        self._change("symlink", path, lambda folder, name: os.symlink(target, name, dir_fd=folder))

    def create(self, path: bytes) -> int:
        """A handle for writing a file that is not there yet."""
        made: list[int] = []
        self._change(
            "create", path, lambda folder, name: made.append(os.open(name, FRESH, MADE_WITH, dir_fd=folder))
        )
        return made[0]

    def fill(self, path: bytes, data: bytes | memoryview, mode: int, mtime: int) -> None:
        """Make a file of these bytes, which is not there yet, with mode and modtime. Nothing is left behind that is not
        whole."""
        self.before("create")
        try:
            folder, name = self.handles.parent(path)
            handle = os.open(name, FRESH, MADE_WITH, dir_fd=folder)
        except PermissionError:
            handle = self.create(path)
        try:
            count = os.write(handle, data)
            if count != len(data):
                write_all(handle, memoryview(data)[count:])
            dress_handle(self.before, handle, mode, mtime)
        except BaseException:
            self.remove_tree(path)
            raise
        finally:
            os.close(handle)

    def dress_file(self, path: bytes, mode: int, mtime: int) -> None:
        """Set mode and modtime of a regular file, in one opening, so that it is the file that was looked at."""
        folder, name = self.handles.parent(path)
        try:
            handle = by_handle.open_file(self.handles, path)
        except PermissionError:
            self._dress_unreadable(folder, name, mode, mtime)
            return
        try:
            dress_handle(self.before, handle, mode, mtime, stat.S_IMODE(os.fstat(handle).st_mode))
        finally:
            os.close(handle)

    def _dress_unreadable(self, folder: int, name: bytes, mode: int, mtime: int) -> None:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise by_handle.NotAFile("not a regular file")
        self.before("utime")
        os.utime(name, ns=(mtime, mtime), dir_fd=folder, follow_symlinks=False)
        self.before("chmod")
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.chmod("/proc/self/fd/%d" % handle, mode)
        finally:
            os.close(handle)

    def dress_link(self, path: bytes, mtime: int) -> None:
        """Set the modtime of what is at `path`, of a symbolic link that of itself."""
        folder, name = self.handles.parent(path)
        self.before("utime")
        os.utime(name, ns=(mtime, mtime), dir_fd=folder, follow_symlinks=False)

    def dress_folder(self, path: bytes, mode: int, mtime: int) -> None:
        """Set mode and modtime (LEAVE: as it is) of a folder."""
        try:
            handle = self.handles.folder(path)
        except PermissionError:
            self._open_up(path)
            handle = self.handles.folder(path)
        if mtime != LEAVE:
            self.before("utime")
            os.utime(handle, ns=(mtime, mtime))
        if stat.S_IMODE(os.fstat(handle).st_mode) != mode:
            self.before("chmod")
            os.fchmod(handle, mode)

    def folders(self, path: bytes) -> None:
        """Make the folder `path` and those above it where they are missing."""
        end = path.find(b"/")
        while True:
            step = path if end < 0 else path[:end]
            try:
                self.mkdir(step)
            except FileExistsError:
                pass
            if end < 0:
                return
            end = path.find(b"/", end + 1)

    def write(self, path: bytes, data: bytes, lasting: bool = True) -> None:
        """Put a file of these bytes at `path`, all at once; `lasting` waits until a power cut cannot undo it."""
        new = path + b".new"
        try:
            self.unlink(new)
        except FileNotFoundError:
            pass
        handle = self.create(new)
        try:
            write_all(handle, data)
            if lasting:
                os.fsync(handle)
        finally:
            os.close(handle)
        self.rename(new, path)

    def remove_tree(self, path: bytes) -> None:
        """Remove a folder and all that is in it, or a file; nothing there is fine."""
        pending = [(path, False)]
        while pending:
            path, emptied = pending.pop()
            if emptied:
                self.rmdir(path)
                continue
            status = by_handle.lstat(self.handles, path)
            if status is None:
                continue
            if not stat.S_ISDIR(status.st_mode):
                self.unlink(path)
                continue
            if status.st_mode & OPENED != OPENED:
                self._open_up(path)
            pending.append((path, True))
            pending.extend((path + b"/" + name, False) for name in by_handle.names(self.handles, path))

    def _change(self, operation: str, path: bytes, act: Callable[[int, bytes], object]) -> None:
        self.before(operation)
        self._in_folder(path, act)

    def _in_folder(self, path: bytes, act: Callable[[int, bytes], object]) -> None:
        """`act` in the folder that holds `path`. A folder of ours that is read-only is opened up; the commit sets its
        own mode at the end."""
        try:
            folder, name = self.handles.parent(path)
            act(folder, name)
        except PermissionError:
            if not self._open_up(path.rpartition(b"/")[0]):
                raise
            folder, name = self.handles.parent(path)
            act(folder, name)

    def _open_up(self, path: bytes) -> bool:
        """Give ourselves the rights to work in the folder at `path`; False where we had them."""
        if not path:
            return False
        folder, name = self.handles.parent(path)
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            if mode & OPENED == OPENED:
                return False
            self.before("chmod")
            os.chmod("/proc/self/fd/%d" % handle, mode | OPENED)
            return True
        finally:
            os.close(handle)


def dress_handle(
    before: Callable[[str], None], handle: int, mode: int, mtime: int, current: int = MADE_WITH
) -> None:
    """Set mode and modtime of the open file, whose mode is `current`."""
    if mode != current:
        before("chmod")
        os.fchmod(handle, mode)
    before("utime")
    os.utime(handle, ns=(mtime, mtime))


def sync_all(folder: int) -> None:
    """Wait until all that was written to the file system of the open folder is lasting."""
    try:
        if _syncfs(folder) == 0:
            return
    except (ImportError, OSError, AttributeError):
        pass  # a python without ctypes, a C library without syncfs
    os.sync()


def _syncfs(folder: int) -> int:
    try:
        import _ctypes  # what ctypes is built upon; its own import takes 3 ms

        loaded = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # all that is there
        return int(_ctypes.call_function(_ctypes.dlsym(loaded, "syncfs"), (folder,)))
    except (ImportError, AttributeError, TypeError):
        import ctypes

        return int(ctypes.CDLL(None).syncfs(folder))


def write_all(handle: int, data: bytes | bytearray | memoryview) -> None:
    """Write all bytes; a short write is not the end."""
    count = os.write(handle, data)
    if count == len(data):
        return
    view = memoryview(data)[count:]
    while view:
        view = view[os.write(handle, view) :]
