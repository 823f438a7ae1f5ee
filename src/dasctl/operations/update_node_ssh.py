"""`update-node-ssh`: changes what is written of a node, and accepts its host key anew."""

from __future__ import annotations

from msgspec.structs import replace

from dasctl.core.domain import Node
from dasctl.core.edits import Drop, Edit, Put
from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.errors import UsageError
from dasctl.operations.create_node_ssh import admitted, key_fields, node_value
from dasctl.operations.editing import edited, known
from dasctl.operations.ports import Context


async def update_node_ssh(
    ctx: Context,
    name: str,
    *,
    host: str | None = None,
    port: int | None = None,
    user: str | None = None,
    key: str | None = None,
    dir: str | None = None,
    jump: str | None = None,
    accept_host_key: bool = False,
    host_key: str | None = None,
    force: bool = False,
) -> Outcome:
    """Change the options that are given, drop the empty ones, keep the others; the host key must be known or accepted."""
    given = {"host": host, "port": port, "user": user, "key": key, "dir": dir, "jump": jump}
    # An empty word takes an option away: --jump ''.
    changes = {field: value or None for field, value in given.items() if value is not None}
    if "host" in changes and not changes["host"]:
        raise UsageError(
            "--nodehost must not be empty", hint="give the host or address that its sshd is reached by"
        )
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        known("node", name, domain.nodes)
        before = domain.nodes[name]
        node: Node = replace(before, **changes)
        shown, note = await admitted(ctx, name, node, accept_host_key, host_key, force)
        fields = {"host": node.host, **key_fields(shown)}
        edits = _edits(name, before, node)
        if not edits:
            status = "unchanged" if shown is not None and shown.known else "updated"
            result = Result(status=status, node=name, fields=fields, note=note)
            return summed_up("update-node-ssh", [result])
        return edited(
            ctx, "update-node-ssh", edits, Result(status="updated", node=name, fields=fields, note=note)
        )


def _edits(name: str, before: Node, after: Node) -> list[Edit]:
    """One edit per key that differs, so that the others keep their lines and comments."""
    old, new = node_value(before), node_value(after)
    return [
        *(Drop(path=("nodes", name, key)) for key in old if key not in new),
        *(Put(path=("nodes", name, key), value=value) for key, value in new.items() if old.get(key) != value),
    ]
