"""`upgrade-node`: nodes switch to another release that they have; their servers restart with it, or go back to before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from dasctl.core.domain import Domain
from dasctl.core.edits import Edit, Put
from dasctl.core.outcome import FAILED, SKIPPED, Outcome, Problem, Result, summed_up
from dasctl.core.rolling import Rolling
from dasctl.core.targets import fold, resolve_nodes
from dasctl.errors import UsageError
from dasctl.operations import skews
from dasctl.operations.editing import known
from dasctl.operations.fanout import INTERRUPTED, on_nodes
from dasctl.operations.node_story import about_nodes, remember_nodes
from dasctl.operations.ports import Context
from dasctl.operations.recording import current, edit
from dasctl.operations.upgrading import Upgrading

COMMAND = "upgrade-node"
AT_ONCE = Rolling(batch="100%", max_failures="100%")


async def upgrade_node(
    ctx: Context, nodes: Sequence[str], *, version: str, rolling: Rolling | None = None
) -> Outcome:
    """Let `nodes` use release `version`: batch by batch with `rolling`, or all at once. One result per node.

    A node whose servers do not become ready with it has its release from before again, and its servers started with that.
    """
    ctx = about_nodes(ctx)
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        names = resolve_nodes(domain, nodes)
        known("release", version, domain.releases)
        if not names:
            raise UsageError("no nodes", hint="dasctl list-nodes shows them")
        now = current(ctx, domain=domain)
        steps = Upgrading(ctx=ctx, domain=domain, version=version)
        rows, warnings = await _rolled(ctx, steps, names, rolling or AT_ONCE)
        number = _recorded(ctx, domain, version, rows, now.revision.number)
        results = [rows[name] for name in names]
        warnings += remember_nodes(ctx, results)
    return summed_up(COMMAND, results, revision=number, warnings=tuple(dict.fromkeys(warnings)))


async def _rolled(
    ctx: Context, steps: Upgrading, names: Sequence[str], rolling: Rolling
) -> tuple[dict[str, Result], list[str]]:
    """Batch by batch, until all had their turn or too many have failed."""
    done: dict[str, Result] = {}
    warnings: list[str] = []
    for number, batch in enumerate(rolling.batches(names)):
        if rolling.tolerance.exceeded(_failed(done), len(names)):
            break
        try:
            await asyncio.sleep(rolling.pause_s if number else 0)
            judged = await skews.judged(
                ctx,
                steps.domain,
                steps.instances(batch),
                those="up",
                also=steps.stopped_before(batch),
                version=steps.version,
            )
        except asyncio.CancelledError:
            _swallowed()
            steps.interrupted.append(batch[0])
            break
        warnings += judged.warnings
        going = [name for name in batch if not _is_refused(steps, name, judged, done)]
        rows = await on_nodes(ctx, steps.domain, {name: [] for name in going}, steps.node)
        done |= {row.node: row for row in rows if row.node is not None}
        if steps.interrupted or any(row.error is INTERRUPTED for row in rows):
            break
    left = [name for name in names if name not in done]
    if rolling.auto_rollback and rolling.tolerance.exceeded(_failed(done), len(names)):
        await _back(ctx, steps, done)
    stopped = bool(steps.interrupted) or any(row.error is INTERRUPTED for row in done.values())
    problem = Problem(
        message="not begun: "
        + ("interrupted" if stopped else "more nodes had failed than --max-failures allows"),
        hint="mend the cause, then run the same command again: nodes that have the release stay as they are",
    )
    done |= {name: Result(status=SKIPPED, node=name, error=problem) for name in left}
    return done, warnings


def _swallowed() -> None:
    """What was done is recorded first; a second interrupt ends everything."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def _failed(done: dict[str, Result]) -> int:
    return sum(not row.good for row in done.values())


def _is_refused(steps: Upgrading, node: str, judged: skews.Judged, done: dict[str, Result]) -> bool:
    """Whether `max-skew` forbids a server of the node to start with the release: then the node is not touched, and told."""
    why = [judged.refused[name] for name in steps.instances([node]) if name in judged.refused]
    if not why:
        return False
    problem = Problem(
        message=f"node {node} was not touched: {why[0]}",
        hint="go through the releases one by one, upgrade all nodes at once, or raise domain: max-skew",
    )
    done[node] = Result(status=FAILED, node=node, error=problem)
    return True


async def _back(ctx: Context, steps: Upgrading, done: dict[str, Result]) -> None:
    """Bring those that were upgraded back to what they had, the last one first, each by itself."""
    for name in [name for name, row in reversed(done.items()) if row.good and row.fields.get("before")]:
        before = str(done[name].fields["before"])
        (row,) = await on_nodes(ctx, steps.domain, {name: []}, replace(steps, version=before).node)
        if row.good:
            problem = Problem(message=f"node {name} has its release {before} again (--auto-rollback)")
            done[name] = Result(
                status="rolled back", node=name, fields={**row.fields, "before": None}, error=problem
            )
        else:
            done[name] = row


def _recorded(ctx: Context, domain: Domain, version: str, rows: dict[str, Result], number: int) -> int:
    """One revision that says which release each node uses now."""
    changed = [name for name, row in rows.items() if row.good and domain.nodes[name].software != version]
    edits: list[Edit] = [Put(path=("nodes", name, "software"), value=version) for name in changed]
    if not edits:
        return number
    return edit(ctx, edits, summary=f"upgraded {fold(changed)} to release {version}").revision.number
