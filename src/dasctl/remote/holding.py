"""An instance that is staged and waits for `commit`: the two ends of the wait.

What lives here: what is made certain before the wait, and what must still hold after it. What must not: the order of the
steps (`sync.py`), the commit.
"""

from __future__ import annotations

import os

from dasctl.remote import report, state, words
from dasctl.remote.state import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dasctl.remote.work import Work

    Reply = dict[str, Any]


def staged(work: Work, most: int) -> Reply:
    """The reply for an instance that has all that it needs; at most `most` changes are named. What is slow about the commit
    has been done by then."""
    if work.fresh is not None:
        work.fresh.complete(work.doing, work.seen)
    return {
        "name": work.name, "verdict": words.STAGED, "at": work.kept.at, **report.counts(work),
        **report.changes(work, most),
    }  # fmt: skip


def still_ours(work: Work) -> None:
    """Raise Failure where somebody has taken the instance's own folder away, or brought another one back, meanwhile."""
    assert work.place is not None
    work.place.handles.forget()  # they would still lead into what was moved away
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
