"""A backup in the place of a domain: laid out beside it, swapped in one step, the old one kept.

What lives here: folders and renames, and what is left when they are interrupted. What must not: reading the archive
(`backup_reading.py`), nodes.

    .NAME.restoring/               what is laid out; while `.dasctl/restoring` is in it, it is no domain yet, and rubbish
                                   unless somebody holds that file's lock
    exchange                       one system call: NAME is the new one, .NAME.restoring the old one, without that file
    NAME.before-20261121T151200Z   the old one

    After a kill NAME is the old domain or the new one. Where the kernel or the file system cannot exchange, two renames do
    it, and a kill between them leaves NAME.before-… and .NAME.restoring: the next restore brings the old one back first.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from dasctl.adapters import backup_reading
from dasctl.adapters.durable import sync_file_system, sync_path
from dasctl.adapters.history import SqliteHistory
from dasctl.adapters.objects import FolderObjects
from dasctl.adapters.store import GITIGNORE, REPLACED, YamlStore, find_domain
from dasctl.core.backups import Before, Beside, Facts
from dasctl.core.domain import FILE
from dasctl.errors import DasctlError, OperationFailed, UsageError
from dasctl.remote.manifest import decode

MARK = Path(".dasctl") / "restoring"
ROOM = 16 << 20  # bytes that must be free besides
_CURRENT = -100  # AT_FDCWD
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)

OnRead = Callable[[int, int], None]


class FolderRestoring:
    """ports.Restoring. `environment` and `current` say which domain is meant where none is named."""

    def __init__(self, *, environment: Mapping[str, str] = os.environ, current: Path | None = None) -> None:
        self._environment = environment
        self._current = current or Path.cwd()

    def find(self, explicit: Path | None) -> Path:
        """See `ports.Restoring`."""
        named = explicit or self._environment.get("DASCTL_DOMAIN")
        if named:
            return Path(os.path.realpath(self._current / Path(named).expanduser()))
        return Path(os.path.realpath(find_domain(self._current, None, {})))

    def before(self, root: Path) -> Before | None:
        """See `ports.Restoring`."""
        _mended(root)
        if not root.exists() or (root.is_dir() and not any(root.iterdir())):
            return None
        if not (root / FILE).is_file():
            raise UsageError(
                f"{root} is there already, and is no domain", hint="name another folder with --to"
            )
        history = SqliteHistory(root)
        with contextlib.suppress(DasctlError):
            head, epoch = history.head(), history.epoch()
            return Before(id=_id_of(root), epoch=epoch, revision=head.number if head is not None else 0)
        return Before(id=_id_of(root))  # its history is damaged: that is what backups are for

    @contextmanager
    def laid_out(self, file: Path, root: Path, on_read: OnRead) -> Iterator[Beside]:
        """See `ports.Restoring`."""
        folder = _beside(root)
        with _told(root):
            root.parent.mkdir(parents=True, exist_ok=True)
            _check_room(root.parent, backup_reading.facts(file))
            mark = _made(folder)
        try:
            with _told(root):
                facts = backup_reading.read(file, folder, on_read)
                _completed(folder, facts)
                sync_file_system(os.fsencode(folder))
            yield Beside(folder=folder, facts=facts)
        finally:
            if _is_laid_out(folder):
                shutil.rmtree(folder, ignore_errors=True)
            os.close(mark)

    def prepare(self, beside: Beside, *, epoch: int, above: int) -> None:
        """See `ports.Restoring`."""
        history = SqliteHistory(beside.folder)
        if beside.facts.history:
            history.verify()
        head = history.head()
        history.raise_epoch(max(epoch, history.epoch() + 1))
        history.restored(history.epoch())
        if above > (head.number if head is not None else 0):
            history.restart_at(above + 1)
        history.close()

    def swap(self, beside: Beside, root: Path, *, command: str, wait_s: float, now: float) -> Path | None:
        """See `ports.Restoring`."""
        with contextlib.ExitStack() as stack, _told(root):
            was_there = (root / FILE).is_file()
            if was_there:
                stack.enter_context(YamlStore(root).domain_locked(command, wait_s=wait_s))
            old = None
            if was_there:
                old = _exchanged(beside.folder, root, now)
                _marked(old, root)
                _kept_along(old, root)
            else:
                beside.folder.rename(root)  # where nothing is, or an empty folder
            (root / MARK).unlink()
            sync_path(os.fsencode(root.parent))
        return old


def _beside(root: Path) -> Path:
    return root.parent / f".{root.name}.restoring"


def _is_laid_out(folder: Path) -> bool:
    """Whether it is what was laid out, and not the domain that was there before: only that has no mark."""
    return os.path.lexists(folder / MARK)


def _id_of(root: Path) -> str:
    try:
        return YamlStore(root).load().domain.id
    except DasctlError:
        return ""


def _made(folder: Path) -> int:
    """The folder, empty but for its mark, whose lock the returned handle holds."""
    if folder.exists():
        _remove_leftover(folder)
    folder.mkdir(mode=0o755)
    (folder / MARK.parent).mkdir(mode=0o700)
    mark = os.open(folder / MARK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(mark, fcntl.LOCK_EX)
    return mark


def _remove_leftover(folder: Path) -> None:
    """What a killed restore laid out. Raises OperationFailed where one is at work."""
    try:
        mark = os.open(folder / MARK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        if any(folder.iterdir()) and any((folder / ".dasctl").glob("*")):
            raise OperationFailed(f"{folder} is in the way", hint="look at it, and move it away") from error
        shutil.rmtree(folder)
        return
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise OperationFailed("another restore of this domain is at work", hint="wait for it") from error
    finally:
        os.close(mark)
    shutil.rmtree(folder)


def _mended(root: Path) -> None:
    """Bring to its end, or back, what a killed restore left: the old domain lies beside, under a passing name."""
    folder = _beside(root)
    if folder.is_dir() and (folder / FILE).is_file() and not _is_laid_out(folder):
        old = _name_before(root, time.time())
        folder.rename(old)
        _marked(old, root)
        with contextlib.suppress(FileNotFoundError):
            (root / MARK).unlink()
    elif not root.exists() and _is_laid_out(folder):
        kept = sorted(root.parent.glob(f"{root.name}.before-*"))
        if kept:
            kept[-1].rename(root)


def _name_before(root: Path, now: float) -> Path:
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    name, again = root.parent / f"{root.name}.before-{moment}", 1
    while os.path.lexists(name):
        again += 1
        name = root.parent / f"{root.name}.before-{moment}-{again}"
    return name


def _exchanged(folder: Path, root: Path, now: float) -> Path:
    """Swap both; returns where the old one is now."""
    old = _name_before(root, now)
    if _swapped(folder, root):
        folder.rename(old)
        return old
    root.rename(old)
    try:
        folder.rename(root)
    except BaseException:
        old.rename(root)
        raise
    return old


def _swapped(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the kernel or the file system cannot."""
    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if swap is None:
        return False
    if swap(_CURRENT, os.fsencode(one), _CURRENT, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _marked(old: Path, root: Path) -> None:
    """Say in the old one what took its place: a shell that stood in the domain's folder stands there now."""
    with contextlib.suppress(OSError):
        (old / REPLACED).write_bytes(os.fsencode(root))


def _kept_along(old: Path, root: Path) -> None:
    """The backups stay where they are looked for."""
    backups = Path(".dasctl") / "backups"
    if (old / backups).is_dir() and not (root / backups).exists():
        (old / backups).rename(root / backups)


def _completed(folder: Path, facts: Facts) -> None:
    """What a domain has besides, and objects of what is in its tree: they were left out, for they are in the tree."""
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text(GITIGNORE, "utf-8")
    if not facts.history:
        return
    history = SqliteHistory(folder)
    parts = history.parts_of(facts.revision) or {}
    contents = {
        entry.digest.decode("ascii"): entry.path
        for data in parts.values()
        for entry in decode(data)
        if entry.kind == "f"
    }
    history.close()
    FolderObjects(folder).keep(contents)


def _check_room(folder: Path, facts: Facts) -> None:
    """Before anything is written; what packed objects take is not known, and not more than the tree."""
    room = os.statvfs(folder)
    free, needed = room.f_bavail * room.f_frsize, facts.size + ROOM
    if free < needed:
        raise OperationFailed(
            f"the backup needs {needed >> 20} MiB, and {folder} has {free >> 20} MiB",
            hint="make room there, or restore to another disk with --to",
        )


@contextmanager
def _told(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hints = {
            errno.EBUSY: "something is mounted there: restore to a folder below it, with --to",
            errno.EXDEV: "something is mounted there: restore to a folder below it, with --to",
            errno.ENOSPC: "make room there, or restore to another disk with --to",
        }
        where = error.filename if isinstance(error.filename, str) else str(root)
        raise OperationFailed(
            f"the backup cannot be restored: {where}: {error.strerror}; nothing has been changed",
            hint=hints.get(
                error.errno or 0, "make the folder beside it writable, or restore to another one with --to"
            ),
        ) from error
