"""`take-over`: for a DAS that lost its history: ask the nodes where they stand, raise the epoch, go on from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dasctl.core import targets as target_names
from dasctl.core.outcome import Outcome, summed_up
from dasctl.core.stamps import Standing
from dasctl.errors import NodeUnreachable, OperationFailed
from dasctl.operations.looking import Seen, look
from dasctl.operations.ports import Context
from dasctl.operations.recording import current
from dasctl.operations.sync import sync_options, synchronise


async def take_over(ctx: Context, targets: Sequence[str], *, yes: bool = False) -> Outcome:
    """Make this copy of the domain the authority over the targets: a revision above all that the nodes have seen.

    `yes`: mass deletions are wanted.
    """
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        names = target_names.resolve(domain, targets or ("domain",))
        seen = await look(ctx, domain, names, probe=False)
        _someone_answered(names, seen)
        _rise_above(ctx, domain.domain.id, seen)
        now = current(ctx, summary="took over")
        places: Mapping[str, Standing | None] = {
            name: view.at.standing if view.at is not None else None
            for name, view in seen.items()
            if view.reached
        }
        now, results = await synchronise(
            ctx, now.domain, names, sync_options(now.domain, yes=yes), lambda: now, override=places
        )
    return summed_up(
        "take-over", results, revision=now.revision.number, warnings=(*now.warnings, *now.refused), changed=True,
        data={"epoch": now.revision.epoch},
    )  # fmt: skip


def _someone_answered(names: Sequence[str], seen: Mapping[str, Seen]) -> None:
    if not names:
        raise OperationFailed("the target has no instances: there is nothing to take over")
    if not any(view.reached for view in seen.values()):
        first = next(view.error for view in seen.values() if view.error is not None)
        raise NodeUnreachable(f"nobody answered, so nothing was taken over: {first.message}", hint=first.hint)


def _rise_above(ctx: Context, domain: str, seen: Mapping[str, Seen]) -> None:
    """Above all that this domain's history reached; what another domain did in a folder of its own does not count."""
    places = [view.at for view in seen.values() if view.at is not None and view.at.domain == domain]
    ctx.history.raise_epoch(1 + max([ctx.history.epoch(), *(at.epoch for at in places)]))
    head = ctx.history.head()
    ours = head.number if head is not None else 0
    theirs = max([0, *(at.standing.revision for at in places)])
    if theirs > ours:
        ctx.history.restart_at(theirs + 1)
