"""`list-nodes`: the machines of the domain, as written; with their releases of software, as the nodes tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dasctl.core import releases
from dasctl.core.domain import Domain
from dasctl.core.outcome import OK, Outcome, Result, summed_up
from dasctl.operations.fanout import on_nodes
from dasctl.operations.ports import Context, Link


async def list_nodes(ctx: Context, *, long: bool = False) -> Outcome:
    """One row per node. With `long` nodes are asked for their releases, where the domain has such."""
    domain = ctx.store.load()
    told = await _told(ctx, domain) if long and domain.releases else {}
    rows, warnings = [], []
    for name, node in domain.nodes.items():
        fields = {
            "host": node.host, "port": node.port, "instances": list(domain.instances_on(name)), "user": node.user,
            "key": node.key, "dir": domain.node_dir(name), "jump": node.jump,
        }  # fmt: skip
        if domain.releases:
            fields["software"] = node.software
        seen = told.get(name)
        if seen is not None and seen.error is not None:
            warnings.append(f"what node {name} has is not known: {seen.error.message}")
        more: dict[str, Any] = seen.fields if seen is not None else {}
        rows.append(
            Result(
                status=OK, node=name, fields={**fields, **more}, note=seen.note if seen is not None else ""
            )
        )
    return summed_up("list-nodes", rows, changed=True, warnings=tuple(warnings))


async def _told(ctx: Context, domain: Domain) -> dict[str, Result]:
    """What each node says of its releases."""
    from dasctl.operations.software import ask  # of use to domains with releases only

    folders = {entry.folder: name for name, entry in domain.releases.items() if entry.folder is not None}

    async def look(node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        there = await ask(ctx, domain, node, link, folders=list(folders))
        has = releases.version_of(domain, there.current)
        fields = {
            "current": has or there.current, "installed": there.versions,
            "software_bytes": sum(size for _files, size in there.sizes.values()), "free_bytes": there.free,
        }  # fmt: skip
        return [Result(status=OK, node=node, fields=fields, note=_note(domain, node, there, has))]

    rows = await on_nodes(ctx, domain, {name: [] for name in domain.nodes}, look)
    return {row.node: row for row in rows if row.node is not None}


def _note(domain: Domain, node: str, there: Any, has: str | None) -> str:
    """What is not as it should be."""
    said = []
    wanted = domain.nodes[node].software
    if wanted is not None and has != wanted:
        said.append(f"its software is to be {wanted}: upgrade-node {node} --version {wanted}")
    entry = domain.releases.get(has) if has is not None else None
    if entry is not None and entry.folder is not None and entry.digest is not None:
        seen = there.folders.get(entry.folder, {})
        if seen.get("digest") != entry.digest:
            said.append(f"{entry.folder} has changed since release {has} was installed")
    if there.left:
        said.append(f"left behind by servers: {', '.join(there.left)}")
    if there.interrupted:
        said.append("an interrupted commit waits to be finished: install-node again")
    return "; ".join(said)
