"""A folder of the nodes that is somebody else's, as a release: looked at on all of them, used where it holds what it should.

What lives here: `install-node --folder`, and the judgement over digests. What must not: reading it (the helper does).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dasctl.core import releases
from dasctl.core.domain import Domain
from dasctl.core.outcome import FAILED, OK, UNCHANGED, Outcome, Problem, Result
from dasctl.core.targets import fold
from dasctl.operations.fanout import on_nodes
from dasctl.operations.installed import first_switch, note_of, recorded
from dasctl.operations.ports import Context, Link
from dasctl.operations.recording import current
from dasctl.operations.software import OnNode, ask


async def use_folder(
    ctx: Context, domain: Domain, names: Sequence[str], version: str, folder: str, *, force: bool
) -> Outcome:
    """Digests first, of all nodes; then those with the right one use it."""
    found: dict[str, OnNode] = {}

    async def look(node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        found[node] = await ask(ctx, domain, node, link, finish=True, folders=[folder])
        return [Result(status=OK, node=node)]

    rows = {row.node: row for row in await on_nodes(ctx, domain, {name: [] for name in names}, look)}
    digests = {
        node: there.folders[folder].get("digest") for node, there in found.items() if folder in there.folders
    }
    right = _right_digest(domain, version, digests, force=force)
    judged = {node: _judged(version, folder, there, right, digests) for node, there in found.items()}
    going = [node for node, problem in judged.items() if problem is None]

    async def use(node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        there = found[node]
        switched = await first_switch(ctx, domain, node, link, there, version, to=folder)
        seen = there.folders[folder]
        has = version if switched or there.current == folder else releases.version_of(domain, there.current)
        fields = {"version": version, "current": has, "files": seen.get("files"), "bytes": seen.get("bytes")}
        changed = switched or version not in domain.releases
        note = "current from now on" if switched else note_of(domain, node, there, version, has == version)
        return [Result(status="installed" if changed else UNCHANGED, node=node, fields=fields, note=note)]

    rows |= {row.node: row for row in await on_nodes(ctx, domain, {node: [] for node in going}, use)}
    failed = {
        node: Result(status=FAILED, node=node, error=problem) for node, problem in judged.items() if problem
    }
    results = [failed.get(name) or rows[name] for name in names]
    head = current(ctx, domain=domain).revision.number
    return recorded(ctx, "install-node", domain, version, {"folder": folder, "digest": right}, results, head)


def _right_digest(domain: Domain, version: str, digests: dict[str, Any], *, force: bool) -> str | None:
    """What the folder has to hold: what is written down, or what most of the nodes have."""
    known = domain.releases.get(version)
    if known is not None and known.digest is not None and not force:
        return known.digest
    counted = Counter(digest for digest in digests.values() if isinstance(digest, str))
    return counted.most_common(1)[0][0] if counted else (known.digest if known is not None else None)


def _judged(
    version: str, folder: str, there: OnNode, right: str | None, digests: dict[str, Any]
) -> Problem | None:
    seen = there.folders.get(folder, {})
    digest = seen.get("digest")
    if not isinstance(digest, str):
        why = str(seen.get("message") or "it cannot be read")
        return Problem(message=f"{folder}: {why}", hint="install it there by the node's own means first")
    if digest == right:
        return None
    same = [node for node, other in digests.items() if other == right]
    if same:
        return Problem(
            message=f"{folder} holds something else than on {fold(same)}: {digest[:12]}…, not {str(right)[:12]}…",
            hint=f"bring the nodes to the same package, or install it there as another --version than {version}",
        )
    return Problem(
        message=f"{folder} has changed since release {version} was installed: {digest[:12]}…, not {str(right)[:12]}…",
        hint="if that is meant, --force takes it as it is now",
    )
