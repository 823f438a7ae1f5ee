"""Free space and inodes, looked at before anything is written rather than in the middle."""

from __future__ import annotations

from dasctl.remote.state import Failure
from dasctl.remote.system import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dasctl.remote.work import Work

MARGIN = 1 << 20  # bytes left free besides new contents
# The same where none come: what only deletes must be possible on a disk that is all but full.
LEAST_MARGIN = 64 << 10
PER_CHANGE = 256  # bytes of the journal


def check(work: Work, needed: int, taken: int) -> None:
    """Refuse before anything is written, rather than in the middle."""
    assert work.place is not None
    free = os.statvfs(work.place.root)
    there = free.f_bavail * free.f_frsize - taken
    wanted = needed + _margin(work, needed)
    if wanted > there:
        raise Failure(
            "not enough space in %s: %s needed, %s free" % (
                work.place.path, _size(wanted), _size(max(there, 0))
            ),
            "free some space on the node; old deviations lie in .dasctl/replaced",
            lacks_space=True,
        )  # fmt: skip
    files = len(work.plan.place) + len(work.plan.mkdir)
    if free.f_files and files > free.f_favail:
        raise Failure(
            "not enough inodes in %s: %d files are to be made, %d inodes are free"
            % (work.place.path, files, free.f_favail),
            "remove files that are not needed from that file system",
        )


def _margin(work: Work, needed: int) -> int:
    """Bytes for the manifest, the journal, and folders."""
    manifest = sum(len(data) for _name, _digest, data in work.parts)
    return (MARGIN if needed else LEAST_MARGIN) + manifest + PER_CHANGE * len(work.plan.changes)


def _size(count: int) -> str:
    size, unit = float(count), 0
    while size >= 1024 and unit < 4:
        size, unit = size / 1024, unit + 1
    return "%.1f %s" % (size, ("B", "KiB", "MiB", "GiB", "TiB")[unit])
