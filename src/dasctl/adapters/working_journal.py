"""The journal of a change of the repository's files, and how it is carried out: `.dasctl/making/journal`.

Rules of this file. When the journal is there, everything is decided, staged and durable, and what it says is going to
happen; each step can be made again, so a kill at any of them is finished by whoever holds the lock next. Steps walk by
directory handles, and no symbolic link is followed. A move's staged thing is gone when the move is done; what a move
replaces goes `aside` first where a rename cannot replace it at once (a folder), or where nothing comes in its place.
What must not live here: whether a change is allowed, and staging (`working.py`).
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from dasctl.adapters import durable
from dasctl.core import moves
from dasctl.core.moves import MAKING, Touch
from dasctl.errors import FormatTooNew, OperationFailed
from dasctl.remote.handles import Handles, absent
from dasctl.remote.paths import from_printable, printable

FORMAT = 1
JOURNAL = MAKING + b"/journal"
JOURNAL_NEW = JOURNAL + b".new"
COMMIT = MAKING + b"/commit"  # what is put lies here from before the journal is written on
FOLDER_MODE = 0o755
OWNER = 0o700  # what a folder must let its owner do while things are moved in it
SINGLY = 16  # folders up to this number are synced one by one

Before = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One move: `staged` (None: nothing comes) goes to `to`; what was there goes to `aside`. All below the root."""

    to: bytes
    staged: bytes | None
    aside: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """All that a change does, in this order: open folders that their owner may not write to, steps, empty rooms, touch."""

    opened: tuple[bytes, ...]
    steps: tuple[Step, ...]
    rooms: tuple[bytes, ...]  # folders that hold what is staged, and what goes aside
    touches: tuple[Touch, ...]

    def as_bytes(self) -> bytes:
        return json.dumps({"format": FORMAT, **_printable(asdict(self))}, indent=1).encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes) -> Journal:
        """Raises ValueError, KeyError, TypeError where it is damaged."""
        raw = json.loads(data)
        if raw["format"] > FORMAT:
            raise FormatTooNew(
                f"{printable(JOURNAL)} has format {raw['format']}, and this dasctl knows format {FORMAT}",
                hint="use the dasctl that wrote it, or a newer one",
            )
        return cls(
            opened=tuple(map(from_printable, raw["opened"])),
            steps=tuple(_step(step) for step in raw["steps"]),
            rooms=tuple(map(from_printable, raw["rooms"])),
            touches=tuple(Touch(**{**touch, "path": from_printable(touch["path"])}) for touch in raw["touches"]),
        )  # fmt: skip


def _step(raw: dict[str, Any]) -> Step:
    staged = raw["staged"]
    return Step(
        to=from_printable(raw["to"]),
        staged=None if staged is None else from_printable(staged),
        aside=from_printable(raw["aside"]),
    )


def _printable(value: Any) -> Any:
    match value:
        case bytes():
            return printable(value)
        case dict():
            return {key: _printable(item) for key, item in value.items()}
        case list() | tuple():
            return [_printable(item) for item in value]
    return value


class Disk:
    """What is done to the files below `root`; `before` is told of each operation first. The caller closes it."""

    def __init__(self, root: bytes, before: Before) -> None:
        self.root = root
        self._before = before
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.handles = Handles(self._root)

    def close(self) -> None:
        self.handles.forget()
        os.close(self._root)

    def lstat(self, path: bytes) -> os.stat_result | None:
        """What is at `path`; None where nothing is."""
        try:
            folder, name = self.handles.parent(path)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if absent(error):
                return None
            raise

    def rename(self, source: bytes, target: bytes) -> None:
        self._before(f"rename {printable(source)} to {printable(target)}")
        folder, name = self.handles.parent(source)
        folder = os.dup(folder)  # the next call may close it
        try:
            other, target_name = self.handles.parent(target)
            os.rename(name, target_name, src_dir_fd=folder, dst_dir_fd=other)
        finally:
            os.close(folder)
            self.handles.forget()

    def mkdir(self, path: bytes, mode: int = FOLDER_MODE) -> None:
        """Make a folder, unless it is there."""
        self._before(f"make {printable(path)}")
        folder, name = self.handles.parent(path)
        try:
            os.mkdir(name, mode, dir_fd=folder)
        except FileExistsError:
            pass

    def chmod(self, path: bytes, mode: int) -> None:
        """Of a file or a folder; a link has none."""
        self._before(f"chmod {printable(path)}")
        folder, name = self.handles.parent(path)
        if not stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            os.chmod(name, mode, dir_fd=folder)

    def set_time(self, path: bytes, mtime: int) -> None:
        self._before(f"set the time of {printable(path)}")
        folder, name = self.handles.parent(path)
        seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
        os.utime(name, ns=(seen.st_atime_ns, mtime), dir_fd=folder, follow_symlinks=False)

    def sync(self, folder: bytes) -> None:
        self._before(f"sync {printable(folder)}")
        os.fsync(self.handles.folder(folder))

    def sync_all(self) -> None:
        self._before("sync the file system")
        durable.sync_file_system(self.root)

    def unlink(self, path: bytes) -> None:
        self._before(f"remove {printable(path)}")
        folder, name = self.handles.parent(path)
        os.unlink(name, dir_fd=folder)

    def write_journal(self, data: bytes) -> None:
        """In one step, and durably."""
        self._before(f"write {printable(JOURNAL_NEW)}")
        folder, name = self.handles.parent(JOURNAL_NEW)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.rename(JOURNAL_NEW, JOURNAL)
        self.sync(MAKING)

    def remove(self, path: bytes) -> None:
        """Remove what is at `path` with all that is in it, also from folders that their owner may not write to.

        However deep they lie in each other: a call per level would end at Python's limit, and with it every command.
        """
        pending = [(path, False)]
        while pending:
            path, emptied = pending.pop()
            if emptied:
                self._rmdir(path)
            elif (seen := self.lstat(path)) is not None and not stat.S_ISDIR(seen.st_mode):
                self.unlink(path)
            elif seen is not None:
                if seen.st_mode & OWNER != OWNER:
                    self.chmod(path, OWNER)
                pending.append((path, True))
                names = os.listdir(self.handles.folder(path))
                pending.extend((path + b"/" + os.fsencode(name), False) for name in names)

    def _rmdir(self, path: bytes) -> None:
        self._before(f"remove {printable(path)}")
        self.handles.drop(path)
        folder, name = self.handles.parent(path)
        os.rmdir(name, dir_fd=folder)


