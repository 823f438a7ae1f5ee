"""The run of a life-cycle command: lock, look, one pass over all nodes, one outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from dasctl.core import targets as target_names
from dasctl.core.domain import Domain
from dasctl.core.outcome import FAILED, Outcome, Result, summed_up
from dasctl.operations.failing import nothing_failed, of_failed, remember, tolerance_of
from dasctl.operations.fanout import by_node, on_nodes
from dasctl.operations.lifecycle import Lifecycle, Sync
from dasctl.operations.ports import Context, Link
from dasctl.operations.preparing import pass_over, prepare
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
    failed: bool = False,
    max_failures: str | None = None,
) -> Outcome:
    """Synchronise unless `sync` is "none", stop, start: what is asked for, on all nodes side by side."""
    ctx = replace(ctx, tolerance=tolerance_of(max_failures))
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        names = target_names.resolve(domain, targets)
        if failed and not (names := of_failed(ctx, names)):
            return nothing_failed(ctx, command)
        moved, last = left_behind(ctx, domain, names), remembered(ctx, domain, names)
        steps = Lifecycle(ctx=ctx, domain=domain, expected=last, stop=stop, start=start, kill=kill)
        barred, odd = await _barred(ctx, domain, names, restart=stop) if start else ({}, ())
        going = [name for name in names if name not in barred]
        if sync == "none":
            now = None
            rows = await on_nodes(ctx, domain, by_node(domain, going), steps.node)
            results = {row.instance: row for row in rows if row.instance}
        else:
            now, results = await _synchronised(ctx, steps, going, sync)
        results |= barred
        forgotten = remember(ctx, list(results.values()))
    return summed_up(
        command, [results[name] for name in names], revision=now.revision.number if now is not None else None,
        warnings=(
            *moved, *odd, *((*now.warnings, *now.refused) if now is not None else ()), *forgotten,
        ),
    )  # fmt: skip


async def _barred(
    ctx: Context, domain: Domain, names: Sequence[str], *, restart: bool
) -> tuple[dict[str, Result], tuple[str, ...]]:
    """The results of instances that `max-skew` forbids to start: nothing is done to them; and warnings."""
    if domain.domain.max_skew is None:
        return {}, ()
    from dasctl.operations import skews  # of use to few domains

    return await skews.barred(ctx, domain, names, restart=restart)


async def _synchronised(
    ctx: Context, steps: Lifecycle, names: Sequence[str], sync: Sync
) -> tuple[Current, dict[str, Result]]:
    """The steps with a synchronisation before them, which looks again where files changed while they were sent."""
    domain = steps.domain
    options = sync_options(domain, full=sync == "full")
    look = partial(current, ctx, domain=domain, criterion="hash" if options.full else None)
    results: dict[str, Result] = {}
    left = list(names)

    async def visit(
        run: Synchronisation, node: str, link: Link, instances: Sequence[str]
    ) -> Sequence[Result]:
        return await replace(steps, run=run).node(node, link, instances)

    for attempt in range(ATTEMPTS):
        preparation = prepare(ctx, look, left, options, reload=not steps.stop)
        run, rows = await pass_over(ctx, domain, left, preparation, visit, together=options.held)
        options = run.options  # nobody is asked twice
        results.update({row.instance: row for row in rows if row.instance})
        left = [name for name in left if _moved(run, results[name])]
        if not left or attempt == ATTEMPTS - 1:
            break
        look = partial(current, ctx, domain=domain, criterion="hash")
    return run.now, results


def _moved(run: Synchronisation, result: Result) -> bool:
    """Whether it got no further than its synchronisation, in which files changed while they were sent."""
    return bool(run.streams.changed) and result.status == FAILED and "state" not in result.fields
