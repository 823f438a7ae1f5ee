"""What entries claim of one machine: ports, and the nodes' directories.

What lives here: claims that are in each other's way. What must not: entries one by one (`validate.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dasctl.core import names
from dasctl.core.domain import Domain
from dasctl.core.faults import Fault, Path
from dasctl.core.properties import PropertyError, Scope
from dasctl.core.wellformed import MAX_PORT


def same_ports(domain: Domain, scopes: Mapping[str, Scope]) -> Iterator[tuple[Fault, bool]]:
    """Ports that two instances of one machine claim. Certain (True) on one node or behind one `sshd`; nodes that share a
    host, but not the port of their `sshd`, may be containers, so that is a warning (False).
    """
    claimed: dict[tuple[str, str | None, str], list[tuple[str, str]]] = {}
    for instance, known in scopes.items():
        node = domain.nodes[domain.instances[instance].node]
        for name, port in _ports(known):
            if int(port) > MAX_PORT:
                path = known.places[name]
                yield Fault(path=path, message=f"a port is at most {MAX_PORT}, not {port}"), True
                continue
            claims = claimed.setdefault((node.host.lower(), node.jump, port), [])
            other = next((claim for claim in claims if claim[0] != instance), None)
            if other is not None:
                yield _clash(domain, (instance, name), other, port)
            claims.append((instance, name))


def _clash(domain: Domain, claim: tuple[str, str], other: tuple[str, str], port: str) -> tuple[Fault, bool]:
    (instance, name), (other_instance, other_name) = claim, other
    entry, other_entry = domain.instances[instance], domain.instances[other_instance]
    node, other_node = domain.nodes[entry.node], domain.nodes[other_entry.node]
    where = f"the node {entry.node!r}"
    if entry.node != other_entry.node:
        where = f"the host {node.host!r} (nodes {other_entry.node!r} and {entry.node!r})"
    message = f"{name} is {port}, and so is {other_name} of {other_instance!r} on {where}"
    certain = entry.node == other_entry.node or (node.port or 22) == (other_node.port or 22)
    path: Path = ("instances", instance)
    if name in entry.properties:
        path = (*path, "properties", name)
    return Fault(path=path, message=message), certain


def _ports(known: Scope) -> Iterator[tuple[str, str]]:
    """(property, port) of what an instance claims; other texts and numbers (-1 means "off" to Tomcat) claim nothing."""
    for name in known.given:
        if not names.is_port(name):
            continue
        try:
            text = "".join(part for part in known.value(name) if isinstance(part, str)).strip()
        except PropertyError:
            continue
        if text.isascii() and text.isdigit() and len(text) < 20 and int(text) > 0:
            yield name, str(int(text))


def nested_dirs(domain: Domain) -> Iterator[tuple[Fault, bool]]:
    """Nodes of one machine with one directory inside the other's. Inside an instance's folder it is a fault (True): its
    synchronisation would find the other node's files. A directory that two nodes share, or one beside the other's
    instances, works, but was hardly meant (False).
    """
    places: dict[tuple[object, ...], list[tuple[str, str]]] = {}
    for name, node in domain.nodes.items():
        folder = _normal(domain.node_dir(name))
        # What `~` is depends on the login; an absolute path does not.
        login = node.user if folder.startswith("~/") else None
        places.setdefault((node.host.lower(), node.jump, node.port or 22, login), []).append((name, folder))
    for nodes in places.values():
        for number, (inner, folder) in enumerate(nodes):
            for other, (outer, above) in enumerate(nodes):
                # Of two nodes with the same directory the later one is told.
                if folder.startswith(above + "/") or (folder == above and other < number):
                    yield _nested(domain, inner, outer, folder, above)


def _nested(domain: Domain, inner: str, outer: str, folder: str, above: str) -> tuple[Fault, bool]:
    path: Path = ("nodes", inner, "dir") if domain.nodes[inner].dir is not None else ("nodes", inner)
    if folder == above:
        message = f"the node {outer!r} on the same host has the same directory, {above}"
        return Fault(path=path, message=message), False
    first = folder[len(above) + 1 :].split("/")[0]
    if first in domain.instances_on(outer):
        message = f"it is inside the folder of the instance {first!r} of the node {outer!r} on the same host"
        return Fault(path=path, message=message), True
    message = f"it is inside the directory of the node {outer!r} on the same host, {above}"
    return Fault(path=path, message=message), False


def _normal(folder: str) -> str:
    """Without empty names and `.`: two ways to write one directory."""
    head = "~" if folder.startswith("~/") else ""
    parts = [name for name in folder.removeprefix("~").split("/") if name not in ("", ".")]
    return head + "/" + "/".join(parts)
