"""Servers that could not be started again: their config names `${node.software}`, and their node has no release.

domain.yaml does not know: a node may have lost what is written there, or have got by hand what is not. So the node is asked,
once more over the link that is open, and only where a config names a release.

What must not live here: what becomes of a start that the node refuses (`remote/start.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dasctl.core import requests, verdicts
from dasctl.core.domain import Domain
from dasctl.core.outcome import OK, Problem, Result
from dasctl.core.releases import names_release
from dasctl.core.rolling import Rolling
from dasctl.core.targets import fold
from dasctl.errors import DasctlError, OperationFailed
from dasctl.operations.fanout import INTERRUPTED, by_node, on_nodes
from dasctl.operations.looking import epoch_of, seen_of
from dasctl.operations.software import ask
from dasctl.remote import words

if TYPE_CHECKING:
    from dasctl.operations.ports import Context, Link

UP = (words.RUNNING, words.STARTING)


async def refuse_lacking(ctx: Context, domain: Domain, names: Sequence[str], rolling: Rolling) -> None:
    """Raise OperationFailed where more of `names` could not be started than a rolling restart of all of them puts up with:
    it would come to its end in the middle.
    """
    found: dict[str, Problem] = {}

    async def asked(node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        found.update(await lacking(ctx, domain, node, link, instances))
        return [Result(status=OK, instance=name, node=node) for name in instances]

    concerned = [name for name in names if names_release(domain, name)]
    rows = await on_nodes(replace(ctx, tolerance=None), domain, by_node(domain, concerned), asked)
    if any(row.error is INTERRUPTED for row in rows):
        raise asyncio.CancelledError  # nothing was done yet
    if rolling.tolerance.exceeded(len(found), len(names)):
        whose: dict[Problem, list[str]] = {}
        for name, why in found.items():
            whose.setdefault(why, []).append(name)
        raise OperationFailed(
            "\n".join(
                f"{fold(those)} could not be started again: {why.message}" for why, those in whose.items()
            ),
            hint="\n".join([*(why.hint for why in whose), "no server was stopped"]),
        )


async def lacking(
    ctx: Context, domain: Domain, node: str, link: Link, names: Sequence[str]
) -> Mapping[str, Problem]:
    """Those of `names`, which are on this node, that could not be started now, and why."""
    concerned = [name for name in names if names_release(domain, name)]
    why = await _why(ctx, domain, node, link) if concerned else None
    return {} if why is None else dict.fromkeys(concerned, why)


async def running_without(
    ctx: Context, domain: Domain, node: str, link: Link, names: Sequence[str], *, outdated: bool
) -> Mapping[str, Problem]:
    """The same of those that run, with `outdated` only of those that require a restart."""
    found = await lacking(ctx, domain, node, link, names)
    if not found:
        return {}
    header = requests.envelope(
        words.LOOK, domain, node, epoch_of(ctx), instances=[{"name": name} for name in found], probe=False
    )
    reply = await link.ask(header, silence_s=ctx.patience_s)
    seen = [seen_of(domain, node, verdict) for verdict in verdicts.read_all(reply.header, list(found), node)]
    return {
        name: found[name]
        for name, view in zip(found, seen, strict=True)
        if view.state in UP and (view.more.get("requires_restart") or not outdated)
    }


async def _why(ctx: Context, domain: Domain, node: str, link: Link) -> Problem | None:
    """Why nobody who needs a release can be started on this node. What cannot be told is left to the start."""
    try:
        there = await ask(ctx, domain, node, link)
    except DasctlError:
        return None
    if there.path is not None:
        return None
    what = f"node {node} has no release of software"
    if there.current is not None:
        what = f"node {node} has lost its release of software: current leads to {there.current}, which is no folder"
    return Problem(
        message=f"its config names ${{node.software}}, and {what}",
        hint=f"dasctl install-node {node} {_which(domain, node)}",
    )


def _which(domain: Domain, node: str) -> str:
    version = domain.nodes[node].software or next(reversed(domain.releases), None)
    return f"--version {version}" if version is not None else "--archive FILE --version V"
