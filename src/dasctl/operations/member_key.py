"""`member-key`: the line for `authorized_keys` that lets a node's key do nothing but talk to `serve-members`."""

from __future__ import annotations

import shlex
from pathlib import Path

from dasctl.core.outcome import OK, Outcome
from dasctl.errors import ExitCode, UsageError
from dasctl.operations.editing import known
from dasctl.operations.ports import Context


async def member_key(ctx: Context, node: str, *, public_key: Path | None = None) -> Outcome:
    """The line for `node`, with the key in `public_key`, or else the one that the node sent when it joined."""
    assert ctx.members is not None  # wiring gives it
    known("node", node, ctx.store.load().nodes)
    key = ctx.members.read_key(public_key) if public_key is not None else ctx.members.key(node)
    if key is None:
        raise UsageError(
            f"the public key of node {node} is not known: it sent none when it joined",
            hint=f"copy it here, and: dasctl member-key {node} --sshpublickeyfile FILE",
        )
    words = (*ctx.members.program(), "--domain", str(ctx.store.root), "serve-members", "--node", node)
    line = f'restrict,command="{quoted(shlex.join(words))}" {key} dasctl-member-{node}'
    return Outcome(command="member-key", status=OK, exit_code=ExitCode.OK, data={"line": line})


def quoted(command: str) -> str:
    """`command` between the double quotes of authorized_keys, where a backslash counts before a double quote alone."""
    if not command.isprintable() or command.endswith("\\"):
        raise UsageError(f"a path with such a character cannot stand in authorized_keys: {command!r}")
    return command.replace('"', '\\"')