def read(disk: Disk) -> Journal | None:
    """The journal of a change that was begun; None where there is none. Raises OperationFailed where it is damaged."""
    try:
        folder, name = disk.handles.parent(JOURNAL)
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    try:
        return Journal.from_bytes(data)
    except (ValueError, KeyError, TypeError) as error:
        raise OperationFailed(
            f"{printable(JOURNAL)} cannot be read: {error}; a change of the domain's files was begun and not finished",
            hint=f"look at {printable(COMMIT)}: it holds what had not come to its place yet, and what was replaced",
        ) from error


def carry_out(disk: Disk, journal: Journal) -> None:
    """Do what the journal says, or the rest of it, and remove it. Raises OSError; the journal is there still by then."""
    for path in journal.opened:
        seen = disk.lstat(path)
        if seen is not None and stat.S_ISDIR(seen.st_mode) and seen.st_mode & OWNER != OWNER:
            disk.chmod(path, stat.S_IMODE(seen.st_mode) | OWNER)
    for step in journal.steps:
        _take(disk, step)
    for room in journal.rooms:
        disk.remove(room)
    for touch in reversed(journal.touches):  # a folder after what is in it
        _touch(disk, touch)
    _sync(disk, journal)
    disk.unlink(JOURNAL)
    disk.sync(MAKING)


def _take(disk: Disk, step: Step) -> None:
    staged = disk.lstat(step.staged) if step.staged is not None else None
    if step.staged is not None and staged is None:
        return  # done before
    there = disk.lstat(step.to)
    if step.staged is None or staged is None:
        if there is not None and disk.lstat(step.aside) is None:
            disk.rename(step.to, step.aside)
        return
    if there is not None and (stat.S_ISDIR(there.st_mode) or stat.S_ISDIR(staged.st_mode)):
        disk.rename(step.to, _free(disk, step.aside))
    _make_way(disk, step.to)
    disk.rename(step.staged, step.to)


def _free(disk: Disk, aside: bytes) -> bytes:
    """Where something can go aside: somebody may have put another thing in its place before the change was finished."""
    names = [aside, *(aside + b".%d" % number for number in range(1, 100))]
    return next((name for name in names if disk.lstat(name) is None), aside)


def _make_way(disk: Disk, path: bytes) -> None:
    for folder in moves.folders_above([path]):
        if disk.lstat(folder) is None:
            disk.mkdir(folder)


def _touch(disk: Disk, touch: Touch) -> None:
    if disk.lstat(touch.path) is None:
        return  # removed by somebody before the change was finished
    if touch.mode is not None:
        disk.chmod(touch.path, touch.mode)
    if touch.mtime is not None:
        disk.set_time(touch.path, touch.mtime)


def _sync(disk: Disk, journal: Journal) -> None:
    folders = {step.to.rpartition(b"/")[0] for step in journal.steps}
    if len(folders) + len(journal.touches) > SINGLY:
        disk.sync_all()
        return
    for folder in sorted(folders):
        if disk.lstat(folder) if folder else True:
            disk.sync(folder)
    for touch in journal.touches:
        seen = disk.lstat(touch.path)
        if seen is not None and stat.S_ISDIR(seen.st_mode):
            disk.sync(touch.path)
