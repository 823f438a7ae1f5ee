"""The commands of the panel "Life cycle"."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import typer

from dasctl.cli import complete
from dasctl.cli.options import LIMIT, with_options
from dasctl.cli.rolling_options import rolling_options, taken_from
from dasctl.cli.session import session_of
from dasctl.cli.synchronisation_commands import FAILED, MAX_FAILURES


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


def _options(failed: bool = FAILED, max_failures: str | None = MAX_FAILURES) -> None:
    """What all commands of this panel take: its parameters are the declaration."""


def _sending_options(
    limit: str | None = LIMIT, failed: bool = FAILED, max_failures: str | None = MAX_FAILURES
) -> None:
    """The same for those that synchronise first."""


@with_options(_sending_options)
def start_instance(
    ctx: typer.Context, targets: list[str] = _INSTANCES, sync: Sync = _SYNC, **options: Any
) -> int:
    """Synchronise and start instances, wait until ready.

    A server that runs already is success. One that dies while starting is reported at once, with the last lines of
    its log and the command that shows it by hand.

        dasctl start-instance web1 web2
    """
    return _life_cycle(ctx, "start", targets, sync=sync.value, **options)


@with_options(_sending_options)
def start_cluster(
    ctx: typer.Context, targets: list[str] = _CLUSTERS, sync: Sync = _SYNC, **options: Any
) -> int:
    """Synchronise and start a cluster, wait until it is ready.

    dasctl start-cluster web
    """
    return _life_cycle(ctx, "start", targets, sync=sync.value, **options)


@with_options(_options)
def stop_instance(
    ctx: typer.Context, targets: list[str] = _INSTANCES, kill: bool = _KILL, **options: Any
) -> int:
    """Stop instances, and wait until they have ended.

    A server that does not run is success.

        dasctl stop-instance web1
    """
    return _life_cycle(ctx, "stop", targets, kill=kill, **options)


@with_options(_options)
def stop_cluster(
    ctx: typer.Context, targets: list[str] = _CLUSTERS, kill: bool = _KILL, **options: Any
) -> int:
    """Stop a cluster, and wait until it has ended.

    dasctl stop-cluster web --kill
    """
    return _life_cycle(ctx, "stop", targets, kill=kill, **options)


@with_options(rolling_options)
@with_options(_sending_options)
def restart_instance(
    ctx: typer.Context,
    targets: list[str] = _INSTANCES,
    sync: Sync = _SYNC,
    kill: bool = _KILL,
    **options: Any,
) -> int:
    """Synchronise instances, stop them and start them again.

    A server that does not run is started.

        dasctl restart-instance web1
    """
    rolling = taken_from(options)
    return _life_cycle(ctx, "restart", targets, sync=sync.value, kill=kill, rolling=rolling, **options)


@with_options(rolling_options)
@with_options(_sending_options)
def restart_cluster(
    ctx: typer.Context,
    targets: list[str] = _CLUSTERS,
    sync: Sync = _SYNC,
    kill: bool = _KILL,
    **options: Any,
) -> int:
    """Restart a cluster, all at once or batch by batch.

    It is synchronised before. With --rolling the servers of a batch leave the load balancer (their config's `drain`),
    are restarted, and come back (`undrain`) when they are ready; only then the next batch is begun. It stops at the
    first failure unless --max-failures says otherwise; --resume goes on.

        dasctl restart-cluster web --rolling --batch 25%
    """
    rolling = taken_from(options)
    return _life_cycle(ctx, "restart", targets, sync=sync.value, kill=kill, rolling=rolling, **options)


def _life_cycle(
    ctx: typer.Context, operation: str, targets: list[str], *, limit: str | None = None, **arguments: Any
) -> int:
    return session_of(ctx).carry_out(ctx, operation, targets=targets, command=str(ctx.info_name), **arguments)


COMMANDS: dict[str, Callable[..., int]] = {
    "start-instance": start_instance,
    "stop-instance": stop_instance,
    "restart-instance": restart_instance,
    "start-cluster": start_cluster,
    "stop-cluster": stop_cluster,
    "restart-cluster": restart_cluster,
}
