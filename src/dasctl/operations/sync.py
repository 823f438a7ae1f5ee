"""`sync-instance`, `sync-cluster`, `sync-domain`: bring instances to the repository's state, running or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from dasctl.core import targets as target_names
from dasctl.core.domain import Criterion, Deviations, Domain
from dasctl.core.exclusion import by_instance, excluded_of, keep_of
from dasctl.core.outcome import SKIPPED, Outcome, Problem, Result, spoiled, summed_up
from dasctl.core.patterns import regexes
from dasctl.core.requests import SyncOptions
from dasctl.core.stamps import Standing
from dasctl.errors import UsageError
from dasctl.operations.consenting import mass_deletions
from dasctl.operations.failing import nothing_failed, of_failed, remember, tolerance_of
from dasctl.operations.ports import Context
from dasctl.operations.preparing import Steps, pass_over, prepare
from dasctl.operations.recording import Current, FilesMoved, current, left_behind, remembered
from dasctl.operations.synchronised import failed_fields
from dasctl.operations.synchronising import Synchronisation

if TYPE_CHECKING:
    from dasctl.core.rolling import Rolling

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
    together: bool | None = None,
    verify: bool = False,
    diff: bool = False,
    yes: bool = False,
    failed: bool = False,
    max_failures: str | None = None,
    restart: bool = False,
    rolling: Rolling | None = None,
) -> Outcome:
    """Synchronise the targets' instances; one result each.

    `reload`: running servers take over what needs no restart. `together`: all commit, or nobody (None: the domain says).
    `verify`: contents on the nodes are read and hashed. `diff`: a dry run shows texts. `yes`: mass deletions are wanted.
    `failed`: only those whose last command failed. `max_failures`: see `core/tolerance.py`. `restart`: running servers that
    require it then are restarted; `rolling`: batch by batch.
    """
    if diff and not dry_run:
        raise UsageError("--diff shows what would change: it goes with --dry-run alone")
    ctx = replace(ctx, tolerance=tolerance_of(max_failures))
    if restart:
        from dasctl.operations.sync_and_restart import sync_and_restart

        return await sync_and_restart(
            ctx, targets, command=command, rolling=rolling, dry_run=dry_run, failed=failed, full=full,
            criterion=criterion, deviations=deviations, only=only, exclude=exclude, reload=reload, together=together,
            verify=verify, yes=yes,
        )  # fmt: skip
    with nullcontext() if dry_run else ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        names = target_names.resolve(domain, targets)
        if failed and not (names := of_failed(ctx, names)):
            return nothing_failed(ctx, command)
        options = sync_options(
            domain, full=full, dry_run=dry_run, criterion=criterion, deviations=deviations,
            only=only, exclude=exclude, together=together, yes=yes, verify=verify,
        )  # fmt: skip
        ctx.repository.scan_ahead(domain, criterion=criterion or domain.domain.criterion)
        moved = left_behind(ctx, domain, names)
        last = remembered(ctx, domain, names) if dry_run else {}
        look = partial(
            current,
            ctx,
            domain=domain,
            criterion=criterion,
            record=not dry_run,
            publish=not dry_run,
            ahead=True,
        )
        steps = _with_diffs() if dry_run and diff else Synchronisation.node
        now, results = await synchronise(ctx, domain, names, options, look, reload=reload, steps=steps)
        losses = mass_deletions(ctx, domain, now.slices, last, names, options) if dry_run else ()
        forgotten = () if dry_run else remember(ctx, results)
    outcome = summed_up(
        command, results, revision=now.revision.number,
        warnings=(*now.warnings, *moved, *losses, *forgotten),
        data={"dry_run": True} if dry_run else {},
    )  # fmt: skip
    return spoiled(outcome, links_refused(now.refused)) if now.refused else outcome


def links_refused(refused: Sequence[str]) -> Problem:
    """The failure that links of the repository amount to: all else was synchronised, and they never will be."""
    return Problem(
        message="\n".join(["links of the repository are refused; all else is synchronised", *refused]),
        hint="let them point to something in the same domain, or exclude them in config/domain.yaml",
    )


def sync_options(
    domain: Domain,
    *,
    full: bool = False,
    dry_run: bool = False,
    criterion: Criterion | None = None,
    deviations: Deviations | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    together: bool | None = None,
    yes: bool = False,
    verify: bool = False,
) -> SyncOptions:
    """The options of the command, filled up with the domain's. `verify`: the nodes read all, whatever counts here."""
    return SyncOptions(
        criterion="hash" if full or verify else criterion or domain.domain.criterion,
        deviations=deviations or domain.domain.deviations,
        full=full,
        dry_run=dry_run,
        together=domain.domain.commit == "together" if together is None else together,
        mass_deletion=yes,
        keep=by_instance(domain, keep_of),
        only=regexes(tuple(only)) if only else None,
        exclude=regexes(tuple(exclude)) if exclude else None,
        excluded=by_instance(domain, excluded_of) if full else {},
    )


def _with_diffs() -> Steps:
    from dasctl.operations.differing import (
        with_diffs,
    )  # what compares texts is imported where texts are compared

    return with_diffs


async def synchronise(
    ctx: Context,
    domain: Domain,
    names: Sequence[str],
    options: SyncOptions,
    look: Callable[[], Current],
    *,
    override: Mapping[str, Standing | None] | None = None,
    reload: bool = True,
    steps: Steps = Synchronisation.node,
) -> tuple[Current, list[Result]]:
    """Synchronise instances on all their nodes at once, looking again where files changed while they were sent."""
    results: dict[str, Result] = {}
    left = list(names)
    for attempt in range(ATTEMPTS):
        preparation = prepare(ctx, look, left, options, override=override, reload=reload)
        recording = not options.dry_run
        try:
            run, rows = await pass_over(ctx, domain, left, preparation, steps, together=options.held)
        except FilesMoved:
            if attempt:  # it has looked more than once
                raise
            look = partial(current, ctx, domain=domain, criterion="hash", record=recording, publish=recording)
            continue
        options = run.options  # nobody is asked twice
        results.update({row.instance: failed_fields(row) for row in rows if row.instance})
        left = [name for name in left if not results[name].good] if run.streams.changed else []
        left = [name for name in left if results[name].status != SKIPPED]
        if not left or attempt == ATTEMPTS - 1:
            break
        look = partial(current, ctx, domain=domain, criterion="hash", record=recording, publish=recording)
    return run.now, [results[name] for name in names]
