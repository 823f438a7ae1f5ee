"""The judgement over `releases:`, `nodes: N: software:` and `max-skew`: faults and warnings.

What must not live here: what releases are and how far two lie apart (`releases.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dasctl.core import targets, wellformed
from dasctl.core.domain import Domain
from dasctl.core.faults import Fault, no_such
from dasctl.remote import words

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def faults(domain: Domain) -> Iterator[Fault]:
    """What forbids using the domain."""
    for name, release in domain.releases.items():
        path = ("releases", name)
        yield from wellformed.name(name, path)
        if (release.archive is None) == (release.folder is None):
            yield Fault(path=path, message="exactly one of archive, folder must be given")
        if release.folder is not None and not release.folder.startswith("/"):
            yield Fault(path=(*path, "folder"), message=f"{release.folder!r} is not an absolute path")
        if release.digest is not None and not _DIGEST.match(release.digest):
            yield Fault(path=(*path, "digest"), message=f"{release.digest!r} is not a SHA-256 in hex")
    for name, node in domain.nodes.items():
        if node.software is not None and node.software not in domain.releases:
            message = no_such("release", node.software, domain.releases)
            yield Fault(path=("nodes", name, "software"), message=message)
    if domain.releases and words.SOFTWARE in domain.instances:
        yield Fault(
            path=("instances", words.SOFTWARE),
            message=f"on the nodes the folder {words.SOFTWARE!r} is that of the releases: give the instance another name",
        )
    if domain.domain.max_skew is not None and domain.domain.max_skew < 0:
        yield Fault(
            path=("domain", "max-skew"), message="it is 0 (one release for all servers of a cluster) or more"
        )


def warnings(domain: Domain) -> Iterator[Fault]:
    """Nodes without a release where an instance's config names it. No fault: `install-node` must be able to come later."""
    if not any(node.software is None for node in domain.nodes.values()):
        return
    from dasctl.core.releases import names_release  # of use to few domains

    lacking: dict[str, list[str]] = {}
    for name, entry in domain.instances.items():
        if domain.nodes[entry.node].software is None and names_release(domain, name):
            lacking.setdefault(entry.node, []).append(name)
    for node, instances in lacking.items():
        yield Fault(
            path=("nodes", node),
            message=f"the config of {targets.fold(instances)} names ${{node.software}}, and this node has no `software`: "
            f"dasctl install-node {node} --archive FILE --version V",
        )
