"""An instance that is staged and waits for `commit`: the two ends of the wait.

What lives here: what is made certain before the wait, and what must still hold after it. What must not: the order of the
steps (`sync.py`), the commit.
"""

from __future__ import annotations

import os

from dasctl.remote import handles as by_handle
from dasctl.remote import report, staging, state, words
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dasctl.remote.work import Work

    Reply = dict[str, Any]

FSYNC_EACH = 32  # so many contents are synced one by one; for more, one sync of everything is quicker


def staged(work: Work) -> Reply:
    """The reply for an instance that has all that it needs. What is slow about the commit has been done by then."""
    assert work.place is not None
    _make_lasting(work.place, sorted(work.sizes))
    return {"name": work.name, "verdict": words.STAGED, "at": work.kept.at, **report.counts(work)}


def still_ours(work: Work) -> None:
    """Raise Failure where somebody has taken the instance's own folder away, or brought another one back, meanwhile."""
    assert work.place is not None
    if work.place.holds_lock() and state.load(work.place, with_parts=False).at == work.kept.at:
        return
    raise Failure(
        "%s was put aside or replaced while the instance waited for the commit: nothing was changed"
        % os.path.join(work.place.path, ".dasctl"),
        "find out who works in that folder on the node, then synchronise again",
    )


def all_there(work: Work) -> None:
    """Raise Failure where the second look found work that the first one did not, and that needs contents."""
    if not work.needs:
        return
    lacking = set(work.needs)
    raise Failure(
        "changed on the node between staging and commit, and what belongs there was not sent: "
        + report.some(entry.path for entry in work.plan.place if entry.digest in lacking),
        "nothing was changed in this instance; synchronise again",
    )


def _make_lasting(place: state.Place, digests: list[bytes]) -> None:
    if len(digests) > FSYNC_EACH:
        os.sync()
        return
    for digest in digests:
        handle = by_handle.open_file(place.handles, staging.name_of(digest))
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
