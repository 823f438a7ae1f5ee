"""`show-revision`: who made a revision, what it changed, and what commands amounted to while it was the last one."""

from __future__ import annotations

from dasctl.core import changes
from dasctl.core.outcome import OK, Outcome, Result, summed_up
from dasctl.core.stamps import Revision
from dasctl.errors import DasctlError
from dasctl.operations.history import failure_fields, failures_told, revision_fields
from dasctl.operations.past import MOST_LOOKED_AT, Past, past, revision_of
from dasctl.operations.ports import Context
from dasctl.remote.paths import printable


async def show_revision(ctx: Context, *, number: int | None = None) -> Outcome:
    """One result with `changes` (path, what) from the revision before; None where one of the two is kept no more.

    `number` None is the last revision.
    """
    head = ctx.history.head()
    number = number if number is not None or head is None else head.number
    revision = revision_of(ctx, number or 0)
    number = revision.number
    before, told = _before(ctx, number), ctx.history.told([number])
    fields = {
        **revision_fields(revision), "epoch": revision.epoch, "config_id": f"{revision.config_id:08x}",
        "digest": revision.digest, "before": before.number if before is not None else None,
        **failures_told(revision, told), "outcomes": [failure_fields(one) for one in told],
    }  # fmt: skip
    notes: tuple[str, ...] = ()
    try:
        fields["changes"] = [_change(change) for change in _changes(ctx, past(ctx, number), before)]
    except DasctlError as error:
        fields["changes"] = None
        notes = (f"what it changed is not known: {error.message}",)
    return summed_up(
        "show-revision", [Result(status=OK, fields=fields)], revision=number, changed=True, notes=notes
    )


def _before(ctx: Context, number: int) -> Revision | None:
    known = ctx.history.revisions(limit=MOST_LOOKED_AT)
    return next((revision for revision in known if revision.number < number), None)


def _changes(ctx: Context, then: Past, before: Revision | None) -> list[changes.Change]:
    return changes.between(past(ctx, before.number).parts if before is not None else {}, then.parts)


def _change(change: changes.Change) -> dict[str, object]:
    entry = change.new or change.old
    assert entry is not None  # one of both is there
    return {"path": printable(change.path), "what": change.what, "kind": entry.kind, "size": entry.size}
