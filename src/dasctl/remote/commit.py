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

from dasctl.remote import handles as by_handle
from dasctl.remote import paths, quick_json, state
from dasctl.remote.disk import LEAVE, Disk
from dasctl.remote.system import os, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Operation = list[Any]
    Problems = list[tuple[bytes, str]]

MANIFEST_NEXT = state.DOT + b"/manifest.next"
STATE_NEXT = state.DOT + b"/state.next"
COPY = state.STAGING + b"/new.copy"
MOST_JOURNAL = 1 << 30  # bytes


def begin(
    place: state.Place, operations: list[Operation], manifest: bytes | None, stamp: bytes | None
) -> None:
    """Write the journal: the point of no return. `manifest` and `stamp` take their names at the end."""
    if manifest is not None:
        place.disk.write(MANIFEST_NEXT, manifest)
    if stamp is not None:
        place.disk.write(STATE_NEXT, stamp)
    journal = {"format": 1, "manifest": manifest is not None, "state": stamp is not None, "ops": operations}
    place.disk.write(state.JOURNAL, quick_json.dumps(journal).encode("ascii"))
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
        journal = quick_json.loads(data)
        operations = list(journal["ops"])
    except (ValueError, KeyError, TypeError):
        # It has its name only once it is complete, so somebody else wrote here. The files are as they are: look again.
        for path in (state.STATE, state.MANIFEST):
            _ignored(place.disk, path)
        _ignored(place.disk, state.JOURNAL)
        return [(state.JOURNAL, "damaged: the instance is looked at as if nothing were known of it")]
    for operation in operations:
        if operation[0] in MANY:
            MANY[operation[0]](place.disk, problems, *operation[1:])
        else:
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
    if state.in_staging(place):
        from dasctl.remote import staging

        staging.clear(place)
    _clear_next(place)


def salvage(place: state.Place) -> None:
    """After an end that came before the journal: remove what was prepared, but keep the contents."""
    if state.in_staging(place):
        from dasctl.remote import staging

        staging.salvage(place)
    _clear_next(place)


def _clear_next(place: state.Place) -> None:
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


def remove_folder(disk: Disk, path: bytes) -> None:
    import errno

    status = by_handle.lstat(disk.handles, path)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return
    try:
        disk.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def make(disk: Disk, path: bytes) -> None:
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
    elif status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
        if (stat.S_IMODE(status.st_mode), status.st_mtime_ns) != (mode, mtime):
            _replace_by_copy(disk, path, mode, mtime)
    else:
        disk.dress_file(path, mode, mtime)


def _replace_by_copy(disk: Disk, path: bytes, mode: int, mtime: int) -> None:
    """A file with further names elsewhere: they keep its mode and modtime, and the path gets a file of its own."""
    from dasctl.remote import staging

    disk.remove_tree(COPY)
    reading = by_handle.open_file(disk.handles, path)
    try:
        writing = disk.create(COPY)
        try:
            staging.pour(reading, writing)
            os.fsync(writing)
        finally:
            os.close(writing)
    except BaseException:
        disk.remove_tree(COPY)
        raise
    finally:
        os.close(reading)
    disk.dress_file(COPY, mode, mtime)
    disk.rename(COPY, path)


def _folder(disk: Disk, path: bytes, mode: int, mtime: int) -> None:
    status = by_handle.lstat(disk.handles, path)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return
    if stat.S_IMODE(status.st_mode) != mode:
        disk.dress_folder(path, mode, mtime)
    elif mtime not in (LEAVE, status.st_mtime_ns):
        disk.dress_link(path, mtime)  # it is not opened for that


ACTIONS: dict[str, Any] = {
    "move": _move,
    "link": _link,
    "remove": _remove,
    "rmdir": remove_folder,
    "mkdir": make,
    "place": _place,
    "touch": _touch,
    "folder": _folder,
}


# -- operations about many paths: what can be done at once is; all else goes the ordinary way, one by one


def by_folder(items: Iterable[tuple[bytes, Any]]) -> Iterator[tuple[bytes, list[tuple[bytes, Any]]]]:
    """(path, value) grouped by the folder of the path, where neighbours have the same: (folder, [(name, value), …])."""
    current: bytes | None = None
    group: list[tuple[bytes, Any]] = []
    for path, value in items:
        folder, _, name = path.rpartition(b"/")
        if folder != current:
            if group and current is not None:
                yield current, group
            current, group = folder, []
        group.append((name, value))
    if group and current is not None:
        yield current, group


