"""The repository's files as something that commands change: all at once, or not at all.

What lives here: making things beside, and the order of it all. What must not: whether a change can be carried out, and
its staging (`working_staging.py`), carrying it out (`working_journal.py`), what is changed (`operations/`).

    making()      .dasctl/making/TOKEN/ and TOKEN.lock, which its maker holds: what nobody holds is rubbish of a kill
    put(moves)    checked; made durable; renamed to .dasctl/making/commit/; the journal is written; carried out
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH100, PTH102, PTH106, PTH108, PTH114, PTH119, PTH120, PTH208

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dasctl.adapters import working_journal
from dasctl.adapters.tree_writing import write_tree
from dasctl.adapters.working_journal import COMMIT, JOURNAL, JOURNAL_NEW, Before, Disk, Journal
from dasctl.adapters.working_staging import ROOM, Staging, mounted_in
from dasctl.core import areas
from dasctl.core.moves import MAKING, Move, Touch
from dasctl.errors import OperationFailed
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import printable

LOCK = b".lock"


def _nothing(operation: str) -> None:
    pass


class FolderWorking:
    """The files of the domain's folder `root`. `before` is told of each operation of `put` on the disk (for tests)."""

    def __init__(self, root: Path | str, *, before: Before = _nothing) -> None:
        self._root = os.path.abspath(os.fsencode(root))
        self._before = before

    @contextmanager
    def making(self) -> Iterator[Path]:
        """See `ports.Working`."""
        folder = self._root + b"/" + MAKING
        if os.path.islink(self._root + b"/" + areas.OWN_FOLDER):
            raise OperationFailed(
                ".dasctl is a symbolic link, so nothing can be put in its place in one step: nothing has been changed",
                hint="make it a folder, and mount there what it points to: mount --bind TARGET .dasctl",
            )
        with _translated("something new", "nothing has been changed"):
            held, token = _held(folder)
        try:
            with _translated("something new", "nothing has been changed"):
                os.mkdir(token, 0o700)
            yield Path(os.fsdecode(token))
        finally:
            disk = Disk(self._root, _nothing)
            try:
                with suppress(OSError):  # the next command that holds the lock removes it
                    disk.remove(MAKING + b"/" + os.path.basename(token))
                    os.unlink(token + LOCK)
                    os.rmdir(folder)
            finally:
                disk.close()
                os.close(held)

    def put(self, moves: Sequence[Move], touches: Sequence[Touch] = ()) -> None:
        """See `ports.Working`."""
        if not moves and not touches:
            return
        disk = Disk(self._root, self._before)
        try:
            finish(self._root, disk)
            with _translated("the domain's files", "nothing has been changed"):
                journal = _staged(disk, moves, touches)
            with _translated("the domain's files", _BEGUN):
                try:
                    working_journal.carry_out(disk, journal)
                except KeyboardInterrupt:  # it takes moments, and nobody wants a half of it
                    working_journal.carry_out(disk, journal)
                    raise
            with suppress(OSError):
                os.rmdir(self._root + b"/" + MAKING)  # unless somebody is making something
        finally:
            disk.close()

    def write(self, at: Path, entries: Sequence[Entry], content: Callable[[str], Iterable[bytes]]) -> None:
        """See `ports.Working`."""
        with _translated("the domain's files", "nothing has been changed"):
            write_tree(at, entries, content)


_BEGUN = "the change was begun, and the next command that changes the domain finishes it first"


def finish(root: bytes, disk: Disk | None = None) -> None:
    """Carry out what a killed command had begun to put, and remove what others left. The caller holds the lock.

    Raises OperationFailed where it cannot be finished: the repository is half changed then, and nobody may go on with it.
    """
    own = disk or Disk(root, _nothing)
    try:
        if own.lstat(MAKING) is None:
            return
        journal = working_journal.read(own)
        if journal is not None:
            with _translated("the domain's files", "a change was begun and has to be finished first"):
                working_journal.carry_out(own, journal)
        with suppress(OSError):
            _empty(own, [JOURNAL_NEW, COMMIT, ROOM, *(point + b"/" + ROOM for point in mounted_in(own))])
            _clean(own)
    finally:
        if disk is None:
            own.close()


def _staged(disk: Disk, wanted: Sequence[Move], touches: Sequence[Touch]) -> Journal:
    staging = Staging(disk, wanted, touches)
    try:
        return staging.staged()
    except Exception:
        with suppress(OSError):
            for path in (
                JOURNAL,
                JOURNAL_NEW,
            ):  # first of all: without its rooms a journal says something else
                if disk.lstat(path) is not None:
                    disk.unlink(path)
            _empty(disk, staging.rooms)
        raise


def _empty(disk: Disk, rooms: Iterable[bytes]) -> None:
    """Remove what had been staged for a change that does not happen; a folder that held it keeps its modtime."""
    for room in rooms:
        if disk.lstat(room) is not None:
            folder = room.rpartition(b"/")[0]
            seen = disk.lstat(folder)
            disk.remove(room)
            if seen is not None and folder != MAKING:
                disk.set_time(folder, seen.st_mtime_ns)


def _clean(disk: Disk) -> None:
    """Remove what killed commands were making: folders whose lock nobody holds."""
    folder = disk.root + b"/" + MAKING
    for name in os.listdir(folder):
        if not name.endswith(LOCK):
            continue
        held = os.open(folder + b"/" + name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # its maker lives
        else:
            disk.remove(MAKING + b"/" + name.removesuffix(LOCK))
            disk.unlink(MAKING + b"/" + name)
        finally:
            os.close(held)
    with suppress(OSError):
        os.rmdir(folder)


def _held(folder: bytes) -> tuple[int, bytes]:
    """(a handle that holds the lock of a new folder in `folder`, the folder's path): the folder itself is not made yet."""
    while True:
        for place in (os.path.dirname(folder), folder):
            with suppress(FileExistsError):
                os.mkdir(place, 0o700)
        token = folder + b"/" + secrets.token_hex(8).encode()
        try:
            held = os.open(token + LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # another command has just removed the empty folder
        fcntl.flock(held, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), os.lstat(token + LOCK)):
                return held, token
        os.close(held)  # taken for rubbish before it was locked


@contextmanager
def _translated(what: str, state: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = printable(os.fsencode(error.filename)) if error.filename else ""
        reason = f"{error.strerror or error}{f' ({where})' if where else ''}"
        hint = "make the domain's folder and its .dasctl writable for whoever administers the domain"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "make room on the disk that holds the domain's folder, and run the command again"
        raise OperationFailed(f"{what} cannot be written: {reason}; {state}", hint=hint) from error
