"""A folder that was renamed in the repository is renamed on the node, with one rename, however many files it holds.

What lives here: which folders of a plan are such, what is left of the plan without them, and renaming one. What must not:
the judgement over paths (`compare.py`), the journal (`commit.py`).

It is done only where the whole disk is as it was synchronised last: then nobody else's files lie in the folder. The journal
names all that the folder holds. Where it holds something else by the time of the commit, or something has come to be at the
new path, each file goes there by itself, and what is not ours stays.
"""

from __future__ import annotations

from dasctl.remote import compare, mounts, paths
from dasctl.remote import handles as by_handle
from dasctl.remote.system import os, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dasctl.remote.compare import Plan
    from dasctl.remote.disk import Disk
    from dasctl.remote.work import Work

    Problems = list[tuple[bytes, str]]
    # By folder in it, the folders above first: the names of the files and links there.
    Held = list[tuple[str, list[str]]]


class Shift:
    """The folder `old` becomes `new`."""

    __slots__ = ("held", "new", "old")

    def __init__(self, old: bytes, new: bytes, held: Held) -> None:
        self.old, self.new, self.held = old, new, held


def find(work: Work, wanted: Mapping[bytes, bytes]) -> tuple[list[Shift], Plan]:
    """The folders of `work.plan` that can be renamed, and the plan without them. The disk has to be as known."""
    plan, shifts = work.plan, []
    if plan.rmdir and plan.mkdir and plan.place and plan.remove:
        gone = _folders(plan.rmdir, plan.remove, work.ancestor)
        come = _folders(plan.mkdir, [entry.path for entry in plan.place], wanted)
        for new, held in come.items():
            old = next((old for old, other in gone.items() if other == held), None)
            if old is not None and new not in work.ancestor and _can_be_renamed(work, old, new):
                del gone[old]
                shifts.append(Shift(old, new, _held(held)))
    return (shifts, _without(plan, shifts)) if shifts else ([], plan)


def _folders(
    folders: Iterable[bytes], files: Iterable[bytes], lines: Mapping[bytes, bytes]
) -> dict[bytes, list[tuple[bytes, bytes]]]:
    """The topmost of `folders`, each with what it holds: (path in it, line without path; of a folder no line)."""
    tops: dict[bytes, list[tuple[bytes, bytes]]] = {}
    inside: dict[bytes, bytes] = {}  # each folder's topmost one
    for path in sorted(folders):
        top = inside.get(path.rpartition(b"/")[0])
        if top is None:
            top = path
            tops[top] = []
        inside[path] = top
        tops[top].append((path[len(top) :], b""))
    for path in files:
        top = inside.get(path.rpartition(b"/")[0])
        if top is not None:
            tops[top].append((path[len(top) :], lines[path][: -len(path)]))
    for held in tops.values():
        held.sort()
    return tops


def _can_be_renamed(work: Work, old: bytes, new: bytes) -> bool:
    """Whether both are in one file system, and the folder that `new` comes into is there."""
    assert work.place is not None
    handles, above = work.place.handles, new.rpartition(b"/")[0]
    here, there = by_handle.lstat(handles, old), by_handle.lstat(handles, above)
    if here is None or there is None or here.st_dev != there.st_dev or not stat.S_ISDIR(there.st_mode):
        return False
    try:
        return not mounts.below(os.readlink(b"/proc/self/fd/%d" % work.place.root))
    except OSError:
        return False


def _held(found: list[tuple[bytes, bytes]]) -> Held:
    names: dict[bytes, list[str]] = {path: [] for path, line in found if not line}
    for path, line in found:
        if line:
            folder, _, name = path.rpartition(b"/")
            names[folder].append(paths.printable(name))
    return [(paths.printable(folder), inside) for folder, inside in names.items()]


def _without(plan: Plan, shifts: list[Shift]) -> Plan:
    left = compare.Plan()
    for name in plan.__slots__:
        setattr(left, name, getattr(plan, name))
    old = {shift.old + paths.from_printable(folder) for shift in shifts for folder, _names in shift.held}
    new = {shift.new + paths.from_printable(folder) for shift in shifts for folder, _names in shift.held}
    left.remove = [path for path in plan.remove if path.rpartition(b"/")[0] not in old]
    left.rmdir = [path for path in plan.rmdir if path not in old]
    left.mkdir = [path for path in plan.mkdir if path not in new]
    left.place = [entry for entry in plan.place if entry.path.rpartition(b"/")[0] not in new]
    return left


def origins(work: Work) -> dict[bytes, str]:
    """In which file each content of the renamed folders lies, for people."""
    olds = {shift.new + paths.from_printable(folder): shift.old + paths.from_printable(folder)
            for shift in work.shifts for folder, _names in shift.held}  # fmt: skip
    found = {}
    for entry in work.plan.place:
        above, _, name = entry.path.rpartition(b"/")
        if above in olds and entry.kind == "f":
            found[entry.digest] = paths.printable(olds[above] + b"/" + name)
    return found


def carry_out(disk: Disk, problems: Problems, old: str, new: str, held: Held) -> None:
    """Rename the folder `old` to `new`; done again it finds nothing to do."""
    source, target = paths.from_printable(old), paths.from_printable(new)
    try:
        if by_handle.lstat(disk.handles, source) is None:
            return
        if by_handle.lstat(disk.handles, target) is None and _holds(disk, source, held):
            disk.handles.forget()
            disk.rename(source, target)
            disk.handles.forget()
            return
    except OSError:
        pass  # then one by one, which says what is wrong
    disk.handles.forget()
    for path, inside in _paths(held):
        _each(disk, problems, source + path, target + path, inside)
    for path, _inside in reversed(list(_paths(held))):
        _remove(disk, problems, source + path)


def _paths(held: Held) -> Iterator[tuple[bytes, list[bytes]]]:
    for folder, names in held:
        yield paths.from_printable(folder), [paths.from_printable(name) for name in names]


def _holds(disk: Disk, source: bytes, held: Held) -> bool:
    """Whether there is nothing else in the folder than what was there."""
    expected: dict[bytes, set[bytes]] = {}
    for path, names in _paths(held):
        expected[path] = set(names)
        if path:
            above, _, name = path.rpartition(b"/")
            expected[above].add(name)
    return all(set(by_handle.names(disk.handles, source + path)) == names for path, names in expected.items())


def _each(disk: Disk, problems: Problems, source: bytes, target: bytes, names: list[bytes]) -> None:
    from dasctl.remote import commit

    try:
        if by_handle.lstat(disk.handles, source) is None:
            return
        commit.make(disk, target)
    except OSError as error:
        problems.append((target, error.strerror or str(error)))
        return
    for name in names:
        try:
            if by_handle.lstat(disk.handles, source + b"/" + name) is not None:
                disk.rename(source + b"/" + name, target + b"/" + name)
        except OSError as error:
            problems.append((target + b"/" + name, error.strerror or str(error)))


def _remove(disk: Disk, problems: Problems, path: bytes) -> None:
    from dasctl.remote import commit

    try:
        commit.remove_folder(disk, path)
    except OSError as error:
        problems.append((path, error.strerror or str(error)))
