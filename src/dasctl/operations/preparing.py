"""Looking at the repository while the links are opened: both take their time, and neither needs the other.

What lives here: the overlap. What must not: what is looked for (`recording.py`), the conversation (`synchronising.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from dasctl.core.domain import Domain
from dasctl.core.outcome import Result
from dasctl.core.requests import Deltas, SyncOptions
from dasctl.core.stamps import Standing
from dasctl.operations.contents import ContentStreams
from dasctl.operations.fanout import by_node, on_nodes
from dasctl.operations.ports import Context, Link
from dasctl.operations.recording import Current, remembered
from dasctl.operations.synchronising import Synchronisation

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
    """The synchronisation of `names` to what `look` finds; `look` runs in a thread."""
    now = await asyncio.to_thread(look)
    return Synchronisation(
        ctx=ctx, now=now, options=options, streams=ContentStreams(ctx.repository, now.slices.contents),
        deltas=Deltas(ctx.history.part),
        expected=remembered(ctx, now.domain, names), override=override or {}, reload=reload,
    )  # fmt: skip


async def pass_over(
    ctx: Context, domain: Domain, names: Sequence[str], preparation: Awaitable[Synchronisation], steps: Steps
) -> tuple[Synchronisation, list[Result]]:
    """One pass over the nodes of `names`: `steps` on each, as soon as its link and the preparation are there.

    What the preparation raises is raised after the links are closed; no node has been asked for anything then.
    """
    preparing = asyncio.ensure_future(preparation)

    async def visit(node: str, link: Link, instances: Sequence[str]) -> Sequence[Result]:
        return await steps(await asyncio.shield(preparing), node, link, instances)

    rows = await on_nodes(ctx, domain, by_node(domain, names), visit)
    return await preparing, rows
