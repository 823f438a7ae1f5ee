"""Taking servers out of a load balancer and putting them back, by their configs' own commands.

What lives here: the commands, and the wait behind them. What must not: when that is done (`rolling_node.py`).
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from typing import Literal

from dasctl.core.answers import Ran
from dasctl.core.domain import Aside, Domain
from dasctl.core.durations import seconds
from dasctl.core.properties import scope
from dasctl.errors import DasctlError, OperationFailed
from dasctl.operations.ports import Context, Link
from dasctl.operations.run import run_on

Which = Literal["drain", "undrain"]
LAST_LINES = 5  # of what a command said that failed
MOST = 16 << 10  # bytes


def command_of(domain: Domain, name: str, which: Which) -> Aside | None:
    """What the instance's config says."""
    config = domain.configs[domain.config_of(name)]
    return config.drain if which == "drain" else config.undrain


async def put_aside(
    ctx: Context, domain: Domain, node: str, link: Link, names: Sequence[str], which: Which
) -> dict[str, DasctlError | None]:
    """Run the command of each of `names` that has one, side by side, and wait as long as it says: None, or what failed."""
    wanted = {name: aside for name in names if (aside := command_of(domain, name, which)) is not None}
    told: dict[str, DasctlError | None] = {}
    for timeout_s, group in _by_timeout(wanted).items():
        commands = {name: scope(domain, name).command(wanted[name].command) for name in group}
        ran = await run_on(ctx, domain, node, link, commands, timeout_s, most=MOST)
        told |= {name: _judged(ran[name], which, commands[name], name, node) for name in group}
    waits = [seconds(wanted[name].wait) for name, error in told.items() if error is None]
    await asyncio.sleep(max(waits, default=0.0))
    return told


def _by_timeout(wanted: Mapping[str, Aside]) -> dict[float, list[str]]:
    groups: dict[float, list[str]] = {}
    for name, aside in wanted.items():
        groups.setdefault(seconds(aside.timeout), []).append(name)
    return groups


def _judged(ran: Ran, which: Which, command: str, name: str, node: str) -> DasctlError | None:
    if ran.good:
        return None
    if ran.error is not None:
        return ran.error
    lines = [f"{name} on node {node}: its config's {which} command failed: {ran.ending}"]
    said = (ran.err.strip() or ran.out.strip()).splitlines()[-LAST_LINES:]
    if said:
        lines += ["it said:", *(f"  | {line}" for line in said)]
    return OperationFailed(
        "\n".join(lines), hint=f"to see it by hand: dasctl run {name} -- {shlex.quote(command)}"
    )
