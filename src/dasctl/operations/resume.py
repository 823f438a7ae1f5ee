"""`--resume`: go on with the rolling change that was stopped, interrupted, or killed, whichever command began it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from dasctl.core.domain import Domain
from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.core.rolling import Rolling
from dasctl.core.rollout import Rollout, decoded
from dasctl.errors import OperationFailed
from dasctl.operations.chronicle import Chronicle, kept_of
from dasctl.operations.failing import remember
from dasctl.operations.ports import Context
from dasctl.operations.recording import Current, current, remembered
from dasctl.operations.rolling import Roller, finished, prepared, stands


async def resume(ctx: Context, *, command: str, rolling: Rolling) -> Outcome:
    """Go on where it stands: who is done stays so, all others are begun anew. What `rolling` says replaces what was said.

    Raises OperationFailed where nothing is unfinished, or the repository is no more what was being rolled out.
    """
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        data = kept_of(ctx).read()
        if data is None:
            raise OperationFailed(
                "no rolling change is unfinished", hint="without --resume the command begins one"
            )
        now, rows = await _gone_on(ctx, decoded(data), rolling)
        forgotten = remember(ctx, rows)
    return summed_up(
        command, rows, revision=now.revision.number if now is not None else None,
        warnings=(*((*now.warnings, *now.refused) if now is not None else ()), *forgotten),
    )  # fmt: skip


def _replaced(rollout: Rollout, asked: Rolling) -> Rollout:
    known = rollout.rolling
    return replace(
        rollout,
        rolling=Rolling(
            batch=asked.batch or known.batch, max_failures=asked.max_failures or known.max_failures,
            pause_s=asked.pause_s or known.pause_s, auto_rollback=asked.auto_rollback or known.auto_rollback,
        ),
    )  # fmt: skip


async def _gone_on(ctx: Context, kept: Rollout, rolling: Rolling) -> tuple[Current | None, list[Result]]:
    domain = ctx.store.load()
    now = None
    if kept.revision is not None:
        now = await asyncio.to_thread(partial(current, ctx, domain=domain))
    if not _is_there(kept, domain, now):
        raise _changed(kept, now)
    rollout = _replaced(kept.resumed(), rolling)
    expected = remembered(ctx, domain, rollout.names)
    chronicle = Chronicle(ctx, rollout)
    if rollout.returning:
        from dasctl.operations.rolling_back import brought_back

        roller = Roller(ctx=ctx, domain=domain, chronicle=chronicle, run=None, expected=expected)
        return await brought_back(roller, now)
    look = (lambda: now) if now is not None else None
    run = await prepared(ctx, domain, rollout.names, rollout.ordered, look)
    chronicle.begin()
    return await finished(
        ctx, Roller(ctx=ctx, domain=domain, chronicle=chronicle, run=run, expected=expected)
    )


def _is_there(rollout: Rollout, domain: Domain, now: Current | None) -> bool:
    """Whether the repository still is what is rolled out: the way back, once that is under way."""
    if not set(rollout.names) <= set(domain.instances):
        return False
    wanted = rollout.back if rollout.returning else rollout
    if now is None or wanted is None:
        return True
    return (wanted.revision, wanted.digest) == (now.revision.number, now.revision.digest)


def _changed(rollout: Rollout, now: Current | None) -> OperationFailed:
    is_now = f", and the repository is at {now.revision.number} now" if now is not None else ""
    rollout = rollout.back or rollout
    return OperationFailed(
        f"revision {rollout.revision} was being rolled out{is_now}\n{stands(rollout)}",
        hint=f"begin anew with what is there now: dasctl {rollout.line} --anew",
    )
