"""`rollback`: an earlier state of the domain, or of some instances, as a new revision, and on the nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dasctl.core import changes
from dasctl.core import targets as target_names
from dasctl.core.outcome import OK, UNCHANGED, Outcome, Result, failed, spoiled, summed_up
from dasctl.core.targets import fold
from dasctl.errors import DasctlError, UsageError
from dasctl.operations.applying import apply
from dasctl.operations.failing import remember
from dasctl.operations.ports import Context
from dasctl.operations.recording import Current
from dasctl.operations.restoring import Return, repaired, returned, way_back
from dasctl.operations.sync import links_refused
from dasctl.remote.paths import printable

if TYPE_CHECKING:
    from dasctl.core.rolling import Rolling

COMMAND = "rollback"


async def rollback(
    ctx: Context,
    *,
    to: int,
    targets: Sequence[str] = (),
    dry_run: bool = False,
    no_apply: bool = False,
    rolling: Rolling | None = None,
) -> Outcome:
    """Without targets the whole domain goes back. `no_apply`: only the repository; `dry_run`: only what would change.

    One result per instance, or one for the domain where no node is asked. Nobody is asked before files are deleted on nodes:
    they are in a revision that is kept.
    """
    with nullcontext() if dry_run else ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        if rolling is not None and not (dry_run or no_apply):
            from dasctl.operations.rolling import refuse_unfinished  # before anything is changed

            refuse_unfinished(ctx, rolling)
        broken = repaired(ctx) if not dry_run else None
        domain = ctx.store.load()
        names = target_names.resolve(domain, targets) if targets else None
        if names is not None and not names:
            raise UsageError(f"{' '.join(targets)}: no instance is meant by that")
        way = way_back(ctx, to, names, record=not dry_run)
        if dry_run:
            return _thought_of(way)
        told = changes.summary(way.changes)
        whose = f" for {fold(sorted(way.names))}" if way.names is not None else ""
        now = returned(ctx, way, summary=f"rolled back to revision {to}{whose}{f': {told}' if told else ''}")
        if broken is not None:
            line = f"config/domain.yaml was not valid, and in no revision: it is kept as {broken}"
            now = replace(now, warnings=(line, *now.warnings))
        changed = now.revision.number != way.before.revision.number
        if no_apply:
            return _recorded(way, now, changed)
        going = [name for name in now.domain.instances if names is None or name in names]
        return await _applied(ctx, way, now, going, rolling=rolling)


def _thought_of(way: Return) -> Outcome:
    """What would change, file by file; nothing is recorded."""
    told = [{"why": c.what, "path": printable(c.path), "bytes": _size(c), "from": None} for c in way.changes]
    row = Result(
        status="would change" if told else UNCHANGED,
        fields={"domain": way.domain.domain.name, "to": way.number, "changes": told},
    )
    unrecorded = ("what is edited in place would be recorded first",) if way.before.new else ()
    return summed_up(
        COMMAND, [row], revision=None if way.before.new else way.before.revision.number,
        notes=(*unrecorded, *_notes(way), "dry run: nothing was touched"), warnings=way.warnings,
        data={"dry_run": True, **_data(way)},
    )  # fmt: skip


def _size(change: changes.Change) -> int:
    return change.new.size if change.new is not None else 0


def _headline(way: Return) -> str:
    told = changes.summary(way.changes)
    whose = f" for {fold(sorted(way.names))}" if way.names is not None else ""
    nothing = "nothing differs" if way.names is None else "nothing that they have alone differs"
    return f"back to revision {way.number}{whose}: {told or nothing}"


def _notes(way: Return) -> tuple[str, ...]:
    if not way.left:
        return (_headline(way),)
    return _headline(
        way
    ), f"what others have too comes back with all of it: dasctl rollback --to {way.number}"


def _data(way: Return) -> Mapping[str, Any]:
    return {
        "to": way.number, "instances": sorted(way.names) if way.names is not None else None,
        "not_taken_back": list(way.left),
    }  # fmt: skip


def _recorded(way: Return, now: Current, changed: bool) -> Outcome:
    row = Result(
        status="rolled back" if changed else UNCHANGED,
        fields={"domain": now.domain.domain.name, "to": way.number, "summary": now.revision.summary if changed else ""},
    )  # fmt: skip
    notes = ("no node was asked: `dasctl sync-domain` brings it to them",) if changed else ()
    return summed_up(
        COMMAND, [row], revision=now.revision.number, notes=(*_notes(way), *notes), warnings=now.warnings,
        data={"dry_run": False, **_data(way)},
    )  # fmt: skip


async def _applied(
    ctx: Context, way: Return, now: Current, names: Sequence[str], *, rolling: Rolling | None
) -> Outcome:
    try:
        after, rows = await apply(ctx, names, command=COMMAND, rolling=rolling, domain=now.domain, yes=True)
    except DasctlError as error:
        told = "the repository is back there, the nodes are not: `dasctl sync-domain` brings it to them"
        return replace(
            failed(COMMAND, error), revision=now.revision.number, notes=(*_notes(way), told),
            warnings=now.warnings, data={"dry_run": False, **_data(way)},
        )  # fmt: skip
    forgotten = remember(ctx, rows)
    outcome = summed_up(
        COMMAND, rows or [Result(status=OK, fields={"domain": now.domain.domain.name})],
        revision=after.revision.number, notes=_notes(way), warnings=(*now.warnings, *forgotten),
        data={"dry_run": False, **_data(way)},
    )  # fmt: skip
    return spoiled(outcome, links_refused(now.refused)) if now.refused else outcome
