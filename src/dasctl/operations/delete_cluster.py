"""`delete-cluster`: removes a cluster that has no instances."""

from __future__ import annotations

from dasctl.core.domain import Domain
from dasctl.core.edits import Drop, Edit, Put
from dasctl.core.outcome import Outcome, Result
from dasctl.core.targets import fold
from dasctl.errors import UsageError
from dasctl.operations.editing import edited, known
from dasctl.operations.ports import Context


async def delete_cluster(ctx: Context, name: str) -> Outcome:
    """Remove the cluster `name` and its mention in the targets of applications; its config stays."""
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        known("cluster", name, domain.clusters)
        members = domain.members(name)
        if members:
            raise UsageError(
                f"the cluster '{name}' has instances: {fold(members)}",
                hint="delete them first: dasctl delete-instance NAME",
            )
        edits = [Drop(path=("clusters", name)), *without_target(domain, name)]
        return edited(ctx, "delete-cluster", edits, Result(status="deleted", fields={"cluster": name}))


def without_target(domain: Domain, target: str) -> list[Edit]:
    """The edits that take a cluster or an instance out of what is said of all applications."""
    edits: list[Edit] = []
    for name, application in domain.applications.items():
        for key in ("targets", "disabled"):
            named = getattr(application, key)
            if target in named:
                left = [other for other in named if other != target]
                edits.append(Put(path=("applications", name, key), value=left))
        if target in application.versions:
            edits.append(Drop(path=("applications", name, "versions", target)))
    return edits
