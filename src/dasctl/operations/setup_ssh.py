"""`setup-ssh`: puts a public key on nodes that still ask for a password."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dasctl.core.outcome import Outcome, Problem, Result, status_of_error, summed_up
from dasctl.core.targets import resolve_nodes
from dasctl.errors import DasctlError
from dasctl.operations.create_node_ssh import admitted, key_fields
from dasctl.operations.ports import Context


async def setup_ssh(
    ctx: Context,
    nodes: Sequence[str],
    *,
    public_key: Path | None = None,
    generate: bool = False,
    ask_password: Callable[[str], str],
    accept_host_key: bool = False,
    host_key: str | None = None,
) -> Outcome:
    """One node after the other, since a person may have to answer for each; one that fails does not stop the next."""
    domain = ctx.store.load()
    results = []
    for name in resolve_nodes(domain, nodes):
        node = domain.nodes[name]
        try:
            shown, _ = await admitted(ctx, name, node, accept_host_key, host_key, None)
            note = await ctx.host_keys.install_key(
                name, node, public_key, generate=generate, ask_password=ask_password
            )
            status = "unchanged" if note.startswith("already") else "updated"
            results.append(Result(status=status, node=name, fields=key_fields(shown), note=note))
        except DasctlError as error:
            results.append(Result(status=status_of_error(error), node=name, error=Problem.of(error)))
    return summed_up("setup-ssh", results)
