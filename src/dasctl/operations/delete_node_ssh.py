"""`delete-node-ssh`: removes a node that has no instances."""

from __future__ import annotations

from dasctl.core.edits import Drop
from dasctl.core.outcome import Outcome, Result
from dasctl.core.targets import fold
from dasctl.errors import UsageError
from dasctl.operations.editing import edited, known
from dasctl.operations.ports import Context


async def delete_node_ssh(ctx: Context, name: str) -> Outcome:
    """Remove the entry of `name` and the host key that the domain keeps for it; the machine is not visited."""
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        known("node", name, domain.nodes)
        instances = domain.instances_on(name)
        if instances:
            raise UsageError(
                f"the node '{name}' has instances: {fold(instances)}",
                hint="delete them first: dasctl delete-instance NAME",
            )
        node = domain.nodes[name]
        outcome = edited(
            ctx, "delete-node-ssh", [Drop(path=("nodes", name))], Result(status="deleted", node=name)
        )
        if not any(
            (other.host, other.port) == (node.host, node.port)
            for key, other in domain.nodes.items()
            if key != name
        ):
            ctx.host_keys.forget(node)
        return outcome
