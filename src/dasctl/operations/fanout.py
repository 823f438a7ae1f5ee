"""One link per node, so many nodes side by side as there may be; one node's failure never reaches another's work.

What lives here: when a node is begun, and what its end amounts to. What must not: what is done there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from dasctl.core.domain import Domain
from dasctl.core.outcome import FAILED, SKIPPED, Problem, Result, status_of_error
from dasctl.errors import DasctlError, OperationFailed
from dasctl.operations.ports import Context, Event, Link

log = logging.getLogger(__name__)

Work = Callable[[str, Link, Sequence[str]], Awaitable[Sequence[Result]]]

INTERRUPTED = Problem(
    message="interrupted before it was done; each file there is the old one or the new one",
    hint="run the command again: it finishes what was begun",
)


def by_node(domain: Domain, instances: Iterable[str]) -> dict[str, list[str]]:
    """The instances grouped by their nodes, in the order given."""
    groups: dict[str, list[str]] = {}
    for name in instances:
        groups.setdefault(domain.instances[name].node, []).append(name)
    return groups


async def on_nodes(
    ctx: Context, domain: Domain, groups: Mapping[str, Sequence[str]], work: Work
) -> list[Result]:
    """Open a link to each node and do `work(node, link, instances)` there; the results in the order of `groups`.

    A node that fails gives one failed result per instance (one for the node itself where it has none). Once more have
    failed than `ctx.tolerance` allows, no further node is begun; those at work finish. An interrupt (the task is
    cancelled once) ends the work and is told in the results of those that were not done.
    """
    limit = asyncio.Semaphore(ctx.parallel)
    done: dict[str, Sequence[Result]] = {}
    for node, instances in groups.items():
        _tell(ctx, "waiting", node, instances)

    async def visit(node: str, instances: Sequence[str]) -> None:
        async with limit:
            done[node] = _skipped(ctx, node, instances, groups, done) or await _visit(
                ctx, domain, node, instances, work
            )
            _tell_end(ctx, node, done[node])

    try:
        async with asyncio.TaskGroup() as group:
            for node, instances in groups.items():
                group.create_task(visit(node, instances))
    except asyncio.CancelledError:
        swallow_one_interrupt()
    return [
        result
        for node, instances in groups.items()
        for result in done.get(node) or failures(node, instances, INTERRUPTED, FAILED)
    ]


def _skipped(
    ctx: Context,
    node: str,
    instances: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    done: Mapping[str, Sequence[Result]],
) -> list[Result]:
    """The results of a node that is not begun, because too much has failed; none where it may begin."""
    if ctx.tolerance is None:
        return []
    failed = sum(not row.good and row.status != SKIPPED for rows in done.values() for row in rows)
    if not ctx.tolerance.exceeded(failed, sum(len(names) for names in groups.values())):
        return []
    problem = Problem(
        message=f"not begun: more had failed than --max-failures {ctx.tolerance} allows",
        hint="mend the cause, then run the command with --failed",
    )
    return failures(node, instances, problem, SKIPPED)


async def _visit(
    ctx: Context, domain: Domain, node: str, instances: Sequence[str], work: Work
) -> Sequence[Result]:
    _tell(ctx, "connecting", node, instances)
    try:
        async with ctx.links.open(node, domain.nodes[node]) as link:
            _heed_interrupt()
            return await work(node, link, instances)
    except DasctlError as error:
        return failures(node, instances, Problem.of(error), status_of_error(error))
    except Exception as error:  # a fault of ours: it must not take the other nodes' work with it
        log.exception("node %s", node)
        fault = OperationFailed(f"node {node}: {type(error).__name__}: {error}")
        return failures(node, instances, Problem.of(fault), FAILED)


def _heed_interrupt() -> None:
    """End what an interrupt was meant to end already: `asyncio.wait_for`, which asyncssh connects with, loses one that comes
    at the moment at which the connection is there (before Python 3.12).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def failures(node: str, instances: Sequence[str], problem: Problem, status: str) -> list[Result]:
    """One failed result for each of the instances, or for the node where there are none."""
    return [Result(status=status, instance=name, node=node, error=problem) for name in instances] or [
        Result(status=status, node=node, error=problem)
    ]


def _tell(ctx: Context, phase: str, node: str, instances: Sequence[str]) -> None:
    for name in instances or (None,):
        ctx.on_event(Event(phase=phase, node=node, instance=name))


def _tell_end(ctx: Context, node: str, rows: Sequence[Result]) -> None:
    """Only here is it known that nothing comes after: a synchronisation may be followed by a start."""
    for row in rows:
        phase = "done" if row.good else SKIPPED if row.status == SKIPPED else "failed"
        ctx.on_event(Event(phase=phase, node=node, instance=row.instance))


def swallow_one_interrupt() -> None:
    """Go on after the first cancellation: an outcome is still owed to the operator. A second one ends everything."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
