"""The commit: a journal of operations that can be done again, and doing them.

Rules of this file:
- Before the journal has its name nothing outside `.dasctl` has changed; from then on the commit only goes forward,
  whoever goes on with it, and however often.
- Every operation can be repeated after any number of those behind it: it looks whether it has been done.
- A file that is replaced is replaced by one rename: its path holds the old or the new one at any moment.
- An operation that fails is a problem of its path, never of the commit: what is then on disk deviates from the manifest,
  and the next synchronisation finds it.

What must not live here: what to do (`compare.py`), where contents come from (`staging.py`).
"""

from __future__ import annotations

import json
import os
import stat

from dasctl.remote import handles as by_handle
from dasctl.remote import paths, state
from dasctl.remote.disk import Disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Operation = list[Any]
    Problems = list[tuple[bytes, str]]

MANIFEST_NEXT = state.DOT + b"/manifest.next"
STATE_NEXT = state.DOT + b"/state.next"
MOST_JOURNAL = 1 << 30  # bytes
FSYNC_EACH = 32  # so many staged files are synced one by one; for more, one sync of everything is quicker


def begin(
    place: state.Place, operations: list[Operation], manifest: bytes | None, stamp: bytes | None
) -> None:
    """Write the journal: the point of no return. `manifest` and `stamp` take their names at the end."""
    if manifest is not None:
        place.disk.write(MANIFEST_NEXT, manifest)
    if stamp is not None:
        place.disk.write(STATE_NEXT, stamp)
    journal = {"format": 1, "manifest": manifest is not None, "state": stamp is not None, "ops": operations}
    place.disk.write(state.JOURNAL, json.dumps(journal, separators=(",", ":")).encode("ascii"))
    _sync_folder(place)


def interrupted(place: state.Place) -> bool:
    """Whether a commit is under way, or was."""
    return by_handle.lstat(place.handles, state.JOURNAL) is not None


def finish(place: state.Place) -> Problems:
    """Carry out the journal, if there is one, and clear the staging of what it prepared."""
    data = by_handle.contents(place.handles, state.JOURNAL, MOST_JOURNAL)
    if data is None:
        return []
    problems: Problems = []
    try:
        journal = json.loads(data)
        operations = list(journal["ops"])
    except (ValueError, KeyError, TypeError):
        # It has its name only once it is complete, so somebody else wrote here. The files are as they are: look again.
        for path in (state.STATE, state.MANIFEST):
            _ignored(place.disk, path)
        _ignored(place.disk, state.JOURNAL)
        return [(state.JOURNAL, "damaged: the instance is looked at as if nothing were known of it")]
    for operation in operations:
        _perform(place.disk, operation, problems)
    place.disk.handles.forget()
    for wanted, source, target in (
        (journal.get("manifest"), MANIFEST_NEXT, state.MANIFEST),
        (journal.get("state"), STATE_NEXT, state.STATE),
    ):
        if wanted and by_handle.lstat(place.handles, source) is not None:
            place.disk.rename(source, target)
    _sync_folder(place)
    place.disk.unlink(state.JOURNAL)
    clear(place)
    return problems


def clear(place: state.Place) -> None:
    """Remove what was prepared for a commit; verified contents stay."""
    try:
        names = os.listdir(place.handles.folder(state.STAGING))
    except OSError:
        return
    for name in names:
        if name.startswith("new."):
            _ignored(place.disk, state.STAGING + b"/" + os.fsencode(name))
    for path in (MANIFEST_NEXT, STATE_NEXT):
        if by_handle.lstat(place.handles, path) is not None:
            _ignored(place.disk, path)


def _ignored(disk: Disk, path: bytes) -> None:
    try:
        disk.unlink(path)
    except OSError:
        pass


def _sync_folder(place: state.Place) -> None:
    os.fsync(place.handles.folder(state.DOT))


def _perform(disk: Disk, operation: Operation, problems: Problems) -> None:
    name, path, *rest = operation
    where = paths.from_printable(path)
    try:
        ACTIONS[name](disk, where, *rest)
    except OSError as error:
        problems.append((where, error.strerror or str(error)))
    except OverflowError as error:  # a modtime that this machine's clock cannot hold
        problems.append((where, str(error)))


def _move(disk: Disk, path: bytes, aside: str) -> None:
    """Move what is at `path` aside, unless something lies there already: then it was moved before."""
    target = paths.from_printable(aside)
    if by_handle.lstat(disk.handles, target) is not None or by_handle.lstat(disk.handles, path) is None:
        return
    disk.folders(target.rpartition(b"/")[0])
    disk.rename(path, target)


def _link(disk: Disk, path: bytes, aside: str) -> None:
    """Keep what is at `path` under a second name, so that its path is never without a file."""
    target = paths.from_printable(aside)
    if by_handle.lstat(disk.handles, target) is not None or by_handle.lstat(disk.handles, path) is None:
        return
    disk.folders(target.rpartition(b"/")[0])
    try:
        disk.link(path, target)
    except OSError:
        disk.rename(path, target)  # a file system without links, or a file that is not ours to link


def _remove(disk: Disk, path: bytes) -> None:
    status = by_handle.lstat(disk.handles, path)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        disk.unlink(path)


def _rmdir(disk: Disk, path: bytes) -> None:
    import errno

    status = by_handle.lstat(disk.handles, path)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return
    try:
        disk.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _mkdir(disk: Disk, path: bytes) -> None:
    try:
        disk.mkdir(path)
    except FileExistsError:
        status = by_handle.lstat(disk.handles, path)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            raise
    except FileNotFoundError:
        disk.folders(path)  # what was chosen of a slice may lie in a folder that was not


def _place(disk: Disk, path: bytes, prepared: str) -> None:
    source = state.STAGING + b"/" + paths.from_printable(prepared)
    if by_handle.lstat(disk.handles, source) is not None:
        disk.rename(source, path)


def _touch(disk: Disk, path: bytes, mode: int, mtime: int) -> None:
    status = by_handle.lstat(disk.handles, path)
    if status is None:
        return
    if stat.S_ISLNK(status.st_mode):
        disk.dress_link(path, mtime)
    else:
        disk.dress_file(path, mode, mtime)


def _folder(disk: Disk, path: bytes, mode: int, mtime: int) -> None:
    status = by_handle.lstat(disk.handles, path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        disk.dress_folder(path, mode, mtime)


ACTIONS: dict[str, Any] = {
    "move": _move,
    "link": _link,
    "remove": _remove,
    "rmdir": _rmdir,
    "mkdir": _mkdir,
    "place": _place,
    "touch": _touch,
    "folder": _folder,
}
