"""What start, stop and restart of instances share: one pass over the nodes, with each instance's steps in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dasctl.core.config_id import config_id
from dasctl.core.domain import Domain
from dasctl.core.outcome import FAILED, Problem, Result, status_of_error
from dasctl.core.stamps import Standing
from dasctl.operations.commanding import Answer, command
from dasctl.operations.looking import utc_text
from dasctl.operations.ports import Acknowledged, Context, Link
from dasctl.operations.synchronising import Synchronisation
from dasctl.remote import words

Sync = Literal["none", "normal", "full"]
SYNC_COLUMNS = ("files_changed", "files_deleted", "bytes_sent", "deviations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Steps for the instances of one node: synchronise (where `run` is given), stop, start."""

    ctx: Context
    domain: Domain
    expected: Mapping[str, Acknowledged]
    run: Synchronisation | None = None
    stop: bool = False
    start: bool = False
    kill: bool = False

    async def node(self, node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        """One result per instance; one whose step failed takes no further step."""
        barred = await self._lacking(node, link, instances) if self.stop and self.start else {}
        synced = await self._synchronise(node, link, [name for name in instances if name not in barred])
        synced |= barred
        going = [name for name in instances if name not in synced or synced[name].good]
        stopped = await self._command(node, link, words.STOP, going, synced) if self.stop else {}
        going = [name for name in going if name not in stopped or stopped[name].error is None]
        started = await self._command(node, link, words.START, going, synced) if self.start else {}
        odd = await self._odd_releases(node, link, started)
        rows = [
            self._result(node, link, name, synced.get(name), stopped.get(name), started.get(name))
            for name in instances
        ]
        return [_with_note(row, odd.get(str(row.instance), "")) for row in rows]

    async def _lacking(self, node: str, link: Link, instances: Sequence[str]) -> dict[str, Result]:
        """The results of those that could not be started again: nothing is done to them."""
        from dasctl.operations.lacking import lacking  # of use to restarts only

        return {
            name: Result(
                status=FAILED, instance=name, node=node, fields={"revision": None},
                error=replace(why, message=f"not restarted: {why.message}"),
            )
            for name, why in (await lacking(self.ctx, self.domain, node, link, instances)).items()
        }  # fmt: skip

    async def _odd_releases(self, node: str, link: Link, started: Mapping[str, Answer]) -> Mapping[str, str]:
        """What is to be said of the releases of software that servers were started with."""
        if not started or self.domain.nodes[node].software is None:
            return {}
        from dasctl.operations.odd_releases import odd_releases  # of use to few domains

        links = {name: answer.more("release") for name, answer in started.items() if answer.error is None}
        return await odd_releases(self.ctx, self.domain, node, link, links)

    async def _synchronise(self, node: str, link: Link, instances: Sequence[str]) -> dict[str, Result]:
        if self.run is None:
            return {}
        return {r.instance: r for r in await self.run.node(node, link, instances) if r.instance}

    async def _command(
        self, node: str, link: Link, op: str, names: Sequence[str], synced: Mapping[str, Result]
    ) -> dict[str, Answer]:
        if not names:
            return {}
        return await command(
            self.ctx, self.domain, node, link, op, names,
            expected={name: self._standing(name, synced) for name in names},
            config_id=config_id(self.domain) if op == words.START else None,
            more={"wait": True} if op == words.START else {"kill": self.kill, "grace": None},
        )  # fmt: skip

    def _standing(self, name: str, synced: Mapping[str, Result]) -> Standing | None:
        if name in synced and self.run is not None:
            return self.run.now.revision.standing
        known = self.expected.get(name)
        return known.standing if known else None

    def _result(
        self,
        node: str,
        link: Link,
        name: str,
        synced: Result | None,
        stopped: Answer | None,
        started: Answer | None,
    ) -> Result:
        if synced is not None and not synced.good:
            return synced
        last = started if started is not None and started.verdict else stopped
        error = next((a.error for a in (stopped, started) if a is not None and a.error is not None), None)
        columns: dict[str, Any] = {"revision": None, "state": _state(stopped, started)}
        if started is not None and started.error is None:
            columns |= {"pid": started.more("pid"), "since": utc_text(started.more("since"))}
        if synced is not None:
            columns |= {key: synced.fields[key] for key in ("revision", *SYNC_COLUMNS)}
        elif last is not None and last.verdict is not None and last.verdict.at is not None:
            columns["revision"] = last.verdict.at.standing.revision
        columns |= {"round_trips": link.round_trips, "seconds": seconds_of(stopped, started)}
        if error is not None:
            return Result(
                status=status_of_error(error),
                instance=name,
                node=node,
                fields=columns,
                error=Problem.of(error),
            )
        status, note = _said(stopped, started)
        return Result(status=status, instance=name, node=node, fields=columns, note=note)


def _with_note(row: Result, odd: str) -> Result:
    return replace(row, note="; ".join(said for said in (row.note, odd) if said)) if odd else row


def _said(stopped: Answer | None, started: Answer | None) -> tuple[str, str]:
    """The status and the sentence for an instance whose steps all succeeded."""
    if started is not None and stopped is not None:
        return ("started", "was not running") if stopped.unchanged else ("restarted", "")
    if started is not None:
        return ("unchanged", "already running") if started.unchanged else ("started", "")
    assert stopped is not None
    if stopped.unchanged:
        return "unchanged", "was not running"
    return "stopped", "killed after its grace period" if stopped.more("how") == "KILL" else ""


def _state(stopped: Answer | None, started: Answer | None) -> str:
    if started is not None:
        return words.RUNNING if started.error is None else str(started.more("state") or words.SERVER_FAILED)
    if stopped is not None and stopped.error is None:
        return words.NOT_RUNNING
    return words.RUNNING


def seconds_of(*answers: Answer | None) -> float:
    """How long these steps took together, by the node's account."""
    return round(sum(float(a.more("seconds") or 0.0) for a in answers if a is not None), 3)
