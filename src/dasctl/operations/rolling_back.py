"""`--auto-rollback`: who was changed by a rolling change that failed gets back what it had, rolling too, the last first.

What lives here: the order of it. What must not: how the old state becomes a revision (`restoring.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dasctl.core.outcome import Problem, Result
from dasctl.core.rollout import BringBack, Rollout, State
from dasctl.errors import DasctlError
from dasctl.operations.chronicle import Chronicle, kept_of
from dasctl.operations.ports import Context
from dasctl.operations.recording import Current, remembered
from dasctl.operations.restoring import back_to
from dasctl.operations.rolling_told import told

if TYPE_CHECKING:
    from dasctl.operations.rolling import Roller


async def brought_back(roller: Roller, now: Current | None = None) -> tuple[Current | None, list[Result]]:
    """Bring back what has changed; what is told of every instance then. `now`: the current revision, where it is the old
    state already.

    The old state is a new revision; who was never begun stands there by its contents. What cannot be brought back is told,
    and stays for `--resume`.
    """
    ctx, first = roller.ctx, roller.chronicle.rollout
    try:
        if first.back is None:
            first, now = await _turned_round(ctx, first)
        now, back, rows = await _rolled_back(roller, first, now)
    except DasctlError as error:
        told_of = await told(ctx, ctx.store.load(), first, roller.rows)
        return now, [_not_brought_back(row, error) for row in told_of]
    first = _after(first, back)
    if not back.those(State.FAILED, State.WAITING) and not back.under_way:
        kept_of(ctx).clear()
    return now, await told(ctx, ctx.store.load(), first, {**roller.rows, **_joined(roller.rows, rows)})


async def _turned_round(ctx: Context, first: Rollout) -> tuple[Rollout, Current]:
    """The change with its way back, once the old state is the current revision."""
    decision = first.next()
    assert isinstance(decision, BringBack)
    first = replace(first, returning=True)
    Chronicle(ctx, first).begin()
    now = await _as_before(ctx, first)
    back = first.backwards(decision.names, now.revision.number, now.revision.digest)
    return replace(first, back=back), now


async def _as_before(ctx: Context, rollout: Rollout) -> Current:
    """Make the state before a revision; of instances that had different ones, one after the other."""
    numbers = sorted({member.before for member in rollout.members if member.before is not None})
    now: Current | None = None
    for number in numbers:
        names = [member.name for member in rollout.members if member.before == number]
        now = await back_to(ctx, number, names)
    assert now is not None  # somebody is to be brought back, so there was something before
    return now


async def _rolled_back(
    roller: Roller, first: Rollout, now: Current | None
) -> tuple[Current | None, Rollout, Mapping[str, Result]]:
    from dasctl.operations.rolling import Roller, prepared

    assert first.back is not None
    ctx, back = roller.ctx, first.back
    domain = ctx.store.load()
    run = await prepared(ctx, domain, back.names, back.ordered, (lambda: now) if now is not None else None)
    chronicle = Chronicle(ctx, back, of=first)
    chronicle.begin()
    expected = remembered(ctx, domain, back.names)
    second = Roller(ctx=ctx, domain=domain, chronicle=chronicle, run=run, expected=expected)
    await second.through()
    return (run.now if run is not None else now), chronicle.rollout, second.rows


def _joined(first: Mapping[str, Result], back: Mapping[str, Result]) -> dict[str, Result]:
    """The rows of the way back; why somebody had failed before stays told."""
    joined = {}
    for name, row in back.items():
        why = first[name].error if name in first else None
        if why is not None and row.error is not None:
            why = Problem(
                message=f"{why.message}\nnot brought back: {row.error.message}", hint=row.error.hint
            )
        joined[name] = replace(row, error=why or row.error)
    return joined


def _after(first: Rollout, back: Rollout) -> Rollout:
    """The first change with what became of it: done in `back` means rolled back."""
    for name in back.those(State.DONE):
        if first.of(name).state is not State.ROLLED_BACK:
            first = first.moved(name, State.ROLLED_BACK, message=first.of(name).message, drained=False)
    return first


def _not_brought_back(row: Result, error: DasctlError) -> Result:
    if row.good or row.error is None or row.fields.get("rolling") != State.FAILED:
        return row
    message = f"{row.error.message}\nnot brought back: {error.message}"
    return replace(row, error=Problem(message=message, hint=error.hint or row.error.hint))
