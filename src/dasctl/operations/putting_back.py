"""After an interrupt: no server that can serve stays out of the load balancer.

What lives here: what is done with the instances that were under way. What must not: the end of a change that was not
interrupted (`rolling_node.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dasctl.core.domain import Domain
from dasctl.core.outcome import OK, Result
from dasctl.core.rollout import State
from dasctl.operations.chronicle import Chronicle
from dasctl.operations.draining import command_of, put_aside
from dasctl.operations.fanout import by_node, on_nodes
from dasctl.operations.looking import Seen, look
from dasctl.operations.ports import Context, Link
from dasctl.remote import words

STARTED = (State.STARTING, State.READY, State.UNDRAINING)


async def put_back(ctx: Context, domain: Domain, chronicle: Chronicle) -> None:
    """Undrain what was under way and serves: it waits again, or is done where it had been started anew.

    All others stay as they are: a server that was told to stop may end at any moment.
    """
    under_way = chronicle.rollout.under_way
    if not under_way:
        return
    seen = await look(ctx, domain, under_way)
    serving = [name for name in under_way if _serves(chronicle.rollout.of(name).state, seen[name])]

    async def visit(node: str, link: Link, names: Sequence[str]) -> list[Result]:
        wanted = [name for name in names if command_of(domain, name, "undrain") is not None]
        failed = await put_aside(ctx, domain, node, link, wanted, "undrain") if wanted else {}
        _settle(chronicle, (name for name in names if failed.get(name) is None))
        return [Result(status=OK, instance=name, node=node) for name in names]

    await on_nodes(ctx, domain, by_node(domain, serving), visit)


def _serves(state: State, seen: Seen) -> bool:
    return seen.state == words.RUNNING and state in (State.DRAINING, *STARTED)


def _settle(chronicle: Chronicle, names: Iterable[str]) -> None:
    for name in names:
        state = chronicle.rollout.of(name).state
        if state is State.DRAINING:
            chronicle.move(name, State.WAITING, drained=False)
            continue
        for following in STARTED[STARTED.index(state) + 1 :]:
            chronicle.move(name, following)
        chronicle.move(name, State.DONE, drained=False)
