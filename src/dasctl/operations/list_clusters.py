"""`list-clusters`: running, not running, partially running."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dasctl.core.domain import Domain
from dasctl.core.outcome import OK, Outcome, Result, summed_up
from dasctl.operations.looking import Seen, look
from dasctl.operations.ports import Context
from dasctl.remote import words

PARTIALLY_RUNNING = "partially running"


async def list_clusters(ctx: Context, *, status: bool = True) -> Outcome:
    """One row per cluster."""
    domain = ctx.store.load()
    names = [name for cluster in domain.clusters for name in domain.members(cluster)]
    seen = await look(ctx, domain, names) if status else {}
    rows = [_row(domain, cluster, seen, status) for cluster in domain.clusters]
    return summed_up("list-clusters", rows, changed=True)


def _row(domain: Domain, cluster: str, seen: dict[str, Seen], status: bool) -> Result:
    members = domain.members(cluster)
    fields: dict[str, Any] = {
        "cluster": cluster,
        "config": domain.clusters[cluster].config,
        "instances": list(members),
    }
    if not status:
        return Result(status=OK, fields=fields)
    views = [seen[name] for name in members]
    bad = [view for view in views if view.error is not None]
    fields["state"] = cluster_state([view.state for view in views])
    fields["running"] = sum(view.state == words.RUNNING for view in views)
    return Result(status=bad[0].status if bad else OK, fields=fields, error=bad[0].error if bad else None)


def cluster_state(states: Sequence[str]) -> str:
    """asadmin's word for a cluster, given the states of its instances; `unknown` only where nothing else can be said."""
    if states and all(state == words.RUNNING for state in states):
        return words.RUNNING
    if any(state in (words.RUNNING, words.STARTING) for state in states):
        return PARTIALLY_RUNNING
    if any(state == words.UNKNOWN for state in states):
        return words.UNKNOWN
    return words.NOT_RUNNING
