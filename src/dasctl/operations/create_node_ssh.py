"""`create-node-ssh`: a machine that is reached by SSH; its host key is looked at before it is believed."""

from __future__ import annotations

from typing import Any

from dasctl.core.domain import Node
from dasctl.core.edits import Put
from dasctl.core.outcome import Outcome, Result
from dasctl.errors import ChangedHostKey, NodeUnreachable, UnknownHostKey, UsageError
from dasctl.operations.editing import edited
from dasctl.operations.ports import Context, HostKey


async def create_node_ssh(
    ctx: Context,
    name: str,
    *,
    host: str,
    port: int | None = None,
    user: str | None = None,
    key: str | None = None,
    dir: str | None = None,
    jump: str | None = None,
    accept_host_key: bool = False,
    host_key: str | None = None,
    force: bool = False,
) -> Outcome:
    """Add the node `name`. Its host key must be known or accepted; `force` adds a node that is not there yet."""
    node = Node(host=host, port=port, user=user, key=key, dir=dir, jump=jump)
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        if name in domain.nodes:
            raise UsageError(f"there is a node '{name}' already", hint=f"dasctl update-node-ssh {name} …")
        shown, warning = await admitted(ctx, name, node, accept_host_key, host_key, force)
        result = Result(status="created", node=name, fields={"host": host, **key_fields(shown)}, note=warning)
        return edited(ctx, "create-node-ssh", [Put(path=("nodes", name), value=node_value(node))], result)


async def admitted(
    ctx: Context, name: str, node: Node, accept_any: bool, fingerprint: str | None, force: bool | None
) -> tuple[HostKey | None, str]:
    """The node's host key and a sentence for people; a node that cannot be reached passes with `force` only.

    `force` None: the command has no such option.
    """
    try:
        shown = await ctx.host_keys.admit(name, node, accept_any=accept_any, fingerprint=fingerprint)
    except UnknownHostKey as error:
        hint = (
            f"compare it with 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' on {node.host}; then give "
            f"--host-key {error.fingerprint}, or --accept-host-key to trust what is shown now"
        )
        raise UnknownHostKey(error.message, fingerprint=error.fingerprint, hint=error.hint or hint) from error
    except NodeUnreachable as error:
        if not force or isinstance(error, ChangedHostKey):
            hint = error.hint if force is None else _with_force(error)
            raise type(error)(error.message, hint=hint) from error
        return None, f"not reached: {error.message}"
    return (
        shown,
        "this host key was known" if shown.known else "this host key is accepted and kept in the domain",
    )


def _with_force(error: NodeUnreachable) -> str:
    """The hint of a failure that `--force` overrides; it never does for a host key."""
    if isinstance(error, ChangedHostKey):
        return error.hint
    force = "give --force to write the node down all the same"
    return f"{error.hint}\n{force}" if error.hint else force


def key_fields(shown: HostKey | None) -> dict[str, Any]:
    """The columns about a host key."""
    return {"host_key": shown.fingerprint if shown else None, "host_key_type": shown.kind if shown else None}


def node_value(node: Node) -> dict[str, Any]:
    """The node as plain data for domain.yaml, only what is set."""
    values = {
        "host": node.host, "port": node.port, "user": node.user, "key": node.key, "dir": node.dir, "jump": node.jump,
    }  # fmt: skip
    return {key: value for key, value in values.items() if value is not None}
