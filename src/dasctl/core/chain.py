"""Rules of the chain of revisions that every history keeps, whatever it is stored in.

What lives here: judgements that raise HistoryError. What must not: storage.
"""

from __future__ import annotations

from collections.abc import Iterable

from dasctl.core.stamps import Revision
from dasctl.errors import HistoryError


def check_epoch(current: int, wanted: int) -> None:
    """An epoch only grows: who has a lower one is fenced."""
    if wanted <= current:
        raise HistoryError(f"the epoch is {current} already and cannot become {wanted}")


def check_restart(last: int, wanted: int) -> None:
    """The next number lies above all that were given."""
    if wanted <= last:
        raise HistoryError(f"the history has revision {last} already; the next one cannot be {wanted}")


def check_chain(revisions: Iterable[Revision], *, hint: str = "") -> int:
    """Recompute the digests of revisions, the oldest first; returns how many there are."""
    count, previous = 0, ""
    for revision in revisions:
        if revision.sealed(previous).digest != revision.digest:
            raise HistoryError(
                f"revision {revision.number} of {revision.who}@{revision.host} does not fit its digest: "
                "it, or what came before it, was altered",
                hint=hint,
            )
        count, previous = count + 1, revision.digest
    return count
