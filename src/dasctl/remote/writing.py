"""What a plan becomes on disk: the journal's operations, the manifest and the stamp, committed together.

What lives here: from plan to commit. What must not: the commit itself (`commit.py`), judgement (`compare.py`).
"""

from __future__ import annotations

import sys

from dasctl.remote import commit, compare, paths, state
from dasctl.remote import handles as by_handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dasctl.remote.work import Work

REPLACED_KEPT = 20  # commits whose replaced deviations are kept


def carry_out(work: Work, domain: str, epoch: int, local: bool) -> tuple[list[tuple[bytes, str]], str]:
    """Commit: returns problems, and where what was replaced lies."""
    place, plan = work.place, work.plan
    assert place is not None
    exceptions = work.overlay.exceptions(work.kept)
    for path, kind in plan.kept.items():
        exceptions[paths.printable(path)] = {"kind": kind, "entry": None}
    known = None
    if (
        exceptions != work.kept.exceptions
        or not work.same_parts()
        or (work.kept.at is None and not work.partial)
    ):
        known = state.manifest_bytes(work.parts, exceptions)
    stamp = _stamp(work, domain, epoch, local)
    if known is None and plan.nothing():
        if stamp is not None:
            place.disk.write(state.STATE, stamp)
        return [], ""
    aside = _aside(place, work.request["lead"]["revision"]) if plan.move or plan.link else ""
    try:
        commit.begin(place, _operations(work, aside), known, stamp)
    except BaseException:
        if not commit.interrupted(place):
            if work.fresh is not None:
                work.fresh.give_back()
            commit.clear(place)
        raise
    finally:
        work.fresh = None
    problems = commit.finish(place)
    if aside:
        _forget_old(place)
    return problems, aside


def _forget_old(place: state.Place) -> None:
    """Keep what the last commits replaced; a server that rewrites a file of the repository must not fill the disk."""
    names = sorted(by_handle.names(place.handles, state.REPLACED), key=_age)
    for name in names[:-REPLACED_KEPT]:
        place.disk.remove_tree(state.REPLACED + b"/" + name)


def _age(name: bytes) -> list[int]:
    """`12.3` after `12` after `9`; what is not ours to name comes last, and so stays."""
    return [int(part) if part.isdigit() else sys.maxsize for part in name.split(b".")]


def _stamp(work: Work, domain: str, epoch: int, local: bool) -> bytes | None:
    """What state.json becomes, or None where it stays."""
    at, lead = work.kept.at, work.request["lead"]
    if at is not None and (
        work.partial or [at["revision"], at["digest"]] == [lead["revision"], lead["digest"]]
    ):
        if epoch <= at["epoch"]:
            return None
        at["epoch"] = epoch
        return state.state_bytes(at)
    if work.partial:
        return None
    epoch = epoch if at is None or local is False else max(epoch, at["epoch"])
    work.kept.at = state.stamp_of(domain, epoch, lead)
    return state.state_bytes(work.kept.at)


def _aside(place: state.Place, revision: int) -> str:
    """A folder that is not there yet, for what this commit replaces."""
    number, suffix = 0, ""
    while True:
        path = "%s/%d%s" % (state.REPLACED.decode(), revision, suffix)
        if by_handle.lstat(place.handles, path.encode()) is None:
            return path
        number += 1
        suffix = ".%d" % number


def _operations(work: Work, aside: str) -> list[list[Any]]:
    """The journal of a plan."""
    plan, text = work.doing, paths.printable
    placed: list[list[Any]] = []
    brought: set[bytes] = set()  # folders that are placed whole, and those in them
    dressed: set[bytes] = set()  # those that need no dressing any more
    if plan.place or plan.mkdir:
        from dasctl.remote.fresh import Fresh

        assert work.place is not None
        if work.fresh is None:
            work.fresh = Fresh(work.place)
        placed, brought, dressed = work.fresh.prepare(plan, work.seen)
    away = [["move", text(path), aside + "/" + text(path)] for path in plan.move]
    linked = [["link", text(path), aside + "/" + text(path)] for path in plan.link]
    folders = [path for path in plan.folders if path not in dressed]
    return [
        *away,
        *(["shift", text(shift.old), text(shift.new), shift.held] for shift in work.shifts),
        *_removals(plan.remove),
        *(["rmdir", text(path)] for path in reversed(plan.rmdir)),
        *(["mkdir", text(path)] for path in plan.mkdir if path not in brought),
        *linked,
        *placed,
        *_touches(plan),
        *(
            ["folder", text(path), plan.folders[path].mode, plan.folders[path].mtime]
            for path in sorted(folders, key=lambda path: (-path.count(b"/"), path))
        ),
    ]


def _removals(removed: list[bytes]) -> list[list[Any]]:
    groups = commit.by_folder((path, None) for path in removed)
    return [
        ["removes", paths.printable(folder), [paths.printable(name) for name, _ in items]]
        for folder, items in groups
    ]


def _touches(plan: compare.Plan) -> list[list[Any]]:
    operations: list[list[Any]] = []
    folder: bytes | None = None
    names: list[str] = []
    modes: list[int] = []
    times: list[int] = []
    for path, _kind, mode, _size, mtime, _digest in plan.touch:
        above, _, name = path.rpartition(b"/")
        if above != folder:
            folder, names, modes, times = above, [], [], []
            operations.append(["touches", paths.printable(folder), names, modes, times])
        names.append(paths.printable(name))
        modes.append(mode)
        times.append(mtime)
    return operations
