"""After an interrupt: servers that were taken out or stopped serve again, as far as they can.

What lives here: what is done with the instances that were under way. What must not: the end of a change that was not
interrupted (`rolling_node.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dasctl.core.config_id import config_id
from dasctl.core.domain import Domain
from dasctl.core.outcome import OK, Result
from dasctl.core.rollout import State
from dasctl.operations.chronicle import Chronicle
from dasctl.operations.commanding import command
from dasctl.operations.draining import command_of, put_aside
from dasctl.operations.fanout import by_node, on_nodes
from dasctl.operations.ports import Context, Link
from dasctl.operations.recording import remembered
from dasctl.remote import words

STARTED = (State.STARTING, State.READY, State.UNDRAINING)


async def put_back(ctx: Context, domain: Domain, chronicle: Chronicle) -> None:
    """Let what was under way serve again, with the files that it has by now; it waits to be begun anew, or is done where it
    had been started anew. Who does not get ready stays as it is.

    Another interrupt ends this, too.
    """
    returning = Returning(ctx=ctx, domain=domain, chronicle=chronicle)
    await on_nodes(ctx, domain, by_node(domain, chronicle.rollout.under_way), returning.node)


@dataclass(frozen=True, slots=True, kw_only=True)
class Returning:
    """The way back of the nodes."""

    ctx: Context
    domain: Domain
    chronicle: Chronicle

    async def node(self, node: str, link: Link, names: Sequence[str]) -> list[Result]:
        """One result per instance, of no interest to anybody: the chronicle says what became of it."""
        ran = [name for name in names if self.chronicle.rollout.of(name).ran]
        # A server that was told to stop may end at any moment: it is let end, and started.
        await self._asked(node, link, words.STOP, self._those(ran, State.STOPPING))
        failed = await self._asked(node, link, words.START, self._down(ran))
        up = [name for name in ran if name not in failed]
        out = [name for name in up if self._is_out(name)]
        unheard = await put_aside(self.ctx, self.domain, node, link, out, "undrain") if out else {}
        for name in names:
            if name not in failed and unheard.get(name) is None:
                self._settle(name)
        return [Result(status=OK, instance=name, node=node) for name in names]

    def _those(self, names: Sequence[str], *states: State) -> list[str]:
        return [name for name in names if self.chronicle.rollout.of(name).state in states]

    def _down(self, names: Sequence[str]) -> list[str]:
        return self._those(names, State.STOPPING, State.SYNCHRONISING, State.STARTING)

    def _is_out(self, name: str) -> bool:
        drained = self.chronicle.rollout.of(name).drained
        return drained and command_of(self.domain, name, "undrain") is not None

    async def _asked(self, node: str, link: Link, op: str, names: Sequence[str]) -> set[str]:
        """Those at which it failed. A server that runs already is waited for until it is ready."""
        if not names:
            return set()
        known = remembered(self.ctx, self.domain, names)
        answers = await command(
            self.ctx, self.domain, node, link, op, names,
            expected={name: known[name].standing if name in known else None for name in names},
            config_id=config_id(self.domain) if op == words.START else None,
            more={"wait": True} if op == words.START else {"kill": False, "grace": None},
        )  # fmt: skip
        return {name for name, answer in answers.items() if answer.error is not None}

    def _settle(self, name: str) -> None:
        state = self.chronicle.rollout.of(name).state
        if state not in STARTED:
            self.chronicle.move(name, State.WAITING, drained=False)
            return
        for following in STARTED[STARTED.index(state) + 1 :]:
            self.chronicle.move(name, following)
        self.chronicle.move(name, State.DONE, drained=False)
