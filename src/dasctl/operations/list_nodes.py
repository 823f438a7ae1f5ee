"""`list-nodes`: the machines of the domain, as written."""

from __future__ import annotations

from dasctl.core.outcome import OK, Outcome, Result, summed_up
from dasctl.operations.ports import Context


async def list_nodes(ctx: Context, *, long: bool = False) -> Outcome:
    """One row per node; `long` is for whoever shows it."""
    domain = ctx.store.load()
    rows = []
    for name, node in domain.nodes.items():
        fields = {
            "host": node.host, "port": node.port, "instances": list(domain.instances_on(name)), "user": node.user,
            "key": node.key, "dir": domain.node_dir(name), "jump": node.jump,
        }  # fmt: skip
        rows.append(Result(status=OK, node=name, fields=fields))
    return summed_up("list-nodes", rows, changed=True)
