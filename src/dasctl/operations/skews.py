"""`max-skew`: how far apart the releases of a cluster's running servers may lie, judged by what the nodes say now.

What must not live here: the judgement over two releases (`core/releases.py`), starting anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dasctl.core import releases
from dasctl.core.domain import Domain
from dasctl.core.outcome import FAILED, Problem, Result
from dasctl.core.releases import Server
from dasctl.core.targets import fold
from dasctl.operations.fanout import INTERRUPTED
from dasctl.operations.looking import Seen, look
from dasctl.operations.ports import Context
from dasctl.remote import words

UP = (words.RUNNING, words.STARTING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """`refused`: instances that must not be started, and why; `warnings`: what could not be found out."""

    refused: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


async def judged(
    ctx: Context,
    domain: Domain,
    names: Sequence[str],
    *,
    those: Literal["all", "down", "up", "changing"],
    also: Collection[str] = (),
    version: str | None = None,
) -> Judged:
    """Whether `names` may be started, side by side, with the releases that their nodes have, or with `version`.

    `those`: started are all of them (what runs is stopped before), those that are down, those that are up, or those that run
    with another release than they would be started with, and of `names` whoever is in `also`. Asks nobody where the domain
    has no `max-skew`, or none of them has to do with releases.
    """
    if domain.domain.max_skew is None:
        return Judged()
    concerned = [name for name in names if releases.names_release(domain, name)]
    clusters = {domain.instances[name].cluster for name in concerned} - {None}
    mates = [
        name
        for name, entry in domain.instances.items()
        if entry.cluster in clusters and releases.names_release(domain, name)
    ]
    if not clusters:
        return Judged()
    seen = await look(ctx, domain, mates, probe=False)
    if any(view.error is INTERRUPTED for view in seen.values()):
        raise asyncio.CancelledError  # nothing was done yet
    starting = [
        name
        for name in concerned
        if those == "all" or name in also or _is_meant(domain, name, seen[name], those)
    ]
    running = [
        found
        for name in mates
        if name not in starting and seen[name].state in UP
        if (found := _server(domain, name, seen[name].more.get("release")))
    ]
    coming = [found for name in starting if (found := _coming(domain, name, seen[name], version))]
    away = [name for name in mates if name not in starting and not seen[name].reached]
    warnings = (
        f"{fold(away)} did not answer: whether it runs, and with which release, is not known, so max-skew was not judged "
        "against it",
    )  # fmt: skip
    return Judged(refused=releases.too_far_apart(domain, running, coming), warnings=warnings if away else ())


def _is_meant(domain: Domain, name: str, seen: Seen, those: str) -> bool:
    is_up = seen.state in UP
    if those != "changing":
        return is_up == (those == "up")
    return is_up and _server(domain, name, seen.more.get("release")) != _coming(domain, name, seen, None)


async def barred(
    ctx: Context, domain: Domain, names: Sequence[str], *, restart: bool
) -> tuple[dict[str, Result], tuple[str, ...]]:
    """The results of those of `names` that must not be started, and warnings."""
    found = await judged(ctx, domain, names, those="all" if restart else "down")
    results = {}
    for name, why in found.refused.items():
        problem = Problem(
            message=f"not started: {why}",
            hint="bring the nodes nearer to each other with upgrade-node, or raise domain: max-skew",
        )
        results[name] = Result(status=FAILED, instance=name, node=domain.instances[name].node, error=problem)
    return results, found.warnings


def _coming(domain: Domain, name: str, seen: Seen, version: str | None) -> Server | None:
    if version is not None:
        return Server(instance=name, node=domain.instances[name].node, version=version)
    return _server(domain, name, seen.more.get("current"))


def _server(domain: Domain, name: str, link: object) -> Server | None:
    version = releases.version_of(domain, link) if isinstance(link, str) else None
    if version is None:
        return None
    return Server(instance=name, node=domain.instances[name].node, version=version)
