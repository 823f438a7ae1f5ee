"""`restore-domain`: a backup as the domain again; its nodes follow.

The order in which things happen is what makes a kill harmless: all is verified, laid out beside, and given a higher epoch
before the one step in which it becomes the domain. Nodes are asked afterwards, and changed by nothing here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from dasctl.core.backups import Before, Facts
from dasctl.core.domain import Domain
from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.core.stamps import Acknowledged
from dasctl.errors import DomainNotFound, UsageError
from dasctl.operations.backup_ports import Backups, Restoring
from dasctl.operations.looking import Seen, look, utc_text
from dasctl.operations.member_ports import Outside
from dasctl.operations.ports import Context, Event
from dasctl.operations.recording import current

COMMAND = "restore-domain"
NEXT = "the nodes run what they ran; `dasctl sync-domain` brings them to this state (--dry-run shows what that changes)"


async def restore_domain(
    outside: Outside,
    file: Path,
    *,
    to: Path | None = None,
    domain: Path | None = None,
    force: bool = False,
    verify_only: bool = False,
) -> Outcome:
    """Verify `file`; unless `verify_only`, let it be the domain at `to`, or in the place of the one that is meant.

    `force`: a domain that is there is replaced, and kept under another name.
    """
    assert outside.backups is not None
    assert outside.restoring is not None
    if verify_only:
        path, _ = _found(outside.backups, outside.restoring, file, to or domain)
        facts = await asyncio.to_thread(outside.backups.verify, path, partial(_told, outside))
        return _outcome("verified", path, facts, {}, ())
    root = outside.restoring.find(to or domain)
    path, root = _found(outside.backups, outside.restoring, file, root)
    before = outside.restoring.before(root)
    facts = await asyncio.to_thread(outside.backups.verify, path, partial(_told, outside))
    _check(before, facts, root, force)
    old = await asyncio.to_thread(_replace, outside, path, root, before)
    assert outside.open_domain is not None
    ctx = outside.open_domain(root)
    fields, warnings = await _taken_over(ctx, path, facts)
    return _outcome(
        "restored", path, facts, {"domain_dir": str(root), "before": _text(old), **fields}, warnings
    )


def _found(backups: Backups, restoring: Restoring, file: Path, root: Path | None) -> tuple[Path, Path]:
    """The backup's file: as named, or of that name among the domain's backups."""
    path = file.expanduser().absolute()
    place = root if root is not None else path.parent
    if path.exists() or file.name != str(file):
        return path, place
    if root is not None and (kept := backups.folder(root) / file).exists():
        return kept, place
    with suppress(DomainNotFound):
        if (kept := backups.folder(restoring.find(None)) / file).exists():
            return kept, place
    return path, place


def _check(before: Before | None, facts: Facts, root: Path, force: bool) -> None:
    if before is None or force:
        return
    which = "the same domain" if before.id == facts.id else f"another domain (id {before.id or 'unknown'})"
    raise UsageError(
        f"there is a domain at {root}: {which}",
        hint="--force replaces it, and keeps it beside under another name; --to DIR restores elsewhere",
    )


def _replace(outside: Outside, path: Path, root: Path, before: Before | None) -> Path | None:
    restoring = outside.restoring
    assert restoring is not None
    with restoring.laid_out(path, root, partial(_told, outside)) as beside:
        same = before is not None and before.id == beside.facts.id
        above = max(beside.facts.revision, before.revision if before is not None and same else 0)
        epoch = 1 + max(beside.facts.epoch, before.epoch if before is not None and same else 0)
        restoring.prepare(beside, epoch=epoch, above=above)
        return restoring.swap(
            beside, root, command=outside.who.command, wait_s=outside.wait_s, now=outside.clock.now()
        )


async def _taken_over(ctx: Context, path: Path, facts: Facts) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Rise above all that the nodes have seen, and record that this is the state now. Nothing is sent to be kept there."""
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        seen = await look(ctx, domain, list(domain.instances), probe=False) if domain.instances else {}
        _rise_above(ctx, domain.domain.id, seen)
        _acknowledge(ctx, domain, seen)
        now = await asyncio.to_thread(
            partial(current, ctx, summary=f"restored revision {facts.revision} from {path.name}")
        )
    away = {name: view for name, view in seen.items() if not view.reached}
    warnings = tuple(
        f"{name}: {view.error.message if view.error is not None else 'not reached'}: it follows at its next synchronisation"
        for name, view in away.items()
    )
    fields = {
        "as_revision": now.revision.number, "epoch": now.revision.epoch,
        "reached": [name for name in seen if name not in away], "away": list(away),
    }  # fmt: skip
    return fields, (*warnings, *now.warnings)


def _rise_above(ctx: Context, domain: str, seen: Mapping[str, Seen]) -> None:
    """No node of this domain stands in a higher epoch than ours, or at a higher revision than the next one."""
    places = [view.at for view in seen.values() if view.at is not None and view.at.domain == domain]
    if any(at.epoch >= ctx.history.epoch() for at in places):
        ctx.history.raise_epoch(1 + max(at.epoch for at in places))
        ctx.history.restored(ctx.history.epoch())
    head = ctx.history.head()
    theirs = max([0, *(at.standing.revision for at in places)])
    if theirs > (head.number if head is not None else 0):
        ctx.history.restart_at(theirs + 1)


def _acknowledge(ctx: Context, domain: Domain, seen: Mapping[str, Seen]) -> None:
    """Go on from where the instances stand; what they have there this history does not know."""
    places = {
        name: view.at.standing for name, view in seen.items() if view.at is not None and view.error is None
    }
    ctx.history.acknowledge(
        {
            name: Acknowledged(
                standing=place, parts=(), when=ctx.clock.now(), node=domain.instances[name].node
            )
            for name, place in places.items()
            if ctx.history.find(place) is None
        },
        {},
    )


def _outcome(
    status: str, path: Path, facts: Facts, more: Mapping[str, Any], warnings: tuple[str, ...]
) -> Outcome:
    fields = {
        "file": str(path), "domain": facts.domain, "revision": facts.revision, "when": utc_text(facts.when),
        "files": facts.files, "bytes": facts.size, "history": facts.history, **more,
    }  # fmt: skip
    notes = (NEXT,) if status == "restored" else ()
    row = Result(status=status, fields=fields)
    return summed_up(
        COMMAND,
        [row],
        revision=more.get("as_revision", facts.revision),
        changed=True,
        notes=notes,
        warnings=warnings,
    )


def _told(outside: Outside, read: int, total: int) -> None:
    outside.on_event(Event(phase="reading", sent=read, total=total))


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None
