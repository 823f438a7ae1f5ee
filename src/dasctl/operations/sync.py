"""`sync-instance`, `sync-cluster`, `sync-domain`: bring instances to the repository's state, running or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dasctl.core import targets as target_names
from dasctl.core.domain import Criterion, Deviations, Domain
from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.core.patterns import regexes
from dasctl.core.requests import SyncOptions
from dasctl.core.stamps import Standing
from dasctl.operations.contents import ContentStreams
from dasctl.operations.fanout import by_node, on_nodes
from dasctl.operations.ports import Context
from dasctl.operations.recording import Current, current, left_behind, remembered
from dasctl.operations.synchronising import Synchronisation, failed_fields

ATTEMPTS = 3  # looks at a repository whose files change while they are sent


async def sync(
    ctx: Context,
    targets: Sequence[str],
    *,
    command: str,
    dry_run: bool = False,
    full: bool = False,
    criterion: Criterion | None = None,
    deviations: Deviations | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    reload: bool = True,
) -> Outcome:
    """Synchronise the targets' instances; one result each. `reload`: running servers take over what needs no restart."""
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        now = current(ctx, criterion=criterion, record=not dry_run)
        names = target_names.resolve(now.domain, targets)
        options = sync_options(
            now.domain, full=full, dry_run=dry_run, criterion=criterion, deviations=deviations,
            only=only, exclude=exclude,
        )  # fmt: skip
        moved = left_behind(ctx, now.domain, names)
        now, results = await synchronise(ctx, now, names, options, reload=reload)
    return summed_up(
        command, results, revision=now.revision.number, warnings=(*now.warnings, *moved),
        data={"dry_run": True} if dry_run else {},
    )  # fmt: skip


def sync_options(
    domain: Domain,
    *,
    full: bool = False,
    dry_run: bool = False,
    criterion: Criterion | None = None,
    deviations: Deviations | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> SyncOptions:
    """The options of the command, filled up with the domain's."""
    return SyncOptions(
        criterion="hash" if full else criterion or domain.domain.criterion,
        deviations=deviations or domain.domain.deviations,
        full=full,
        dry_run=dry_run,
        only=regexes(tuple(only)) if only else None,
        exclude=regexes(tuple(exclude)) if exclude else None,
    )


async def synchronise(
    ctx: Context,
    now: Current,
    names: Sequence[str],
    options: SyncOptions,
    *,
    override: Mapping[str, Standing | None] | None = None,
    reload: bool = True,
) -> tuple[Current, list[Result]]:
    """Synchronise instances on all their nodes at once, looking again where files changed while they were sent."""
    results: dict[str, Result] = {}
    left = list(names)
    for attempt in range(ATTEMPTS):
        streams = ContentStreams(ctx.repository, now.slices.contents)
        run = Synchronisation(
            ctx=ctx, now=now, options=options, streams=streams,
            expected=remembered(ctx, now.domain, left), override=override or {}, reload=reload,
        )  # fmt: skip
        rows = await on_nodes(ctx, now.domain, by_node(now.domain, left), run.node)
        results.update({row.instance: failed_fields(row) for row in rows if row.instance})
        left = [name for name in left if not results[name].good] if streams.changed else []
        if not left or attempt == ATTEMPTS - 1:
            break
        now = current(ctx, criterion="hash", record=not options.dry_run)
    return now, [results[name] for name in names]
