"""`create-instance`: an entry in domain.yaml; the node is visited when the instance is synchronised or started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dasctl.core.edits import Put
from dasctl.core.outcome import Outcome, Result
from dasctl.errors import UsageError
from dasctl.operations.editing import edited, known
from dasctl.operations.ports import Context


async def create_instance(
    ctx: Context,
    name: str,
    *,
    node: str,
    cluster: str | None = None,
    config: str | None = None,
    properties: Mapping[str, str] | None = None,
) -> Outcome:
    """Add the instance `name` on `node`, as a member of `cluster` or stand-alone with a `config` of its own."""
    if (cluster is None) == (config is None):
        raise UsageError(
            "an instance has a cluster or a config of its own",
            hint="give --cluster CLUSTER or --config CONFIG, and not both",
        )
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        if name in domain.instances:
            raise UsageError(
                f"there is an instance '{name}' already",
                hint=f"give another name; its properties are changed by: dasctl set instances.{name}.property.KEY=VALUE",
            )
        known("node", node, domain.nodes)
        value: dict[str, Any] = {"node": node}
        if cluster is not None:
            known("cluster", cluster, domain.clusters)
            value["cluster"] = cluster
        if config is not None:
            known("config", config, domain.configs)
            value["config"] = config
        if properties:
            value["properties"] = {key: _plain(text) for key, text in properties.items()}
        result = Result(status="created", instance=name, node=node, fields={"cluster": cluster})
        return edited(ctx, "create-instance", [Put(path=("instances", name), value=value)], result)


def _plain(text: str) -> str | int:
    """A property as a person would write it into YAML: a port is a number."""
    return int(text) if text.isascii() and text.isdigit() and str(int(text)) == text else text
