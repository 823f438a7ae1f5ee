"""What is to be said when a server was started with a release that is not what the domain says."""

from __future__ import annotations

from collections.abc import Mapping

from dasctl.core import releases
from dasctl.core.domain import Domain
from dasctl.errors import DasctlError
from dasctl.operations.ports import Context, Link
from dasctl.operations.software import ask


async def odd_releases(
    ctx: Context, domain: Domain, node: str, link: Link, started: Mapping[str, object]
) -> dict[str, str]:
    """A sentence for each instance of `started` (to what its release is called on the node) whose release is another one, or
    is a folder that has changed. Asks the node only where it uses such a folder.
    """
    wanted = domain.nodes[node].software
    concerned = [name for name in started if releases.names_release(domain, name)]
    if wanted is None or not concerned:
        return {}
    told = {}
    changed = await _changed(ctx, domain, node, link, wanted)
    for name in concerned:
        called = started[name]
        version = releases.version_of(domain, called) if isinstance(called, str) else None
        if version != wanted:
            told[name] = (
                f"it runs with release {version or called}, domain.yaml says {wanted}: upgrade-node {node}"
            )
        elif changed:
            told[name] = changed
    return told


async def _changed(ctx: Context, domain: Domain, node: str, link: Link, version: str) -> str:
    entry = domain.releases[version]
    if entry.folder is None or entry.digest is None:
        return ""
    try:
        there = await ask(ctx, domain, node, link, folders=[entry.folder])
    except DasctlError as error:
        return f"whether {entry.folder} is as it was is not known: {error.message}"
    seen = there.folders.get(entry.folder, {})
    if seen.get("digest") == entry.digest:
        return ""
    return f"{entry.folder} has changed since release {version} was installed"
