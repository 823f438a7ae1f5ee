"""The run of a life-cycle command: lock, look, one pass over all nodes, one outcome."""

from __future__ import annotations

from collections.abc import Sequence

from dasctl.core import targets as target_names
from dasctl.core.outcome import FAILED, Outcome, Result, summed_up
from dasctl.operations.contents import ContentStreams
from dasctl.operations.fanout import by_node, on_nodes
from dasctl.operations.lifecycle import Lifecycle, Sync
from dasctl.operations.ports import Acknowledged, Context
from dasctl.operations.recording import Current, current, left_behind, remembered
from dasctl.operations.sync import ATTEMPTS, sync_options
from dasctl.operations.synchronising import Synchronisation


async def run_lifecycle(
    ctx: Context,
    targets: Sequence[str],
    *,
    command: str,
    sync: Sync,
    stop: bool = False,
    start: bool = False,
    kill: bool = False,
) -> Outcome:
    """Synchronise unless `sync` is "none", stop, start: what is asked for, on all nodes side by side."""
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        now = None if sync == "none" else current(ctx, criterion="hash" if sync == "full" else None)
        domain = now.domain if now is not None else ctx.store.load()
        names = target_names.resolve(domain, targets)
        moved = left_behind(ctx, domain, names)
        results: dict[str, Result] = {}
        left = list(names)
        for attempt in range(ATTEMPTS):
            expected = remembered(ctx, domain, left)
            run = synchronisation(ctx, now, sync, expected, reload=not stop) if now is not None else None
            steps = Lifecycle(
                ctx=ctx, domain=domain, expected=expected, run=run, stop=stop, start=start, kill=kill
            )
            rows = await on_nodes(ctx, domain, by_node(domain, left), steps.node)
            results.update({row.instance: row for row in rows if row.instance})
            left = [name for name in left if _moved(run, results[name])]
            if not left or attempt == ATTEMPTS - 1:
                break
            now = current(ctx, criterion="hash")
            domain = now.domain
    return summed_up(
        command, [results[name] for name in names], revision=now.revision.number if now is not None else None,
        warnings=(*(now.warnings if now is not None else ()), *moved),
    )  # fmt: skip


def _moved(run: Synchronisation | None, result: Result) -> bool:
    """Whether it got no further than its synchronisation, in which files changed while they were sent."""
    synchronising = run is not None and bool(run.streams.changed)
    return synchronising and result.status == FAILED and "state" not in result.fields


def synchronisation(
    ctx: Context, now: Current, sync: Sync, expected: dict[str, Acknowledged], *, reload: bool
) -> Synchronisation:
    """The synchronisation that goes before a start."""
    return Synchronisation(
        ctx=ctx,
        now=now,
        options=sync_options(now.domain, full=sync == "full"),
        streams=ContentStreams(ctx.repository, now.slices.contents),
        expected=expected,
        reload=reload,
    )
