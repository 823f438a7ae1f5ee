"""Looking at the repository while the links are opened: both take their time, and neither needs the other.

What lives here: the overlap. What must not: what is looked for (`recording.py`), the conversation (`conversation.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

from dasctl.core import requests
from dasctl.core.definition import definition
from dasctl.core.domain import Domain
from dasctl.core.outcome import FAILED, Problem, Result
from dasctl.core.requests import Deltas, SyncOptions
from dasctl.core.stamps import Standing
from dasctl.errors import DasctlError, OperationFailed
from dasctl.operations.acknowledging import Acknowledging
from dasctl.operations.consenting import consented
from dasctl.operations.fanout import INTERRUPTED, by_node, on_nodes
from dasctl.operations.ports import Context, Event, Link
from dasctl.operations.recording import Current, remembered
from dasctl.operations.synchronising import Synchronisation
from dasctl.operations.weighing import Order, Sending, ThoughtOf, Weights

Steps = Callable[[Synchronisation, str, Link, Sequence[str]], Awaitable[Sequence[Result]]]


async def prepare(
    ctx: Context,
    look: Callable[[], Current],
    names: Sequence[str],
    options: SyncOptions,
    *,
    override: Mapping[str, Standing | None] | None = None,
    reload: bool = True,
) -> Synchronisation:
    """The synchronisation of `names` to what `look` finds; `look` runs in a thread. Somebody is asked before most of an
    instance is deleted; the run's options say what was agreed to.
    """
    now = await asyncio.to_thread(look)
    recording = _recording(now)
    try:
        expected = remembered(ctx, now.domain, names)
        options = await consented(ctx, now, expected, names, options)
        run = Synchronisation(
            ctx=ctx, now=now, options=options, streams=_sending(ctx, now, options),
            deltas=Deltas(ctx.history.part), acknowledging=Acknowledging(ctx.history), expected=expected,
            override=override or {}, reload=reload, failed=frozenset(ctx.history.failures()), recording=recording,
        )  # fmt: skip
        await _ahead(run, names)
    except DasctlError:
        if recording is not None:
            await recording  # who lets go of the lock has nothing under way
        raise
    return run


def _recording(now: Current) -> asyncio.Future[None] | None:
    """The recording of a new revision, begun in a thread; None where there is nothing to record any more."""
    if now.record is None:
        return None
    begun = asyncio.ensure_future(asyncio.to_thread(now.record))
    begun.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is asked for, or was told
    return begun


def _sending(ctx: Context, now: Current, options: SyncOptions) -> Sending:
    contents = now.slices.contents
    if options.dry_run:
        given = {sha256(text).hexdigest(): text for text in _definitions(now.domain)}
        return Sending(ctx.objects, ThoughtOf(ctx.objects, contents, ctx.repository, given))
    return Sending(ctx.objects, Weights(ctx.objects, contents))


def _definitions(domain: Domain) -> Iterable[bytes]:
    """The instances' own parts of domain.yaml, which a dry run does not write down."""
    return (definition(domain, name) for name in domain.instances)


async def _ahead(run: Synchronisation, names: Sequence[str]) -> None:
    """Make what first requests will need, while the links are still being opened. Contents that are not kept yet are
    weighed when they are.
    """
    for order in await asyncio.to_thread(_orders, run, names):
        if run.recording is None:
            await run.streams.plan(order)


def _orders(run: Synchronisation, names: Sequence[str]) -> list[Order]:
    orders: dict[object, Order] = {}
    for node, instances in by_node(run.now.domain, names).items():
        wants = [run.first_want(name) for name in instances]
        made = requests.sync(run.now.domain, node, wants, run.now.revision, run.options, run.deltas)
        order = Order(contents=made.unasked, ancestors=made.ancestors)
        orders.setdefault(order.key, order)
    return list(orders.values())


async def pass_over(
    ctx: Context,
    domain: Domain,
    names: Sequence[str],
    preparation: Awaitable[Synchronisation],
    steps: Steps,
    *,
    together: bool = False,
) -> tuple[Synchronisation, list[Result]]:
    """One pass over the nodes of `names`: `steps` on each, as soon as its link and the preparation are there.

    `together`: nobody commits before all have staged; then all nodes are at work at once, however many there are. What
    the preparation raises is raised after the links are closed; no node has been asked for anything then. What recording
    the revision raises, too: no node has been told to its end what it was asked for, and none has changed anything.
    """
    preparing = asyncio.ensure_future(preparation)
    groups = by_node(domain, names)
    barrier = None
    if together:
        from dasctl.operations.barrier import Barrier, Watched

        barrier = Barrier(groups)
        ctx = replace(ctx, links=Watched(ctx.links, barrier), parallel=max(ctx.parallel, len(groups)))

    async def visit(node: str, link: Link, instances: Sequence[str]) -> Sequence[Result]:
        if not preparing.done():  # it is not the node that keeps everybody waiting
            for name in instances:
                ctx.on_event(Event(phase="preparing", node=node, instance=name))
        run = await asyncio.shield(preparing)
        return await steps(replace(run, barrier=barrier), node, link, instances)

    rows = await on_nodes(ctx, domain, groups, visit)
    if not preparing.done() and any(row.error is INTERRUPTED for row in rows):
        raise OperationFailed("interrupted before anything was sent", hint="run the command again")
    run = await preparing
    if _broken_off(run, rows):
        raise OperationFailed("interrupted before anything was sent", hint="run the command again")
    await run.recorded()
    return run, written_down(run, rows)


def _broken_off(run: Synchronisation, rows: Sequence[Result]) -> bool:
    """Whether somebody interrupted the command while its revision was still being recorded."""
    if run.recording is None or run.recording.done():
        return False
    return any(row.error is INTERRUPTED for row in rows)


def written_down(run: Synchronisation, rows: list[Result]) -> list[Result]:
    """What was confirmed is remembered, or else told: the next synchronisation will not know of it."""
    try:
        run.acknowledging.write()
    except DasctlError as error:
        return [replace(row, status=FAILED, error=Problem.of(error)) if row.good else row for row in rows]
    return rows
