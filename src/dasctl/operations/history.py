"""`history`: the revisions of the domain, the newest first."""

from __future__ import annotations

from dasctl.core.outcome import OK, Outcome, Result, summed_up
from dasctl.core.stamps import Revision
from dasctl.operations.looking import utc_text
from dasctl.operations.ports import Context


async def history(ctx: Context, *, limit: int | None = None, long: bool = False) -> Outcome:
    """One row per revision: who, when, from which host, with which command; `long` adds epoch, config id and digest."""
    ctx.store.load()
    revisions = ctx.history.revisions(limit=limit)
    return summed_up("history", [_row(revision, long) for revision in revisions], changed=True)


def _row(revision: Revision, long: bool) -> Result:
    fields = {
        "revision": revision.number, "when": utc_text(revision.when), "who": revision.who, "host": revision.host,
        "command": revision.command, "summary": revision.summary,
    }  # fmt: skip
    if long:
        fields |= {
            "epoch": revision.epoch,
            "config_id": f"{revision.config_id:08x}",
            "digest": revision.digest,
        }
    return Result(status=OK, fields=fields)
