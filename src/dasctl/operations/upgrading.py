"""The switch of one node to another release: out of the load balancer, stop, switch, start, ready, back into it.

What lives here: the order of these, and the way back. What must not: which node comes when (`upgrade_node.py`).

Whatever fails, the node ends with one release that its servers were started with, or the result says what is not so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dasctl.core import releases
from dasctl.core.domain import Domain
from dasctl.core.outcome import UNCHANGED, Result
from dasctl.core.stamps import Standing
from dasctl.core.targets import fold
from dasctl.errors import DasctlError, LinkLost, NodeUnreachable, OperationFailed
from dasctl.operations.commanding import command
from dasctl.operations.draining import put_aside
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

    async def node(self, node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        """The result of one node. Raises DasctlError, with what the node is left with in its message."""
        started = self.ctx.clock.monotonic()
        to = releases.link_to(self.domain, self.version)
        there = await ask(self.ctx, self.domain, node, link, finish=True, folders=self._folders())
        self._check(node, there, to)
        before = releases.version_of(self.domain, there.current)
        users = [name for name in self.instances([node]) if there.servers.get(name, to) != to]
        if there.current != to or users:
            going = _Switch(upgrading=self, node=node, link=link, there=there, to=to, users=users)
            await self._to_its_end(node, going)
        return [
            Result(
                status="upgraded" if there.current != to or users else UNCHANGED, node=node,
                fields={"version": self.version, "before": before if before != self.version else None, "restarted": users,
                        "seconds": round(self.ctx.clock.monotonic() - started, 3)},
                note=f"{fold(users)} restarted" if users else "",
            )
        ]  # fmt: skip

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
    """One node's switch on its way."""

    upgrading: Upgrading
    node: str
    link: Link
    there: OnNode
    to: str
    users: Sequence[str]

    async def carry_out(self) -> None:
        """Switch and restart. Raises what went wrong, after the way back."""
        drained: list[str] = []
        stopped: list[str] = []
        switched = False
        try:
            self._raise(await self._aside("drain", drained))
            self._raise(await self._stop(self.users, stopped))
            await self._point(self.to, self.there.current)
            switched = True
            self._raise(await self._start(stopped))
            self._raise(await self._aside("undrain", []))
        except NodeUnreachable as error:
            raise self._lost(error, stopped) from error
        except DasctlError as error:
            raise await self._back(error, stopped, drained, switched=switched) from error

    def _lost(self, error: NodeUnreachable, stopped: Sequence[str]) -> DasctlError:
        """Nobody hears us there any more: say what may be left to be done."""
        if not stopped:
            return error
        return LinkLost(
            f"{error.message}\nnode {self.node}: {fold(stopped)} was to be stopped and started again, and that was not "
            "confirmed",
            hint=f"run the command again, then: dasctl start-instance {' '.join(stopped)}",
        )

    async def _back(
        self, cause: DasctlError, stopped: Sequence[str], drained: Sequence[str], *, switched: bool
    ) -> DasctlError:
        """The servers run again with the release from before; the error says so, or what could not be done."""
        left: list[str] = []
        back_to = self._was()
        try:
            if switched and self.there.current is not None:
                self._raise(await self._stop(stopped, []))
                await self._point(self.there.current, self.to)
            self._raise(await self._start(stopped))
            if drained:
                self._raise(await self._aside("undrain", []))
        except DasctlError as error:
            left.append(f"and the way back failed: {error.message}")
        if not left:
            again = f"; {fold(stopped)} runs with it again" if stopped else ""
            left = [f"back to {back_to}{again}" if switched else f"it stays with {back_to}{again}"]
        return OperationFailed("\n".join([cause.message, f"node {self.node}: {left[0]}"]), hint=cause.hint)

    def _was(self) -> str:
        link = self.there.current
        return releases.version_of(self.upgrading.domain, link) or link or "no release"

    async def _point(self, to: str, was: str | None) -> None:
        up = self.upgrading
        await switch(up.ctx, up.domain, self.node, self.link, to, was=was, at=self.there.standing)

    async def _aside(self, which: str, done: list[str]) -> Mapping[str, DasctlError | None]:
        up = self.upgrading
        if not self.users:
            return {}
        done.extend(self.users)
        kind = "drain" if which == "drain" else "undrain"
        return await put_aside(up.ctx, up.domain, self.node, self.link, self.users, kind)  # type: ignore[arg-type]

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