def _below(folder: str, name: str) -> str:
    return folder + "/" + name if folder else name


def _removes(disk: Disk, problems: Problems, folder: str, names: list[str]) -> None:
    handle = _folder_handle(disk, folder)
    for name in names:
        if handle >= 0:
            disk.before("unlink")
            try:
                os.unlink(paths.from_printable(name), dir_fd=handle)
                continue
            except FileNotFoundError:
                continue
            except OSError:
                pass  # explained below, or mended
        _perform(disk, ["remove", _below(folder, name)], problems)
        handle = _folder_handle(disk, folder)


def _places(disk: Disk, problems: Problems, folder: str, pairs: list[str]) -> None:
    """`pairs`: names, each followed by what is placed there."""
    try:
        staged = os.dup(disk.handles.folder(state.STAGING))
    except OSError:
        staged = -1
    try:
        handle = _folder_handle(disk, folder)
        for name, made in zip(pairs[::2], pairs[1::2]):
            if handle >= 0 and staged >= 0:
                disk.before("rename")
                try:
                    source, target = paths.from_printable(made), paths.from_printable(name)
                    os.rename(source, target, src_dir_fd=staged, dst_dir_fd=handle)
                    continue
                except OSError:
                    pass  # done before, or explained below, or mended
            _perform(disk, ["place", _below(folder, name), made], problems)
            handle = _folder_handle(disk, folder)
    finally:
        if staged >= 0:
            os.close(staged)


def _touches(
    disk: Disk, problems: Problems, folder: str, names: list[str], modes: list[int], times: list[int]
) -> None:
    handle = _folder_handle(disk, folder)
    for text, mode, mtime in zip(names, modes, times):
        name = paths.from_printable(text)
        if handle >= 0:
            try:
                status = os.stat(name, dir_fd=handle, follow_symlinks=False)
                if status.st_mode == stat.S_IFREG | mode and status.st_nlink == 1:
                    if status.st_mtime_ns != mtime:
                        disk.before("utime")
                        os.utime(name, ns=(mtime, mtime), dir_fd=handle, follow_symlinks=False)
                    continue
            except (OSError, OverflowError):
                pass  # explained below, or mended
        _perform(disk, ["touch", _below(folder, text), mode, mtime], problems)
        handle = _folder_handle(disk, folder)


def _folder_handle(disk: Disk, folder: str) -> int:
    """The handle of a folder, valid until the next call; -1 where there is none."""
    try:
        return disk.handles.folder(paths.from_printable(folder))
    except OSError:
        return -1


def _tree(disk: Disk, problems: Problems, path: str, prepared: str, folders: list[list[Any]]) -> None:
    """Place a whole folder. `folders`: [path in it, mode, modtime], the deepest first.

    Where something has come to be at its path meanwhile, what it holds goes there one by one.
    """
    source, target = state.STAGING + b"/" + paths.from_printable(prepared), paths.from_printable(path)
    try:
        if by_handle.lstat(disk.handles, source) is None:
            return
        if b"/" in target and by_handle.lstat(disk.handles, target.rpartition(b"/")[0]) is None:
            disk.folders(target.rpartition(b"/")[0])
        disk.handles.forget()
        disk.rename(source, target)
        disk.handles.forget()
    except OSError:
        _merge(disk, problems, source, target)
        for below, mode, mtime in folders:
            _perform(disk, ["folder", _below(path, below), mode, mtime], problems)
    except OverflowError as error:
        problems.append((target, str(error)))


def _merge(disk: Disk, problems: Problems, source: bytes, target: bytes) -> None:
    pending = [(source, target)]
    while pending:
        source, target = pending.pop()
        try:
            make(disk, target)
            names = by_handle.names(disk.handles, source)
        except OSError as error:
            problems.append((target, error.strerror or str(error)))
            continue
        for name in names:
            old, new = source + b"/" + name, target + b"/" + name
            status = by_handle.lstat(disk.handles, old)
            if status is not None and stat.S_ISDIR(status.st_mode):
                pending.append((old, new))
                continue
            try:
                disk.rename(old, new)
            except OSError as error:
                problems.append((new, error.strerror or str(error)))


def _shift(disk: Disk, problems: Problems, old: str, new: str, held: list[tuple[str, list[str]]]) -> None:
    from dasctl.remote import shifting

    shifting.carry_out(disk, problems, old, new, held)


MANY: dict[str, Any] = {
    "removes": _removes,
    "places": _places,
    "touches": _touches,
    "tree": _tree,
    "shift": _shift,
}
