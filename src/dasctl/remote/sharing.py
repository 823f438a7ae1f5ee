"""Contents that need not be sent: staged already, in `local/`, or somewhere in the instances of the same request.

What lives here: staging from this node's own disk, and the distribution of one content to all instances that need it.
What must not: contents from the link (`receive.py`).
"""

from __future__ import annotations

from dasctl.remote import paths, space, staging, state, words
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dasctl.remote.work import Work

    Guarded = Callable[[Work, Callable[[Work], None]], None]

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of no bytes


def stage_here(all_works: list[Work], guarded: Guarded) -> None:
    """Check the space, and stage all contents that the node has already; `needs` are the others."""
    works = [work for work in all_works if work.reply is None and (work.sizes or work.plan.changes)]
    if not works:
        return
    taken = 0
    for work in works:
        assert work.place is not None
        missing = sum(entry.size for entry in work.plan.place if entry.kind == "f") - sum(
            size for digest, size in work.sizes.items() if staging.has(work.place, digest, size)
        )
        try:
            space.check(work, missing, taken)
        except Failure as failure:
            work.fail(failure)
            continue
        taken += missing
    works = [work for work in works if work.reply is None]
    for work in works:
        guarded(work, _stage_overlay)
    works = [work for work in works if work.reply is None]
    wanting = {digest for work in works for digest in work.sizes if not _staged(all_works, digest, work)}
    _stage_copies(all_works, works, wanting)
    for work in works:
        work.needs = [digest for digest in work.sizes if not _staged(all_works, digest, work)]


def _staged(works: list[Work], digest: bytes, work: Work) -> bool:
    """Whether the content lies verified in the staging of some instance of the request."""
    return _holder(works, digest, work.sizes[digest]) is not None


def _holder(works: list[Work], digest: bytes, size: int) -> Work | None:
    for other in works:
        if other.place is not None and staging.has(other.place, digest, size):
            return other
    return None


def _stage_overlay(work: Work) -> None:
    assert work.place is not None
    for entry in work.plan.place:
        if entry.kind != "f" or staging.has(work.place, entry.digest, entry.size):
            continue
        if entry.size == 0 and entry.digest.decode() == EMPTY:
            staging.empty(work.place, entry.digest)
        elif entry.path in work.overlay.lines:
            source = b"local/" + entry.path
            if not staging.copy(work.place, source, work.place, entry.digest, entry.size):
                raise Failure(
                    "%s changes while it is read" % paths.printable(source), "synchronise again when it is at rest"
                )  # fmt: skip


def _stage_copies(all_works: list[Work], works: list[Work], wanting: set[bytes]) -> None:
    """Contents that an instance of the request has under another path are copied, not sent."""
    if not wanting:
        return
    for source in all_works:
        if source.place is None:
            continue
        for path, line in source.ancestor.items():
            digest = line.split(b" ", 5)[4]
            if digest not in wanting or path not in source.seen.same:
                continue
            user = next(work for work in works if digest in work.sizes)
            assert user.place is not None
            try:
                copied = staging.copy(source.place, path, user.place, digest, user.sizes[digest])
            except OSError as error:
                user.fail(state.explained(error, user.place.path))
                return
            if copied:
                wanting.discard(digest)


def distribute(works: list[Work], mine: Work) -> None:
    """Contents that this instance is about to use up are copied to the others that need them, and to it."""
    from_here = set(mine.sizes)
    if not from_here:
        return
    for work in works:
        if work.place is None or (
            work is not mine and (work.reply or {}).get("verdict") not in (None, words.NEEDS)
        ):
            continue
        for digest in from_here & set(work.sizes):
            size = work.sizes[digest]
            if staging.has(work.place, digest, size):
                continue
            holder = _holder(works, digest, size)
            if holder is None or holder.place is None:
                continue
            try:
                staging.copy(holder.place, staging.name_of(digest), work.place, digest, size)
            except OSError as error:
                if work is mine:
                    raise
                work.fail(state.explained(error, work.place.path))
                break
