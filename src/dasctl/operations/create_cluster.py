"""`create-cluster`: an empty cluster with a config."""

from __future__ import annotations

from dasctl.core.edits import Edit, Put
from dasctl.core.outcome import Outcome, Result
from dasctl.errors import UsageError
from dasctl.operations.editing import edited
from dasctl.operations.ports import Context

# asadmin copies its default-config; a server here has no default, so that the start command is the operator's to write.
TEMPLATE = {"start": "echo 'write the start command of this config in config/domain.yaml' >&2; exit 1"}


async def create_cluster(ctx: Context, name: str, *, config: str | None = None) -> Outcome:
    """Add the cluster `name`; without `config`, a config `NAME-config` is made where there is none."""
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        if name in domain.clusters:
            raise UsageError(
                f"there is a cluster '{name}' already",
                hint="give another name; list-clusters shows those in use",
            )
        chosen = config or f"{name}-config"
        edits: list[Edit] = []
        notes: tuple[str, ...] = ()
        if config is None and chosen not in domain.configs:
            edits.append(Put(path=("configs", chosen), value=TEMPLATE))
            notes = (f"made the config '{chosen}': write its start command in config/domain.yaml",)
        edits.append(Put(path=("clusters", name), value={"config": chosen}))
        result = Result(status="created", fields={"cluster": name, "config": chosen})
        return edited(ctx, "create-cluster", edits, result, notes=notes)
