"""What a dry run tells of contents: which would have to be sent, and where the node has the others already.

What lives here: looking, without writing anything. What must not: staging (`sharing.py`).
"""

from __future__ import annotations

from dasctl.remote import paths, staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from dasctl.remote.work import Work

EMPTY = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of no bytes


def foresee(works: Iterable[Work], work: Work) -> list[Any]:
    """The contents that would have to be sent for `work`, as in the verdict `needs`; fills `work.origins`."""
    wanting = set(work.sizes) - {EMPTY}
    if work.place is not None:
        wanting = {digest for digest in wanting if not _staged(work, digest)}
    for entry in work.plan.place:
        if entry.digest in wanting and entry.path in work.overlay.lines:
            work.origins[entry.digest] = "local/" + paths.printable(entry.path)
    for other in [work, *(other for other in works if other is not work)]:
        _find(other, wanting - work.origins.keys(), work)
    return [
        _lacking(work, digest) for digest in work.sizes if digest in wanting and digest not in work.origins
    ]


def _staged(work: Work, digest: bytes) -> bool:
    assert work.place is not None
    return staging.has(work.place, digest, work.sizes[digest], mend=False)


def _find(source: Work, wanting: set[bytes], work: Work) -> None:
    if not wanting or source.place is None:
        return
    prefix = "" if source is work else "../%s/" % source.name
    for path, line in source.ancestor.items():
        digest = line.split(b" ", 5)[4]
        if digest in wanting and path in source.seen.same:
            work.origins.setdefault(digest, prefix + paths.printable(path))


def _lacking(work: Work, digest: bytes) -> Any:
    have = 0 if work.place is None else staging.begun(work.place, digest, work.sizes[digest])
    return [digest.decode(), have] if have else digest.decode()
