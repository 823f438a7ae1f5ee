"""What a plan must not do without a question, and what it cannot do at all; found before anything is changed.

What lives here: deletions of most of an instance, work across the border of a file system. What must not: free space
(`space.py`), deviations (`compare.py`).
"""

from __future__ import annotations

from dasctl.remote import mounts, paths
from dasctl.remote.state import Failure
from dasctl.remote.system import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from dasctl.remote.compare import Plan
    from dasctl.remote.work import Work

MANY = 100  # files: fewer may go without a question, however few there are


def mass_deletion(work: Work) -> dict[str, int] | None:
    """The numbers of a deletion that is worth a question: more than MANY, and more than half of what was synchronised,
    or, foreign files included, of what is on disk. None: it is not."""
    gone = [path for path, why in work.plan.changes if why == "deleted"]
    if len(gone) <= MANY:
        return None
    ours = {path for path, line in work.ancestor.items() if line[:1] != b"d"}
    there = ours.union(path for path, entry in work.seen.other.items() if entry.kind != "d")
    for files, deleted in ((len(ours), sum(path in ours for path in gone)), (len(there), len(gone))):
        if deleted > MANY and 2 * deleted > files:
            return {"files": files, "deleted": deleted}
    return None


def refusal(numbers: dict[str, int]) -> Failure:
    """The failure that says so."""
    return Failure(
        "would delete {deleted:,} of {files:,} files".format(**numbers),
        "look with --dry-run whether that is meant; --yes does it all the same",
    )


def check_mounts(work: Work) -> None:
    """Refuse what no file system can do: remove a mount point, or rename across it."""
    plan, place = work.plan, work.place
    if place is None or not (plan.rmdir or plan.remove or plan.move or plan.link or plan.place):
        return
    try:
        root = os.readlink(b"/proc/self/fd/%d" % place.root)
    except OSError:
        return  # without /proc nothing tells of mounts either
    for point in mounts.below(root):
        path = point[len(root) + 1 :]
        found, remedy = _impossible(path, plan) if path else ("", "")
        if found:
            raise Failure("%s, where something is mounted on the node" % found, remedy)


def _impossible(point: bytes, plan: Plan) -> tuple[str, str]:
    """What of the plan cannot be done because of a mount at `point`, and a remedy; ("", ""): all can be done."""
    name = paths.printable(point)
    if point in plan.rmdir or point in plan.remove:
        return (
            "cannot remove %s" % name,
            "unmount it there, or put it back into the repository (an empty folder is enough)",
        )
    aside = _at_or_below(point, (*plan.move, *plan.link))
    if aside:
        return (
            "cannot keep %s aside: it lies at %s" % (paths.printable(aside), name),
            "unmount it there, or leave the file as it is: --deviations keep, or an exclude in domain.yaml",
        )
    placed = _at_or_below(point, [entry.path for entry in plan.place])
    if placed:
        return (
            "cannot put %s in its place in one step: it lies at %s" % (paths.printable(placed), name),
            "unmount it there, mount it outside of the synchronised folders, or exclude %s in domain.yaml"
            % name,
        )
    return "", ""


def _at_or_below(point: bytes, found: Iterable[bytes]) -> bytes:
    return next((path for path in found if (path + b"/").startswith(point + b"/")), b"")
