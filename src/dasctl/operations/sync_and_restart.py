"""`sync-instance`, `sync-cluster`, `sync-domain` with `--restart`: what runs and requires it is restarted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dasctl.core import targets as target_names
from dasctl.core.outcome import Outcome, spoiled, summed_up
from dasctl.core.rolling import Rolling
from dasctl.errors import UsageError
from dasctl.operations.applying import apply
from dasctl.operations.failing import nothing_failed, of_failed, remember
from dasctl.operations.ports import Context
from dasctl.operations.recording import left_behind
from dasctl.operations.sync import links_refused


async def sync_and_restart(
    ctx: Context,
    targets: Sequence[str],
    *,
    command: str,
    rolling: Rolling | None,
    dry_run: bool,
    failed: bool,
    together: bool | None,
    **options: Any,
) -> Outcome:
    """Bring the targets' instances to the repository's state, and restart what needs it. `options`: of `apply`."""
    if dry_run:
        raise UsageError(
            "--dry-run changes nothing, so nothing is restarted", hint="leave out --dry-run, or --restart"
        )
    if rolling is not None and together:
        raise UsageError(
            "--together means all at once, and --rolling one batch after the other", hint="give one of them"
        )
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        names = target_names.resolve(domain, targets)
        if failed and not (names := of_failed(ctx, names)):
            return nothing_failed(ctx, command)
        moved = left_behind(ctx, domain, names)
        now, rows = await apply(
            ctx, names, command=command, rolling=rolling, domain=domain, together=together, **options
        )
        forgotten = remember(ctx, rows)
    outcome = summed_up(
        command, rows, revision=now.revision.number, warnings=(*now.warnings, *moved, *forgotten)
    )
    return spoiled(outcome, links_refused(now.refused)) if now.refused else outcome
