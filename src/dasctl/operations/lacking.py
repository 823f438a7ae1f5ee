"""Running servers that could not be started again: their config names `${node.software}`, and their node has no release.

What must not live here: what becomes of a start that the node refuses (`remote/start.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dasctl.core.domain import Domain
from dasctl.core.outcome import Problem
from dasctl.core.releases import names_release
from dasctl.operations.fanout import INTERRUPTED
from dasctl.operations.looking import Seen, look
from dasctl.remote import words

if TYPE_CHECKING:
    from dasctl.operations.ports import Context

UP = (words.RUNNING, words.STARTING)


async def lacking(ctx: Context, domain: Domain, names: Sequence[str]) -> dict[str, Problem]:
    """Those of `names` that run and could not be started again, and why. Asks only nodes without `software` in domain.yaml,
    and those only where a config needs one: somebody may have put a release there by hand.
    """
    doubtful = [
        name
        for name in names
        if domain.nodes[domain.instances[name].node].software is None and names_release(domain, name)
    ]
    if not doubtful:
        return {}
    seen = await look(ctx, domain, doubtful, probe=False)
    if any(view.error is INTERRUPTED for view in seen.values()):
        raise asyncio.CancelledError  # nothing was done yet
    found = ((name, lacks(domain, name, seen[name])) for name in doubtful if seen[name].state in UP)
    return {name: why for name, why in found if why is not None}


def lacks(domain: Domain, name: str, seen: Seen) -> Problem | None:
    """Why the instance cannot be started, where its node says that it has no release and the config needs one."""
    has_none = seen.error is None and "current" in seen.more and seen.more["current"] is None
    if not has_none or not names_release(domain, name):
        return None
    node = domain.instances[name].node
    return Problem(
        message=f"its config names ${{node.software}}, and node {node} has no release of software",
        hint=f"dasctl install-node {node} {_which(domain, node)}",
    )


def _which(domain: Domain, node: str) -> str:
    version = domain.nodes[node].software or next(reversed(domain.releases), None)
    return f"--version {version}" if version is not None else "--archive FILE --version V"
