"""The switch of one node to another release: out of the load balancer, stop, switch, start, ready, back into it.

What lives here: the order of these, and the way back. What must not: which node comes when (`upgrade_node.py`).

Whatever fails, the node ends with one release that its servers were started with, or the result says what is not so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dasctl.core import releases
from dasctl.core.begun_switches import Begun
from dasctl.core.domain import Domain
from dasctl.core.outcome import UNCHANGED, Result
from dasctl.core.stamps import Standing
from dasctl.core.targets import fold
from dasctl.errors import DasctlError, LinkLost, NodeUnreachable, OperationFailed
from dasctl.operations import switch_notes
from dasctl.operations.commanding import command
from dasctl.operations.draining import Which, put_aside
from dasctl.operations.ports import Context, Link
from dasctl.operations.software import OnNode, ask, switch
from dasctl.remote import words


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrading:
    """One command's way through its nodes."""

    ctx: Context
    domain: Domain
    version: str
    interrupted: list[str] = field(default_factory=list)  # nodes that were finished all the same

    def instances(self, nodes: Iterable[str]) -> list[str]:
        """The instances on these nodes that run with the node's release."""
        found = [name for node in nodes for name in self.domain.instances_on(node)]
        return [name for name in found if releases.names_release(self.domain, name)]

    def stopped_before(self, nodes: Iterable[str]) -> list[str]:
        """Instances that a switch which was broken off had stopped, or was about to."""
        begun = {node: switch_notes.begun_on(self.ctx, node) for node in nodes}
        return [name for was in begun.values() if was is not None for name in was.servers]

    async def node(self, node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        """The result of one node. Raises DasctlError, with what the node is left with in its message."""
        started = self.ctx.clock.monotonic()
        to = releases.link_to(self.domain, self.version)
        there = await ask(self.ctx, self.domain, node, link, finish=True, folders=self._folders())
        self._check(node, there, to)
        going = self._switch(node, link, there, to)
        before = releases.version_of(self.domain, going.was)
        if there.current != to or going.members:
            await self._to_its_end(node, going)
        return [
            Result(
                status="upgraded" if there.current != to or going.members else UNCHANGED, node=node,
                fields={"version": self.version, "before": before if before != self.version else None,
                        "restarted": [*going.users, *going.down],
                        "seconds": round(self.ctx.clock.monotonic() - started, 3)},
                note=going.told(),
            )
        ]  # fmt: skip

    def _switch(self, node: str, link: Link, there: OnNode, to: str) -> _Switch:
        """What is to be done on the node, with what a switch that was broken off has left to do."""
        names = self.instances([node])
        begun = switch_notes.begun_on(self.ctx, node) or Begun(was=there.current, servers=())
        noted = [name for name in names if name in begun.servers]
        return _Switch(
            upgrading=self, node=node, link=link, there=there, to=to,
            was=begun.was if begun.was != to else there.current,
            users=[name for name in names if there.servers.get(name, to) != to],
            down=[name for name in noted if name not in there.servers],
            out=[name for name in noted if there.servers.get(name) == to],
        )  # fmt: skip

    async def _to_its_end(self, node: str, going: _Switch) -> None:
        """A switch that was begun is finished, forwards or back, when somebody interrupts; a second interrupt ends it."""
        work = asyncio.ensure_future(going.carry_out())
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            if work.cancelled():
                raise
            self.interrupted.append(node)
            await work

    def _folders(self) -> list[str]:
        entry = self.domain.releases.get(self.version)
        return [entry.folder] if entry is not None and entry.folder is not None else []

    def _check(self, node: str, there: OnNode, to: str) -> None:
        """Nothing is stopped for a release that is not there, or is not what it was."""
        entry = self.domain.releases.get(self.version)
        if entry is not None and entry.folder is not None:
            seen = there.folders.get(entry.folder, {})
            if not isinstance(seen.get("digest"), str):
                raise OperationFailed(
                    f"node {node}: {entry.folder}: {seen.get('message') or 'it cannot be read'}"
                )
            if entry.digest is not None and seen["digest"] != entry.digest:
                raise OperationFailed(
                    f"node {node}: {entry.folder} has changed since release {self.version} was installed",
                    hint=f"if that is meant: dasctl install-node {node} --version {self.version} --force",
                )
        elif to not in there.parts:
            raise OperationFailed(
                f"node {node} has no release {self.version}; it has {', '.join(there.versions) or 'none'}",
                hint=f"dasctl install-node {node} --version {self.version}",
            )


@dataclass(kw_only=True)
class _Switch:
    """One node's switch on its way. `was`: what it goes back to, which is what its servers had.

    `users`: servers that run with another release. Of a switch that was broken off: `down`: servers that it had stopped;
    `out`: those that it had started, and that may be out of the load balancer.
    """

    upgrading: Upgrading
    node: str
    link: Link
    there: OnNode
    to: str
    was: str | None
    users: Sequence[str]
    down: Sequence[str]
    out: Sequence[str]

    @property
    def members(self) -> list[str]:
        """All servers that shall run with the release in the end, and be in the load balancer."""
        return [*self.users, *self.down, *self.out]

    def told(self) -> str:
        """Whose servers were restarted, in a few words."""
        words = [f"{fold(self.users)} restarted"] if self.users else []
        if self.down:
            words.append(f"{fold(self.down)} started, which a switch that was broken off had stopped")
        return ", ".join(words)

    async def carry_out(self) -> None:
        """Switch and restart. Raises what went wrong, after the way back."""
        if self.members:
            begun = Begun(was=self.was, servers=tuple(self.members))
            switch_notes.note(self.upgrading.ctx, self.node, begun)
        await self._there_and_back()
        switch_notes.forget(self.upgrading.ctx, self.node)

    async def _there_and_back(self) -> None:
        out = [*self.down, *self.out]  # of the load balancer, as it was left
        stopped = list(self.down)
        switched = False
        try:
            self._raise(await self._aside("drain", out))
            self._raise(await self._stop(self.users, stopped))
            await self._point(self.to, self.there.current)
            switched = True
            self._raise(await self._start(stopped))
            self._raise(await self._aside("undrain", []))
        except NodeUnreachable as error:
            raise self._lost(error, stopped) from error
        except DasctlError as error:
            raise await self._back(error, stopped, out, switched=switched) from error

    def _lost(self, error: NodeUnreachable, stopped: Sequence[str]) -> DasctlError:
        """Nobody hears us there any more: say what may be left to be done."""
        if not stopped:
            return error
        return LinkLost(
            f"{error.message}\nnode {self.node}: {fold(stopped)} was to be stopped and started again, and that was not "
            "confirmed",
            hint="run the command again: it finishes the switch, and starts what it had stopped",
        )

    async def _back(
        self, cause: DasctlError, stopped: Sequence[str], drained: Sequence[str], *, switched: bool
    ) -> DasctlError:
        """The servers run again with the release from before; the error says so, or what could not be done."""
        left: list[str] = []
        back_to = self._named(self.was if switched else self.there.current)
        try:
            if switched and self.was is not None:
                self._raise(await self._stop(stopped, []))
                await self._point(self.was, self.to)
            self._raise(await self._start(stopped))
            if drained:
                self._raise(await self._aside("undrain", []))
            switch_notes.forget(self.upgrading.ctx, self.node)
        except DasctlError as error:
            left.append(f"and the way back failed: {error.message}")
        if not left:
            again = f"; {fold(stopped)} runs with it again" if stopped else ""
            left = [f"back to {back_to}{again}" if switched else f"it stays with {back_to}{again}"]
        return OperationFailed("\n".join([cause.message, f"node {self.node}: {left[0]}"]), hint=cause.hint)

    def _named(self, link: str | None) -> str:
        return releases.version_of(self.upgrading.domain, link) or link or "no release"

    async def _point(self, to: str, was: str | None) -> None:
        up = self.upgrading
        await switch(up.ctx, up.domain, self.node, self.link, to, was=was, at=self.there.standing)

    async def _aside(self, which: Which, done: list[str]) -> Mapping[str, DasctlError | None]:
        up = self.upgrading
        names = self.users if which == "drain" else self.members
        if not names:
            return {}
        done.extend(names)
        return await put_aside(up.ctx, up.domain, self.node, self.link, names, which)

    async def _stop(self, names: Sequence[str], stopped: list[str]) -> Mapping[str, DasctlError | None]:
        stopped.extend(names)
        return await self._asked(words.STOP, names)

    async def _start(self, names: Sequence[str]) -> Mapping[str, DasctlError | None]:
        return await self._asked(words.START, names)

    async def _asked(self, op: str, names: Sequence[str]) -> Mapping[str, DasctlError | None]:
        up = self.upgrading
        if not names:
            return {}
        more = {"wait": True} if op == words.START else {"kill": False, "grace": None}
        answers = await command(
            up.ctx, up.domain, self.node, self.link, op, names, expected=self._standings(names), more=more
        )  # fmt: skip
        return {name: answer.error for name, answer in answers.items()}

    def _standings(self, names: Sequence[str]) -> dict[str, Standing | None]:
        known = self.upgrading.ctx.history.acknowledged(names)
        return {name: known[name].standing if name in known else None for name in names}

    @staticmethod
    def _raise(answers: Mapping[str, DasctlError | None]) -> None:
        """Raise the first thing that went wrong."""
        for error in answers.values():
            if error is not None:
                raise error
