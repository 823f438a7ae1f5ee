"""The commands of the panel "Life cycle"."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import typer

from dasctl.cli import complete
from dasctl.cli.session import session_of


class Sync(StrEnum):
    """How much is synchronised before a server starts."""

    none = "none"
    normal = "normal"
    full = "full"


_INSTANCES = typer.Argument(
    ...,
    metavar="TARGET...",
    autocompletion=complete.targets,
    help="Instances: names, clusters, patterns, node:NAME.",
)
_CLUSTERS = typer.Argument(..., metavar="CLUSTER...", autocompletion=complete.clusters, help="The clusters.")
_SYNC = typer.Option(
    Sync.normal, "--sync", metavar="none|normal|full",
    help="What to synchronise first: nothing, what differs, or what differs and remove what is not the repository's.",
)  # fmt: skip
_KILL = typer.Option(False, "--kill", help="End a server that has not stopped after its grace period.")


def start_instance(ctx: typer.Context, targets: list[str] = _INSTANCES, sync: Sync = _SYNC) -> int:
    """Synchronise instances, start them, and wait until they are ready.

    A server that runs already is success. One that dies while starting is reported at once, with the last lines of
    its log and the command that shows it by hand.

        dasctl start-instance web1 web2
    """
    return _start(ctx, targets, sync)


def start_cluster(ctx: typer.Context, targets: list[str] = _CLUSTERS, sync: Sync = _SYNC) -> int:
    """Synchronise and start a cluster, and wait until it is ready.

    dasctl start-cluster web
    """
    return _start(ctx, targets, sync)


def _start(ctx: typer.Context, targets: list[str], sync: Sync) -> int:
    return session_of(ctx).carry_out(
        ctx, "start", targets=targets, command=str(ctx.info_name), sync=sync.value
    )


def stop_instance(ctx: typer.Context, targets: list[str] = _INSTANCES, kill: bool = _KILL) -> int:
    """Stop instances, and wait until they have ended.

    A server that does not run is success.

        dasctl stop-instance web1
    """
    return _stop(ctx, targets, kill)


def stop_cluster(ctx: typer.Context, targets: list[str] = _CLUSTERS, kill: bool = _KILL) -> int:
    """Stop a cluster, and wait until it has ended.

    dasctl stop-cluster web --kill
    """
    return _stop(ctx, targets, kill)


def _stop(ctx: typer.Context, targets: list[str], kill: bool) -> int:
    return session_of(ctx).carry_out(ctx, "stop", targets=targets, command=str(ctx.info_name), kill=kill)


def restart_instance(
    ctx: typer.Context, targets: list[str] = _INSTANCES, sync: Sync = _SYNC, kill: bool = _KILL
) -> int:
    """Synchronise instances, stop them and start them again.

    A server that does not run is started.

        dasctl restart-instance web1
    """
    return _restart(ctx, targets, sync, kill)


def restart_cluster(
    ctx: typer.Context, targets: list[str] = _CLUSTERS, sync: Sync = _SYNC, kill: bool = _KILL
) -> int:
    """Synchronise a cluster, stop it and start it again.

    dasctl restart-cluster web
    """
    return _restart(ctx, targets, sync, kill)


def _restart(ctx: typer.Context, targets: list[str], sync: Sync, kill: bool) -> int:
    return session_of(ctx).carry_out(
        ctx, "restart", targets=targets, command=str(ctx.info_name), sync=sync.value, kill=kill
    )


COMMANDS: dict[str, Callable[..., int]] = {
    "start-instance": start_instance,
    "stop-instance": stop_instance,
    "restart-instance": restart_instance,
    "start-cluster": start_cluster,
    "stop-cluster": stop_cluster,
    "restart-cluster": restart_cluster,
}
