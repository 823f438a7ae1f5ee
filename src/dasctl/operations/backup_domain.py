"""`backup-domain`: one file that holds a revision of the domain, while everything runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.errors import DomainLocked, HistoryError, InvalidDomain, RepositoryError, UsageError
from dasctl.operations.backup_ports import Backups
from dasctl.operations.looking import utc_text
from dasctl.operations.ports import Context, Event
from dasctl.operations.recording import Current, current

COMMAND = "backup-domain"


async def backup_domain(
    ctx: Context, *, to: Path | None = None, keep: int | None = None, without_history: bool = False
) -> Outcome:
    """Record what was edited, and write that revision to `to` (None: the domain's own folder of backups).

    Where that cannot be recorded now, because another command works, files change without pause or domain.yaml is not valid,
    the last revision that was. `keep`: how many backups of this domain stay there.
    """
    backups = backups_of(ctx)
    if keep is not None and keep < 1:
        raise UsageError("--keep is about how many stay: at least 1")
    if not without_history:
        await asyncio.to_thread(_verified, ctx)
    now, warnings = await asyncio.to_thread(_recorded, ctx)
    folder = to.expanduser().absolute() if to is not None else backups.folder(ctx.store.root)
    write = partial(
        backups.write, ctx.store.root, folder, who=ctx.who, now=ctx.clock.now(), history=not without_history,
        extra=_extra(ctx, now), on_written=partial(_told, ctx),
    )  # fmt: skip
    made = await asyncio.to_thread(write)
    assert made.facts is not None
    gone = backups.prune(folder, made.facts.id, keep) if keep is not None else []
    fields = {
        "file": str(made.path), "revision": made.facts.revision, "when": utc_text(made.facts.when), "size": made.size,
        "history": made.facts.history, "files": made.facts.files, "bytes": made.facts.size,
        "removed": [str(path) for path in gone],
    }  # fmt: skip
    row = Result(status="written", fields=fields)
    return summed_up(COMMAND, [row], revision=made.facts.revision, changed=True, warnings=warnings)


def backups_of(ctx: Context) -> Backups:
    """The port that wiring gives to the commands of backups."""
    assert ctx.backups is not None
    return ctx.backups


def _verified(ctx: Context) -> None:
    """A backup with a history that was altered could not be restored, and may be the one that others give way to."""
    try:
        ctx.history.verify()
    except HistoryError as error:
        raise HistoryError(
            f"{error.message}; no backup was made: with this history it could not be restored",
            hint="back up the state alone: dasctl backup-domain --without-history; " + error.hint,
        ) from error


def _recorded(ctx: Context) -> tuple[Current | None, tuple[str, ...]]:
    """The state as it is now as a revision, where that can be had; otherwise why not."""
    try:
        with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
            now = current(ctx)
            return now, (*now.warnings, *now.refused)
    except (DomainLocked, RepositoryError, InvalidDomain) as error:
        head = ctx.history.head()
        if head is None:
            raise
        told = f"the backup is of revision {head.number}, the last that was recorded: {error.message}"
        return None, tuple(told.splitlines()[:1])


def _extra(ctx: Context, now: Current | None) -> Mapping[str, bytes]:
    """Parts that the history lacks: of one that an older dasctl recorded, the text of domain.yaml."""
    if now is None or ctx.history.head() != now.revision:
        return {}
    kept = set(ctx.history.parts(now.revision.number))
    return {digest: data for digest, data in now.slices.repository.items() if digest not in kept}


def _told(ctx: Context, written: int, total: int) -> None:
    ctx.on_event(Event(phase="writing", sent=written, total=total))
