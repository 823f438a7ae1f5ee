"""A rolling change: batch by batch through the instances, until all had their turn, too many have failed, or Ctrl-C.

What lives here: the run over the batches, and its ends. What must not: the way of one node (`rolling_node.py`), what is told
at the end (`rolling_told.py`).
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from dasctl.core.domain import Domain
from dasctl.core.outcome import UNCHANGED, Result
from dasctl.core.rolling import Rolling
from dasctl.core.rollout import Begin, BringBack, Finished, Member, Ordered, Rollout, State, decoded
from dasctl.core.stamps import Acknowledged
from dasctl.core.targets import fold
from dasctl.errors import OperationFailed
from dasctl.operations import skews
from dasctl.operations.chronicle import Chronicle, kept_of
from dasctl.operations.fanout import INTERRUPTED, by_node, on_nodes, swallow_one_interrupt
from dasctl.operations.ports import Context, Event
from dasctl.operations.preparing import prepare, written_down
from dasctl.operations.putting_back import put_back
from dasctl.operations.recording import Current, current, remembered
from dasctl.operations.rolling_node import Batch
from dasctl.operations.rolling_told import told
from dasctl.operations.sync import sync_options
from dasctl.operations.synchronising import Synchronisation

Look = Callable[[], Current]


async def roll(
    ctx: Context, domain: Domain, names: Sequence[str], ordered: Ordered, rolling: Rolling, *, command: str,
    look: Look | None = None,
) -> tuple[Current | None, list[Result]]:  # fmt: skip
    """Begin a rolling change of `names`, and carry it out; one result each. The caller holds the domain's lock.

    Raises OperationFailed, before anything is changed, where another one is unfinished (unless `rolling.anew`), or where
    it could not be taken back as `rolling.auto_rollback` asks.
    """
    before = forgotten(ctx, domain, rolling, names)
    expected = remembered(ctx, domain, names)
    run = await prepared(ctx, domain, names, ordered, look)
    rollout = _begun(ctx, names, ordered, rolling, expected, run, command).inherited(before)
    if rolling.auto_rollback:
        _can_be_taken_back(ctx, rollout)
    chronicle = Chronicle(ctx, rollout)
    chronicle.begin()
    return await finished(
        ctx, Roller(ctx=ctx, domain=domain, chronicle=chronicle, run=run, expected=expected)
    )


def refuse_unfinished(ctx: Context, rolling: Rolling | None) -> None:
    """Raise OperationFailed where a rolling change is unfinished, and is not to be forgotten: of use before a command
    changes anything.
    """
    data = kept_of(ctx).read() if rolling is not None and not rolling.anew else None
    if data is None:
        return
    unfinished = decoded(data)
    raise OperationFailed(
        f"a rolling change is unfinished: '{unfinished.line}' of {unfinished.who}@{unfinished.host}\n{stands(unfinished)}",
        hint=f"go on with it: dasctl {unfinished.line} --resume\nor forget it: add --anew",
    )


def forgotten(ctx: Context, domain: Domain, rolling: Rolling, names: Sequence[str]) -> Rollout | None:
    """The unfinished change that `rolling.anew` forgets. Raises OperationFailed as above, and where it would forget that an
    instance is out of its load balancer.
    """
    refuse_unfinished(ctx, rolling)
    data = kept_of(ctx).read()
    if data is None:
        return None
    try:
        unfinished = decoded(data)
    except OperationFailed:
        return None  # it is forgotten since it cannot be read
    lost = [name for name in unfinished.out if name not in names and name in domain.instances]
    if lost:
        raise OperationFailed(
            f"--anew would forget that {fold(lost)} may still be out of the load balancer",
            hint=f"name them, too, or go on with what was begun: dasctl {unfinished.line} --resume",
        )
    return unfinished


def stands(rollout: Rollout) -> str:
    """`done: web1; failed: web2; waiting: web3`."""
    groups = {state: rollout.those(state) for state in State}
    return "; ".join(f"{state}: {fold(names)}" for state, names in groups.items() if names)


async def prepared(
    ctx: Context, domain: Domain, names: Sequence[str], ordered: Ordered, look: Look | None = None
) -> Synchronisation | None:
    """The synchronisation that all batches share; None where nothing is synchronised."""
    if ordered.sync == "none":
        return None
    criterion = "hash" if ordered.sync == "full" else ordered.criterion
    look = look or partial(current, ctx, domain=domain, criterion=criterion)
    options = sync_options(
        domain, full=ordered.sync == "full", criterion=ordered.criterion, deviations=ordered.deviations,
        only=ordered.only, exclude=ordered.exclude, together=False, verify=ordered.verify, yes=ordered.yes,
    )  # fmt: skip
    return await prepare(ctx, look, names, options, reload=False)


def _begun(
    ctx: Context, names: Sequence[str], ordered: Ordered, rolling: Rolling, expected: Mapping[str, Acknowledged],
    run: Synchronisation | None, command: str,
) -> Rollout:  # fmt: skip
    revision = run.now.revision if run is not None else None
    return Rollout(
        command=command, line=_line(ctx.who.command or command), who=ctx.who.user, host=ctx.who.host, when=ctx.clock.now(),
        rolling=replace(rolling, anew=False), ordered=ordered,
        members=tuple(
            Member(name=name, before=expected[name].standing.revision if name in expected else None) for name in names
        ),
        revision=revision.number if revision is not None else None,
        digest=revision.digest if revision is not None else "",
    )  # fmt: skip


def _line(typed: str) -> str:
    """The command as it may be typed again with `--resume` or `--anew`."""
    try:
        words = shlex.split(typed)
    except ValueError:
        return typed  # it was too long, and its end is missing
    return shlex.join(word for word in words if word not in ("--anew", "--resume"))


def _can_be_taken_back(ctx: Context, rollout: Rollout) -> None:
    """Raise OperationFailed where what an instance had before is kept no more."""
    for member in rollout.members:
        if member.before is not None and ctx.history.parts_of(member.before) is None:
            raise OperationFailed(
                f"--auto-rollback: revision {member.before}, which {member.name} has, is kept no more, so it could not be "
                "brought back",
                hint="go without --auto-rollback; `domain: revisions` in domain.yaml says how many are kept",
            )


@dataclass(kw_only=True)
class Roller:
    """One rolling change under way. `rows`: the last results; `interrupted`: somebody pressed Ctrl-C."""

    ctx: Context
    domain: Domain
    chronicle: Chronicle
    run: Synchronisation | None
    expected: Mapping[str, Acknowledged]
    rows: dict[str, Result] = field(default_factory=dict)
    interrupted: bool = False

    async def through(self) -> Finished | BringBack | None:
        """Batch by batch; None where too many have failed, or it was interrupted."""
        first = True
        while not self.interrupted:
            decision = self.chronicle.rollout.next()
            if not isinstance(decision, Begin):
                return decision if isinstance(decision, Finished | BringBack) else None
            if not first:
                await self._pause(decision)
            first = False
            if not self.interrupted:
                await self._batch(decision)
        return None

    async def _pause(self, decision: Begin) -> None:
        seconds = self.chronicle.rollout.rolling.pause_s
        if not seconds:
            return
        for name in decision.names:
            self._tell(Event(phase="waiting", instance=name, text=f"pause of {seconds:g} s"))
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            swallow_one_interrupt()
            self.interrupted = True

    async def _batch(self, decision: Begin) -> None:
        self.chronicle.next_batch()
        self._label(decision)
        label = f"batch {decision.number} of {decision.of}"
        ctx = replace(
            self.ctx,
            tolerance=None,
            on_event=lambda event: self._tell(replace(event, text=event.text or label)),
        )
        barred = await self._barred(decision.names)
        if barred is None:
            return
        batch = Batch(
            ctx=ctx, domain=self.domain, ordered=self.chronicle.rollout.ordered, chronicle=self.chronicle,
            expected=self.expected, barred=barred, run=replace(self.run, ctx=ctx) if self.run is not None else None,
        )  # fmt: skip
        rows = await on_nodes(ctx, self.domain, by_node(self.domain, decision.names), batch.node)
        if self.run is not None:
            rows = written_down(self.run, rows)
        self._judge(rows)
        if self.interrupted or self.chronicle.broken is not None:
            self.interrupted = True
            await put_back(self.ctx, self.domain, self.chronicle)

    async def _barred(self, names: Sequence[str]) -> Mapping[str, str] | None:
        """Who must not be started beside the others as they are now (`max-skew`), and why; None: interrupted."""
        try:
            return (await skews.judged(self.ctx, self.domain, names, those="all")).refused
        except asyncio.CancelledError:  # nothing of this batch was done yet
            self.interrupted = True
            return None

    def _label(self, decision: Begin) -> None:
        """Who waits is shown for which batch."""
        rollout = self.chronicle.rollout
        waiting = rollout.those(State.WAITING)
        size = len(decision.names)
        for at, name in enumerate(waiting):
            number = decision.number + at // size
            self._tell(Event(phase="waiting", instance=name, text=f"batch {number} of {decision.of}"))

    def _tell(self, event: Event) -> None:
        node = event.node or (self.domain.instances[event.instance].node if event.instance else None)
        self.ctx.on_event(replace(event, node=node))

    def _judge(self, rows: Iterable[Result]) -> None:
        """What the nodes could not say themselves: that they were lost, or that it all was interrupted."""
        for row in rows:
            name = str(row.instance)
            # Where it cannot be written down how far it is, nothing more may be done.
            if self.chronicle.broken is not None and not row.good:
                continue
            if row.error is INTERRUPTED:  # where each of the node's instances stands, the chronicle says
                self.interrupted = True
                continue
            self.rows[name] = row
            if row.error is not None and self.chronicle.rollout.of(name).state is not State.FAILED:
                self.chronicle.fail(name, row.error.message)


def _done_before(roller: Roller, name: str) -> Result:
    rollout = roller.chronicle.rollout
    node, columns = roller.domain.instances[name].node, {"revision": rollout.revision}
    return Result(status=UNCHANGED, instance=name, node=node, fields=columns, note="done before")


async def finished(ctx: Context, roller: Roller) -> tuple[Current | None, list[Result]]:
    """Carry it out to one of its ends; what is told of each instance then."""
    end = await roller.through()
    now = roller.run.now if roller.run is not None else None
    if isinstance(end, Finished):
        kept_of(ctx).clear()
        return now, [
            roller.rows.get(name) or _done_before(roller, name) for name in roller.chronicle.rollout.names
        ]
    if isinstance(end, BringBack):
        from dasctl.operations.rolling_back import brought_back

        return await brought_back(roller)
    broken = roller.chronicle.broken
    why = broken.message if broken is not None else "interrupted" if roller.interrupted else ""
    return now, await told(roller.ctx, roller.domain, roller.chronicle.rollout, roller.rows, why=why)
