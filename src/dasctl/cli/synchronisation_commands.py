"""The commands of the panel "Synchronisation"."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import typer

from dasctl.cli import complete
from dasctl.cli.session import session_of


class Criterion(StrEnum):
    """What decides whether a file is considered changed."""

    modtime = "modtime"
    hash = "hash"


class Deviations(StrEnum):
    """What to do with a file that was changed on an instance."""

    overwrite = "overwrite"
    keep = "keep"
    fail = "fail"


DRY_RUN = typer.Option(False, "--dry-run", help="Show what would travel, and change nothing.")
ONLY = typer.Option(
    None, "--only", metavar="PATTERN", help="Only these paths of the instance, such as docroot; repeatable."
)
EXCLUDE = typer.Option(
    None, "--exclude", metavar="PATTERN", help="Not these paths, such as 'docroot/*.mp4'; repeatable."
)
FULL = typer.Option(False, "--full", help="Also remove files that are not the repository's.")
_CRITERION = typer.Option(
    None,
    "--criterion",
    metavar="modtime|hash",
    help="What counts as changed: size and modtime, or the contents. [default: the domain's]",
)
_DEVIATIONS = typer.Option(
    None,
    "--deviations",
    metavar="overwrite|keep|fail",
    help="What to do with files that were changed on an instance. [default: the domain's]",
)

_NO_RELOAD = typer.Option(
    False, "--no-reload", help="Do not let running servers take over changes by their config's `reload`."
)


def sync_instance(
    ctx: typer.Context,
    targets: list[str] = typer.Argument(
        ...,
        metavar="TARGET...",
        autocompletion=complete.targets,
        help="Instances: names, clusters, patterns, node:NAME.",
    ),
    dry_run: bool = DRY_RUN,
    full: bool = FULL,
    criterion: Criterion | None = _CRITERION,
    deviations: Deviations | None = _DEVIATIONS,
    only: list[str] | None = ONLY,
    exclude: list[str] | None = EXCLUDE,
    no_reload: bool = _NO_RELOAD,
) -> int:
    """Bring instances to the repository's state, running or not.

    Only what differs travels. A file that the synchronisation did not put there is never removed, except by `--full`;
    `local/` always stays. A running server whose config has a `reload` takes over what needs no restart.

        dasctl sync-instance web1 --only docroot
    """
    return _sync(ctx, targets, dry_run, full, criterion, deviations, only, exclude, no_reload)


def sync_cluster(
    ctx: typer.Context,
    targets: list[str] = typer.Argument(
        ..., metavar="CLUSTER...", autocompletion=complete.clusters, help="The clusters."
    ),
    dry_run: bool = DRY_RUN,
    full: bool = FULL,
    criterion: Criterion | None = _CRITERION,
    deviations: Deviations | None = _DEVIATIONS,
    only: list[str] | None = ONLY,
    exclude: list[str] | None = EXCLUDE,
    no_reload: bool = _NO_RELOAD,
) -> int:
    """Bring a cluster's instances to the repository's state, running or not.

    dasctl sync-cluster web --dry-run
    """
    return _sync(ctx, targets, dry_run, full, criterion, deviations, only, exclude, no_reload)


def sync_domain(
    ctx: typer.Context,
    dry_run: bool = DRY_RUN,
    full: bool = FULL,
    criterion: Criterion | None = _CRITERION,
    deviations: Deviations | None = _DEVIATIONS,
    only: list[str] | None = ONLY,
    exclude: list[str] | None = EXCLUDE,
    no_reload: bool = _NO_RELOAD,
) -> int:
    """Bring all instances to the repository's state, running or not.

    dasctl sync-domain --quiet
    """
    return _sync(ctx, ["domain"], dry_run, full, criterion, deviations, only, exclude, no_reload)


def _sync(
    ctx: typer.Context,
    targets: list[str],
    dry_run: bool,
    full: bool,
    criterion: Criterion | None,
    deviations: Deviations | None,
    only: list[str] | None,
    exclude: list[str] | None,
    no_reload: bool,
) -> int:
    return session_of(ctx).carry_out(
        ctx, "sync", targets=targets, command=str(ctx.info_name), dry_run=dry_run, full=full,
        criterion=criterion.value if criterion else None, deviations=deviations.value if deviations else None,
        only=only or [], exclude=exclude or [], reload=not no_reload,
    )  # fmt: skip


COMMANDS: dict[str, Callable[..., int]] = {
    "sync-instance": sync_instance,
    "sync-cluster": sync_cluster,
    "sync-domain": sync_domain,
}
