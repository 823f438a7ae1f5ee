"""Bringing instances to the current revision, with restarts where running servers need them: what `deploy`, `rollback` and
`sync-… --restart` end with.

What lives here: one pass over all nodes at once. What must not: who is asked batch by batch (`rolling.py`), what a
synchronisation is (`synchronising.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from dasctl.core.domain import Criterion, Deviations, Domain
from dasctl.core.outcome import FAILED, Problem, Result, status_of_error
from dasctl.core.rolling import Rolling
from dasctl.core.rollout import Ordered, Restart
from dasctl.operations.commanding import Answer, command
from dasctl.operations.lifecycle import seconds_of
from dasctl.operations.looking import utc_text
from dasctl.operations.ports import Context, Link
from dasctl.operations.recording import Current, current
from dasctl.operations.sync import sync_options, synchronise
from dasctl.operations.synchronising import Synchronisation
from dasctl.remote import words


async def apply(
    ctx: Context,
    names: Sequence[str],
    *,
    command: str,
    restart: Restart = "needed",
    rolling: Rolling | None = None,
    look: Callable[[], Current] | None = None,
    domain: Domain | None = None,
    full: bool = False,
    criterion: Criterion | None = None,
    deviations: Deviations | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    reload: bool = True,
    together: bool | None = None,
    verify: bool = False,
    yes: bool = False,
) -> tuple[Current, list[Result]]:
    """Bring the instances `names` to the current revision, running or not; one result each, in their order.

    The caller holds the domain's lock and has recorded its change. Running servers that require a restart then
    ("needed"), or all that run ("always"), are stopped and started; one that does not run is not started. `look` is what
    gives the current revision, where the caller knows better than a new look at the repository.
    """
    domain = domain or ctx.store.load()
    if rolling is not None:
        from dasctl.operations.rolling import roll

        ordered = Ordered(
            restart=restart, sync="full" if full else "normal", reload=reload, criterion=criterion, verify=verify,
            deviations=deviations, only=tuple(only), exclude=tuple(exclude), yes=yes,
        )  # fmt: skip
        rolled, rows = await roll(ctx, domain, names, ordered, rolling, command=command, look=look)
        assert rolled is not None  # it synchronises
        return rolled, rows
    options = sync_options(
        domain, full=full, criterion=criterion, deviations=deviations, only=only, exclude=exclude,
        together=together, verify=verify, yes=yes,
    )  # fmt: skip
    look = look or partial(current, ctx, domain=domain, criterion=criterion)
    steps = Steps(restart=restart, barred=await _barred(ctx, domain, names, restart))
    return await synchronise(
        ctx, domain, names, options, look, reload=reload and restart != "always", steps=steps.node
    )


async def _barred(
    ctx: Context, domain: Domain, names: Sequence[str], restart: Restart
) -> Mapping[str, Problem]:
    """The running servers that must not be stopped, and why: `max-skew` forbids to start them with the release that their
    nodes have by now.
    """
    if restart == "never" or domain.domain.max_skew is None:
        return {}
    from dasctl.operations import skews  # of use to few domains

    hint = "bring the nodes nearer to each other with upgrade-node, or raise domain: max-skew"
    refused = (await skews.judged(ctx, domain, names, those="changing")).refused
    return {name: Problem(message=why, hint=hint) for name, why in refused.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The way of one node: synchronise, stop what has to be restarted, start it again. `barred` must not be started."""

    restart: Restart
    barred: Mapping[str, Problem] = field(default_factory=dict)

    async def node(
        self, run: Synchronisation, node: str, link: Link, instances: Sequence[str]
    ) -> Sequence[Result]:
        """One result per instance; one whose step failed takes no further step."""
        rows = list(await run.node(node, link, instances))
        if self.restart != "never":
            barred = {**self.barred, **await self._lacking(run, node, link, rows)}
            rows = [_allowed(row, barred) for row in rows]
        going = [row.instance for row in rows if row.good and row.instance is not None]
        if self.restart == "never" or not going:
            return rows
        request = partial(_asked, run, node, link)
        stopped = await request(words.STOP, going, {"outdated": self.restart == "needed"})
        down = [name for name in going if stopped[name].done]
        started = await request(words.START, down, {"wait": True}) if down else {}
        return [_row(link, row, stopped, started) for row in rows]

    async def _lacking(
        self, run: Synchronisation, node: str, link: Link, rows: Sequence[Result]
    ) -> Mapping[str, Problem]:
        """Those that would be restarted, and need a release that their node has not."""
        from dasctl.operations.lacking import running_without  # of use to what restarts only

        names = [row.instance for row in rows if row.good and row.instance is not None]
        outdated = self.restart == "needed"
        return await running_without(run.ctx, run.now.domain, node, link, names, outdated=outdated)


def _allowed(row: Result, barred: Mapping[str, Problem]) -> Result:
    """A server that could not be started again is not stopped: it has its files, and runs on with the old ones."""
    why = barred.get(row.instance or "")
    if not row.good or why is None:
        return row
    problem = replace(why, message=f"synchronised, but not restarted: {why.message}")
    return replace(row, status=FAILED, error=problem)


async def _asked(
    run: Synchronisation, node: str, link: Link, op: str, names: Sequence[str], more: Mapping[str, Any]
) -> dict[str, Answer]:
    # With `--only` they stand where they stood; the request is asked again then, expecting that.
    return await command(
        run.ctx, run.now.domain, node, link, op, names,
        expected=dict.fromkeys(names, run.now.revision.standing), more=more,
    )  # fmt: skip


def _row(link: Link, row: Result, stopped: Mapping[str, Answer], started: Mapping[str, Answer]) -> Result:
    """The result of the synchronisation, and what became of the server."""
    name = str(row.instance)
    down, up = stopped.get(name), started.get(name)
    if down is None:
        return row
    columns = {**row.fields, "state": _state(down, up), "round_trips": link.round_trips}
    columns["seconds"] = round(row.fields["seconds"] + seconds_of(down, up), 3)
    error = next((answer.error for answer in (down, up) if answer is not None and answer.error), None)
    if error is not None:
        return replace(row, status=status_of_error(error), fields=columns, error=Problem.of(error))
    if up is None:
        return replace(row, fields=columns)
    columns |= {"pid": up.more("pid"), "since": utc_text(up.more("since"))}
    return replace(row, status="restarted", fields=columns)


def _state(down: Answer, up: Answer | None) -> str:
    if up is not None:
        return words.RUNNING if up.error is None else str(up.more("state") or words.SERVER_FAILED)
    if down.error is not None:
        return words.RUNNING
    return str(down.more("state") or words.NOT_RUNNING)
