"""What installing amounts to: the first release of a node is used at once, and domain.yaml says what is true now.

What lives here: what archives (`install_node.py`) and folders of others (`others_folder.py`) have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dasctl.core import releases
from dasctl.core.domain import Domain
from dasctl.core.edits import Edit, Put
from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.core.targets import fold
from dasctl.operations.node_story import remember_nodes
from dasctl.operations.ports import Context, Link
from dasctl.operations.recording import edit
from dasctl.operations.software import Bringing, OnNode, switch


async def first_switch(
    ctx: Context,
    domain: Domain,
    node: str,
    link: Link,
    there: OnNode,
    version: str,
    bringing: Bringing | None = None,
    to: str | None = None,
) -> bool:
    """A node that has no release uses the first one that comes; one that was set up anew, the one that it shall have."""
    if there.current is not None or domain.nodes[node].software not in (None, version):
        return False
    at = bringing.now.revision.standing if bringing is not None else there.standing
    return await switch(ctx, domain, node, link, to or releases.part_name(version), was=None, at=at)


def current_of(domain: Domain, there: OnNode, version: str, switched: bool) -> str | None:
    return version if switched else releases.version_of(domain, there.current)


def note_of(domain: Domain, node: str, there: OnNode, version: str, switched: bool) -> str:
    if switched:
        return "current from now on"
    has = current_of(domain, there, version, switched)
    if has == version:
        return ""
    if has is None and there.current is None:
        return f"none is current: its software is to be {domain.nodes[node].software}, which it has not"
    return f"current stays {has or there.current}: upgrade-node {node} --version {version} switches"


def recorded(
    ctx: Context,
    command: str,
    domain: Domain,
    version: str,
    entry: dict[str, Any],
    rows: Sequence[Result],
    number: int,
    notes: tuple[str, ...] = (),
) -> Outcome:
    """Write down what is true now: the release, and which nodes use it. One revision, or none where nothing is new."""
    good = [row for row in rows if row.good and row.node is not None]
    edits: list[Edit] = []
    known = domain.releases.get(version)
    if good and known is None:
        edits.append(Put(path=("releases", version), value=entry))
    elif good:
        changed = {key: value for key, value in entry.items() if getattr(known, key) != value}
        edits += [Put(path=("releases", version, key), value=value) for key, value in changed.items()]
    users = [row.node for row in good if row.fields.get("current") == version and row.node is not None]
    edits += [
        Put(path=("nodes", node, "software"), value=version)
        for node in users
        if domain.nodes[node].software is None
    ]
    if edits:
        on = fold(row.node for row in good if row.node is not None)
        number = edit(ctx, edits, summary=f"installed release {version} on {on}").revision.number
    return summed_up(command, rows, revision=number, notes=notes, warnings=remember_nodes(ctx, rows))
