"""A change of the repository's files on its way to its journal: judged, made durable, moved to where a rename can take it.

What lives here: what has to hold before anything moves. What must not: carrying it out (`working_journal.py`).
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH100, PTH120

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from dasctl.adapters import durable
from dasctl.adapters.working_journal import COMMIT, OWNER, Disk, Journal, Step
from dasctl.core import areas, moves
from dasctl.core.moves import MAKING, Move, Touch
from dasctl.errors import OperationFailed
from dasctl.remote import mounts
from dasctl.remote.paths import PathError, printable

ROOM = b".dasctl-making"  # in a folder that something is mounted on: a rename cannot come in from outside
SINGLY = 16  # staged files up to this number are synced one by one


def mounted_in(disk: Disk) -> list[bytes]:
    """Where something is mounted below the domain's folder."""
    root = os.path.realpath(disk.root)
    return [point[len(root) + 1 :] for point in mounts.below(os.fsdecode(root)) if point != root]


class Staging:
    """One change on its way to its journal."""

    def __init__(self, disk: Disk, wanted: Sequence[Move], touches: Sequence[Touch]) -> None:
        self._disk = disk
        self._wanted = wanted
        self._touches = {touch.path: touch for touch in touches}
        self.rooms: dict[bytes, None] = {COMMIT: None}
        self._opened: dict[bytes, None] = {}
        self._mounts = mounted_in(disk)

    def staged(self) -> Journal:
        """The journal, written: from now on the change happens. Before, nothing in the repository was touched."""
        self._check()
        for folder in (areas.OWN_FOLDER, MAKING, COMMIT):
            self._disk.mkdir(folder, 0o700)
        self._sync()
        steps = tuple(self._stage(number, move) for number, move in enumerate(self._wanted))
        touches = sorted(self._touches.values(), key=lambda touch: touch.path)
        journal = Journal(
            opened=tuple(self._opened), steps=steps, rooms=tuple(self.rooms), touches=tuple(touches)
        )
        self._disk.write_journal(journal.as_bytes())
        return journal

    def _check(self) -> None:
        try:
            moves.check(self._wanted, list(self._touches.values()))
        except PathError as error:
            raise OperationFailed(f"{error}: nothing has been changed") from error
        for folder in moves.folders_above(move.to for move in self._wanted):
            self._check_folder(folder)
        for move in self._wanted:
            seen = self._disk.lstat(move.to)
            if move.to == areas.DEFINITION and seen is not None and stat.S_ISLNK(seen.st_mode):
                raise OperationFailed(
                    "config/domain.yaml is a symbolic link, and no link in the domain is followed: nothing has been changed",
                    hint="put the file itself in its place: cp --remove-destination \"$(readlink -f config/domain.yaml)\" "
                    "config/domain.yaml",
                )  # fmt: skip
            if move.to in self._mounts:
                raise OperationFailed(
                    f"something is mounted on {printable(move.to)}, so it cannot be replaced: nothing has been changed",
                    hint=f"unmount it: umount {printable(move.to)}",
                )
            if seen is not None and stat.S_ISDIR(seen.st_mode):
                self._open(move.to, seen, close=False)  # a folder that moves has its `..` written
        for touch in self._touches.values():
            self._check_owner(touch.path)

    def _check_folder(self, folder: bytes) -> None:
        seen = self._disk.lstat(folder)
        if seen is None:
            return
        if not stat.S_ISDIR(seen.st_mode):
            what = (
                "a symbolic link, and no link in the domain is followed"
                if stat.S_ISLNK(seen.st_mode)
                else "no folder"
            )
            raise OperationFailed(
                f"{printable(folder)} is {what}: nothing has been changed", hint="put a folder in its place"
            )  # fmt: skip
        self._open(folder, seen)

    def _check_owner(self, path: bytes) -> None:
        seen = self._disk.lstat(path)
        if seen is not None and os.geteuid() not in (0, seen.st_uid):
            raise OperationFailed(
                f"{printable(path)} belongs to somebody else, so its mode and modtime cannot be set: "
                "nothing has been changed",
                hint="whoever administers the domain must own its files",
            )

    def _open(self, folder: bytes, seen: os.stat_result, *, close: bool = True) -> None:
        """See to it that things can be moved in a folder, and that it is closed again afterwards."""
        if os.access(self._disk.root + b"/" + folder, os.W_OK | os.X_OK, effective_ids=True):
            return
        if seen.st_uid != os.geteuid():
            raise OperationFailed(
                f"{printable(folder)} cannot be written to: nothing has been changed",
                hint="whoever administers the domain must own its files",
            )
        self._opened[folder] = None
        known = self._touches.get(folder, Touch(path=folder))
        if close and known.mode is None:
            mode = stat.S_IMODE(seen.st_mode)
            self._touches[folder] = Touch(path=folder, mode=mode, mtime=known.mtime)

    def _sync(self) -> None:
        files = [os.fsencode(move.staged) for move in self._wanted if move.staged is not None]
        kinds = [stat.S_IFMT(os.lstat(path).st_mode) for path in files]
        if len(files) <= SINGLY and stat.S_IFDIR not in kinds:
            for path, kind in zip(files, kinds, strict=True):
                if kind == stat.S_IFREG:
                    durable.sync_path(path)
        else:
            self._disk.sync_all()

    def _stage(self, number: int, move: Move) -> Step:
        room = self._room(move.to)
        aside = room + b"/old-%d" % number
        if move.staged is None:
            return Step(to=move.to, staged=None, aside=aside)
        source = os.path.relpath(os.path.abspath(os.fsencode(move.staged)), self._disk.root)
        if not moves.is_within(source, MAKING):
            raise OperationFailed(f"{move.staged} was not made beside: nothing has been changed")
        place = room + b"/%d" % number
        self._keep_folder(source, move.to)
        if room == COMMIT:
            self._disk.rename(source, place)
        else:
            _copy(self._disk.root + b"/" + source, self._disk.root + b"/" + place)
        return Step(to=move.to, staged=place, aside=aside)

    def _room(self, to: bytes) -> bytes:
        """The folder from which a rename to `to` is possible: in the same mount."""
        mount = self._mount_of(to)
        if mount == self._mount_of(COMMIT):
            return COMMIT
        room = mount + b"/" + ROOM if mount else ROOM
        if room not in self.rooms:
            self._keep_time_of(mount)
            self.rooms[room] = None
            self._disk.mkdir(room, 0o700)
        return room

    def _mount_of(self, path: bytes) -> bytes:
        """The mount point that a path lies in, below the domain's folder; empty: none."""
        return max((point for point in self._mounts if moves.is_within(path, point)), key=len, default=b"")

    def _keep_time_of(self, mount: bytes) -> None:
        """Of a folder in which a room comes and goes, unless something else does."""
        seen = self._disk.lstat(mount) if mount else None
        if seen is None or any(move.to.rpartition(b"/")[0] == mount for move in self._wanted):
            return
        known = self._touches.get(mount, Touch(path=mount))
        mtime = seen.st_mtime_ns if known.mtime is None else known.mtime
        self._touches[mount] = Touch(path=mount, mode=known.mode, mtime=mtime)

    def _keep_folder(self, source: bytes, to: bytes) -> None:
        """A folder's mode may keep it from being moved, and moving it may change its modtime."""
        seen = os.lstat(self._disk.root + b"/" + source)
        if not stat.S_ISDIR(seen.st_mode):
            return
        self._touches.setdefault(to, Touch(path=to, mode=stat.S_IMODE(seen.st_mode), mtime=seen.st_mtime_ns))
        if seen.st_mode & OWNER != OWNER:
            self._disk.chmod(source, stat.S_IMODE(seen.st_mode) | OWNER)


def _copy(source: bytes, target: bytes) -> None:
    """Across mounts there is no rename: a copy with modes and modtimes, links as links, durable."""
    import shutil

    if stat.S_ISDIR(os.lstat(source).st_mode):
        shutil.copytree(os.fsdecode(source), os.fsdecode(target), symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
    durable.sync_file_system(os.path.dirname(target))
