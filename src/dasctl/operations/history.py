"""`history`: the revisions of the domain as a story, the newest first: who, when, with which command, what changed, and
where a command failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dasctl.core.outcome import OK, Outcome, Result, summed_up
from dasctl.core.stamps import Revision
from dasctl.core.targets import fold
from dasctl.core.telling import Told
from dasctl.operations.looking import utc_text
from dasctl.operations.past import restorable
from dasctl.operations.ports import Context


async def history(
    ctx: Context, *, targets: Sequence[str] = (), limit: int | None = None, long: bool = False
) -> Outcome:
    """One row per revision; with targets those alone that changed what their instances need.

    `long` adds epoch, config id, digest, and whether a revision can be brought back.
    """
    notes: tuple[str, ...] = ()
    if targets:
        from dasctl.operations.tracing import tracing

        revisions, notes = tracing(ctx, targets, limit)
    else:
        revisions = ctx.history.revisions(limit=limit)
    told = told_at(ctx, [revision.number for revision in revisions])
    still = frozenset(restorable(ctx)) if long else frozenset()
    rows = [_row(revision, told.get(revision.number, ()), long, still) for revision in revisions]
    if targets and not rows and not notes:
        notes = (f"no revision changed what {' '.join(targets)} gets",)
    if long and rows and not any(revision.number in still for revision in revisions):
        notes += ("none of these revisions can be brought back",)
    return summed_up("history", rows, changed=True, notes=notes)


def told_at(ctx: Context, numbers: Sequence[int]) -> dict[int, list[Told]]:
    """What commands amounted to, by the revision that was current."""
    found: dict[int, list[Told]] = {}
    for told in ctx.history.told(numbers):
        found.setdefault(told.revision, []).append(told)
    return found


def _row(revision: Revision, told: Sequence[Told], long: bool, still: frozenset[int]) -> Result:
    fields: dict[str, Any] = {
        **revision_fields(revision),
        **failures_told(revision, told),
    }
    if long:
        fields |= {
            "restorable": revision.number in still, "epoch": revision.epoch,
            "config_id": f"{revision.config_id:08x}", "digest": revision.digest,
        }  # fmt: skip
    return Result(status=OK, fields=fields)


def revision_fields(revision: Revision) -> dict[str, Any]:
    """Who made a revision, when, and what it changed."""
    return {
        "revision": revision.number, "when": utc_text(revision.when), "who": revision.who, "host": revision.host,
        "command": revision.command, "summary": revision.summary,
    }  # fmt: skip


def failures_told(revision: Revision, told: Sequence[Told]) -> dict[str, Any]:
    """`failed_on` for people: which instances, and with which command where it is not the revision's own; `failures`."""
    failed = [one for one in told if one.failed]
    names = [
        fold(sorted(one.failed)) + ("" if one.command == revision.command else f" ({one.command})")
        for one in failed
    ]
    return {"failed_on": list(dict.fromkeys(names)), "failures": [failure_fields(one) for one in failed]}


def failure_fields(told: Told) -> dict[str, Any]:
    """A command that failed somewhere: which one, when, how often, where and why."""
    return {
        "command": told.command, "when": utc_text(told.when), "who": told.who, "host": told.host,
        "times": told.times, "succeeded": told.succeeded, "instances": dict(_sorted(told.failed)),
    }  # fmt: skip


def _sorted(failed: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(failed.items())
