"""`delete-server-config`: removes the entry of a server that was deleted while the DAS was away."""

from __future__ import annotations

from dasctl.core.outcome import Outcome, Result
from dasctl.errors import OperationFailed
from dasctl.operations.delete_instance import entry_dropped
from dasctl.operations.editing import edited, known
from dasctl.operations.looking import look
from dasctl.operations.ports import Context


async def delete_server_config(ctx: Context, name: str) -> Outcome:
    """Remove the entry of `name`, which must not answer any more; nothing is touched on its node."""
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        known("instance", name, domain.instances)
        seen = (await look(ctx, domain, [name], probe=False))[name]
        if seen.reached and (seen.exists or seen.error is not None):
            raise OperationFailed(
                f"{name} still answers on node {domain.instances[name].node}: it is {seen.state}",
                hint=f"to remove it with its files: dasctl delete-instance {name}",
            )
        note = "" if seen.reached else "its node does not answer; nothing was removed there"
        result = Result(status="deleted", instance=name, node=domain.instances[name].node, note=note)
        outcome = edited(ctx, "delete-server-config", entry_dropped(domain, name), result)
        ctx.history.forget(name)
        return outcome
