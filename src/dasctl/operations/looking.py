"""Asking nodes how their instances are: one trip each, nothing changed, nobody waits for a node that is away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from dasctl.core import requests, verdicts
from dasctl.core.domain import Domain
from dasctl.core.outcome import FAILED, OK, REFUSED, UNREACHABLE, Problem, Result
from dasctl.core.verdicts import At, Verdict
from dasctl.errors import HistoryError
from dasctl.operations.fanout import by_node, on_nodes
from dasctl.operations.ports import Context, Link
from dasctl.remote import words


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of one instance: the helper's word, or why there is none (`error`; `reached` says if the node spoke)."""

    more: Mapping[str, Any]
    at: At | None = None
    error: Problem | None = None
    status: str = OK

    @property
    def reached(self) -> bool:
        return self.status != UNREACHABLE

    @property
    def exists(self) -> bool:
        return bool(self.more.get("exists"))

    @property
    def state(self) -> str:
        if self.error is not None:
            return words.UNKNOWN
        return str(self.more.get("state") or words.NOT_RUNNING)


async def look(ctx: Context, domain: Domain, names: Sequence[str], *, probe: bool = True) -> dict[str, Seen]:
    """What is seen of each of these instances."""
    seen: dict[str, Seen] = {}

    async def ask(node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        header = requests.envelope(
            words.LOOK, domain, node, epoch_of(ctx),
            instances=[{"name": name} for name in instances], probe=probe,
        )  # fmt: skip
        reply = await link.ask(header, silence_s=ctx.timeout_s)
        for verdict in verdicts.read_all(reply.header, list(instances), node):
            seen[verdict.name] = seen_of(domain, node, verdict)
        return [Result(status=OK, instance=name, node=node) for name in instances]

    rows = await on_nodes(ctx, domain, by_node(domain, names), ask)
    for row in rows:
        if row.instance is not None and row.instance not in seen:
            seen[row.instance] = Seen(more={}, error=row.error, status=row.status)
    return seen


def epoch_of(ctx: Context) -> int:
    """Nobody judges a look by its epoch: how the servers are can be seen without a history that can be read."""
    try:
        return ctx.history.epoch()
    except HistoryError:
        return 0


def seen_of(domain: Domain, node: str, verdict: Verdict) -> Seen:
    """What a verdict of a request that changes nothing says."""
    if verdict.verdict == words.FAILED:
        return Seen(more=verdict.more, status=FAILED, error=Problem.of(verdicts.failure(verdict, node)))
    if verdict.verdict == words.REFUSED:
        return Seen(more=verdict.more, status=REFUSED, error=Problem.of(verdicts.refusal(verdict, node)))
    if verdict.at is not None and verdict.at.domain != domain.domain.id:
        error = Problem(
            message=f"the folder of {verdict.name} on node {node} belongs to another domain ({verdict.at.domain})",
            hint="give this instance another name, or this node another --nodedir",
        )
        return Seen(more=verdict.more, at=verdict.at, status=FAILED, error=error)
    return Seen(more=verdict.more, at=verdict.at)


def instance_row(domain: Domain, name: str, seen: Seen | None) -> Result:
    """The row of `list-instances`; without `seen`, of what domain.yaml alone knows."""
    entry = domain.instances[name]
    row = Result(
        status=OK, instance=name, node=entry.node,
        fields={"cluster": entry.cluster, "host": domain.nodes[entry.node].host},
    )  # fmt: skip
    if seen is None:
        return row
    more = seen.more if seen.error is None else {}
    row.fields.update(
        state=seen.state,
        pid=more.get("pid"),
        # What is shown is how long it has been up: a server that has ended is not.
        since=utc_text(more.get("since")) if more.get("pid") is not None else None,
        revision=seen.at.standing.revision if seen.at is not None and seen.error is None else None,
        requires_restart=bool(more.get("requires_restart")),
    )
    if domain.releases and more.get("pid") is not None:
        row.fields["software"] = _release(domain, more)
    notes = []
    if more.get("interrupted"):
        notes.append("an interrupted commit waits to be finished: synchronise")
    if seen.error is None and not seen.exists:
        notes.append("never synchronised")
    if isinstance(more.get("exit"), Mapping):
        notes.append("exit " + ", ".join(f"{key} {value}" for key, value in more["exit"].items()))
    return replace(row, status=seen.status, error=seen.error, note="; ".join(notes))


def _release(domain: Domain, more: Mapping[str, Any]) -> str | None:
    """The release of software that a running server was started with."""
    from dasctl.core.releases import version_of  # of use to domains with releases only

    link = more.get("release")
    return version_of(domain, link) or link if isinstance(link, str) else None


def utc_text(seconds: Any) -> str | None:
    if not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None  # a node may say anything
