"""`disable`: targets do not get an application, to which it stays deployed."""

from __future__ import annotations

from collections.abc import Sequence

from dasctl.core import deploying
from dasctl.core.outcome import Outcome
from dasctl.core.rolling import Rolling
from dasctl.core.targets import fold
from dasctl.operations.deployed import existing
from dasctl.operations.deploying import Change, Making, Running, carried_out
from dasctl.operations.ports import Context
from dasctl.operations.recording import current


async def disable(
    ctx: Context,
    name: str,
    *,
    targets: Sequence[str] = (),
    apply: bool = True,
    rolling: Rolling | None = None,
) -> Outcome:
    """Take the application `name` from targets, to which it stays deployed. None named: all that have it."""
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        now = current(ctx)
        found = existing(ctx, now, name)
        assert found.entry is not None
        chosen = deploying.targets_of(now.domain, targets) or tuple(found.entry.targets)
        deploying.refuse_foreign(now.domain, name, found.entry, chosen)
        after = deploying.disabled(now.domain, found.entry, chosen)
        change = Change(
            known=found, after=after, before=found.before, summary=f"disabled {name} on {fold(chosen)}",
            already=f"{name} is disabled on {fold(chosen)}",
        )  # fmt: skip
        with ctx.working.making() as folder:
            making = Making(ctx=ctx, now=now, change=change, folder=folder)
            return await carried_out(
                making, Running(apply=apply, rolling=rolling), command="disable",
                names=deploying.instances_of(now.domain, chosen),
            )  # fmt: skip
