"""`restart-instance`, `restart-cluster` with `--rolling`."""

from __future__ import annotations

from collections.abc import Sequence

from dasctl.core import targets as target_names
from dasctl.core.outcome import Outcome, summed_up
from dasctl.core.rolling import Rolling
from dasctl.core.rollout import Ordered
from dasctl.operations.failing import nothing_failed, of_failed, remember
from dasctl.operations.lacking import refuse_lacking
from dasctl.operations.lifecycle import Sync
from dasctl.operations.ports import Context
from dasctl.operations.recording import left_behind
from dasctl.operations.rolling import refuse_unfinished, roll


async def rolling_restart(
    ctx: Context,
    targets: Sequence[str],
    *,
    command: str,
    sync: Sync,
    kill: bool,
    failed: bool,
    rolling: Rolling,
) -> Outcome:
    """Restart the targets' instances batch by batch; one that did not run is started."""
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        names = target_names.resolve(domain, targets)
        if failed and not (names := of_failed(ctx, names)):
            return nothing_failed(ctx, command)
        moved = left_behind(ctx, domain, names)
        refuse_unfinished(ctx, rolling)
        await refuse_lacking(ctx, domain, names, rolling)
        ordered = Ordered(restart="always", sync=sync, starts=True, kill=kill)
        now, rows = await roll(ctx, domain, names, ordered, rolling, command=command)
        forgotten = remember(ctx, rows)
    found = (*now.warnings, *now.refused) if now is not None else ()
    return summed_up(
        command, rows, revision=now.revision.number if now is not None else None,
        warnings=(*moved, *found, *forgotten),
    )  # fmt: skip
