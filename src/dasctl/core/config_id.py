"""The config id: a 32-bit hash of who is in the cluster. Two sides with different ids disagree about the membership.

What counts: nodes (name, host, port, dir), the names of clusters, and where each instance belongs. What does not: order,
comments, configs, properties, users and keys.
"""

from __future__ import annotations

import json

from dasctl.core.domain import Domain


def config_id(domain: Domain) -> int:
    """The config id of `domain`: xxh32 of its membership in canonical form."""
    import xxhash  # only commands that change nodes need it

    return xxhash.xxh32_intdigest(membership(domain))


def membership(domain: Domain) -> bytes:
    """The membership in canonical form: JSON with sorted keys and no spaces."""
    document = {
        "nodes": {name: [node.host, node.port, domain.node_dir(name)] for name, node in domain.nodes.items()},
        "clusters": sorted(domain.clusters),
        "instances": {name: [entry.node, entry.cluster] for name, entry in domain.instances.items()},
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
