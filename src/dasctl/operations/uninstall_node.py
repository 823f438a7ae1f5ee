"""`uninstall-node`: a release goes from nodes that use it no more; once it has gone from all of them, it is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dasctl.core import releases
from dasctl.core.domain import Domain
from dasctl.core.edits import Drop
from dasctl.core.moves import Move
from dasctl.core.outcome import UNCHANGED, Outcome, Result, summed_up
from dasctl.core.targets import fold, resolve_nodes
from dasctl.errors import OperationFailed, UsageError
from dasctl.operations.fanout import on_nodes
from dasctl.operations.node_story import about_nodes, remember_nodes
from dasctl.operations.ports import Context, Link
from dasctl.operations.recording import current, edit
from dasctl.operations.software import Bringing, OnNode, ask

COMMAND = "uninstall-node"


async def uninstall_node(ctx: Context, nodes: Sequence[str], *, version: str) -> Outcome:
    """Remove release `version` from `nodes`; refused where it is in use. What servers wrote into it stays there."""
    ctx = about_nodes(ctx)
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        names = resolve_nodes(domain, nodes)
        if not names:
            raise UsageError("no nodes", hint="dasctl list-nodes --long shows which have which release")
        now = current(ctx, domain=domain)
        steps = _Uninstalling(ctx=ctx, bringing=Bringing(ctx=ctx, now=now), version=version)
        rows = await on_nodes(ctx, domain, {name: [] for name in names}, steps.node)
        number, notes = now.revision.number, tuple[str, ...]()
        if version in domain.releases and all(row.good for row in rows):
            number, notes = _forgotten(ctx, domain, names, version, number)
        warnings = remember_nodes(ctx, rows)
    return summed_up(COMMAND, rows, revision=number, notes=notes, warnings=warnings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Uninstalling:
    """The way of one node."""

    ctx: Context
    bringing: Bringing
    version: str

    async def node(self, node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        ctx, domain, name = self.ctx, self.bringing.now.domain, releases.part_name(self.version)
        there = await ask(ctx, domain, node, link, finish=True)
        _check_unused(domain, node, there, self.version)
        if name not in there.parts:
            entry = domain.releases.get(self.version)
            is_folder = entry is not None and entry.folder is not None
            note = "the node's own folder stays as it is" if is_folder else "it was not installed there"
            return [_row(node, self.version, there, UNCHANGED, note)]
        parts = [part for part in self.bringing.parts(there) if part.name != name]
        await self.bringing.bring(node, link, there, parts)
        after = await ask(ctx, domain, node, link)
        left = self.version in after.left
        note = f"what servers wrote into it stays in software/{name}" if left else ""
        return [_row(node, self.version, there, "uninstalled", note)]


def _row(node: str, version: str, there: OnNode, status: str, note: str) -> Result:
    files, size = there.sizes.get(version, (0, 0))
    fields = {"version": version, "files": files, "bytes": size}
    return Result(status=status, node=node, fields=fields, note=note)


def _check_unused(domain: Domain, node: str, there: OnNode, version: str) -> None:
    """Raise OperationFailed where the node, or a running server of it, uses the release."""
    to = releases.link_to(domain, version)
    users = [name for name, release in there.servers.items() if release == to]
    if there.current == to or domain.nodes[node].software == version:
        served = f", and {fold(users)} runs with it" if users else ""
        raise OperationFailed(
            f"node {node}: {version} is its current release{served}",
            hint=f"switch to another one first: dasctl upgrade-node {node} --version …",
        )
    if users:
        raise OperationFailed(
            f"node {node}: {version} is used by {fold(users)}, which runs",
            hint=f"dasctl restart-instance {' '.join(users)}: then it runs with the current release",
        )


def _forgotten(
    ctx: Context, domain: Domain, names: Sequence[str], version: str, number: int
) -> tuple[int, tuple[str, ...]]:
    """Drop what is kept of a release that no node has any more."""
    users = [name for name, node in domain.nodes.items() if node.software == version]
    if users:
        return number, ()  # a folder that other nodes use
    if domain.releases[version].folder is None and set(names) != set(domain.nodes):
        return number, (
            f"release {version} is still known here; uninstalled from all nodes in one command it is forgotten",
        )
    ctx.working.put([Move(to=b".dasctl/releases/" + version.encode(), staged=None)])
    now = edit(
        ctx, [Drop(path=("releases", version))], summary=f"uninstalled release {version} from all nodes"
    )
    return now.revision.number, (f"no node has release {version} any more: it is forgotten",)
