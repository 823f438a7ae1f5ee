"""One link per node, all nodes side by side; one node's failure never reaches another's work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from dasctl.core.domain import Domain
from dasctl.core.outcome import FAILED, Problem, Result, status_of_error
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

    A node that fails gives one failed result per instance (one for the node itself where it has none). An interrupt
    (the task is cancelled once) ends the work and is told in the results of those that were not done.
    """
    limit = asyncio.Semaphore(ctx.parallel)
    done: dict[str, Sequence[Result]] = {}

    async def visit(node: str, instances: Sequence[str]) -> None:
        async with limit:
            done[node] = await _visit(ctx, domain, node, instances, work)

    try:
        async with asyncio.TaskGroup() as group:
            for node, instances in groups.items():
                group.create_task(visit(node, instances))
    except asyncio.CancelledError:
        _swallow_one_interrupt()
    return [
        result
        for node, instances in groups.items()
        for result in done.get(node) or failures(node, instances, INTERRUPTED, FAILED)
    ]


async def _visit(
    ctx: Context, domain: Domain, node: str, instances: Sequence[str], work: Work
) -> Sequence[Result]:
    _tell(ctx, "connecting", node, instances)
    try:
        async with ctx.links.open(node, domain.nodes[node]) as link:
            return await work(node, link, instances)
    except DasctlError as error:
        return _failed(ctx, node, instances, error)
    except Exception as error:  # a fault of ours: it must not take the other nodes' work with it
        log.exception("node %s", node)
        return _failed(ctx, node, instances, OperationFailed(f"node {node}: {type(error).__name__}: {error}"))


def _failed(ctx: Context, node: str, instances: Sequence[str], error: DasctlError) -> list[Result]:
    _tell(ctx, "failed", node, instances)
    return failures(node, instances, Problem.of(error), status_of_error(error))


def failures(node: str, instances: Sequence[str], problem: Problem, status: str) -> list[Result]:
    """One failed result for each of the instances, or for the node where there are none."""
    return [Result(status=status, instance=name, node=node, error=problem) for name in instances] or [
        Result(status=status, node=node, error=problem)
    ]


def _tell(ctx: Context, phase: str, node: str, instances: Sequence[str]) -> None:
    for name in instances or (None,):
        ctx.on_event(Event(phase=phase, node=node, instance=name))


def _swallow_one_interrupt() -> None:
    """Go on after the first cancellation: an outcome is still owed to the operator. A second one ends everything."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
