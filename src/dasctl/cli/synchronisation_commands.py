"""The commands of the panel "Synchronisation"."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import typer

from dasctl.cli import complete
from dasctl.cli.bundle_commands import export_sync_bundle
from dasctl.cli.comparison_commands import diff_instance, list_deviations
from dasctl.cli.options import LIMIT, with_options
from dasctl.cli.rolling_options import rolling_options, taken_from
from dasctl.cli.session import session_of
from dasctl.errors import UsageError


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
FAILED = typer.Option(False, "--failed", help="Only those of the targets whose last command failed.")
MAX_FAILURES = typer.Option(
    None,
    "--max-failures",
    metavar="N|N%",
    help="Begin no further node when more instances than that have failed. [default: no limit]",
)


def _options(
    dry_run: bool = DRY_RUN,
    diff: bool = typer.Option(False, "--diff", help="With --dry-run: show how texts would change, too."),
    full: bool = FULL,
    verify: bool = typer.Option(
        False,
        "--verify",
        help="Read and hash all files on the nodes, to find what size and modtime do not tell.",
    ),
    criterion: Criterion | None = _CRITERION,
    deviations: Deviations | None = _DEVIATIONS,
    only: list[str] | None = ONLY,
    exclude: list[str] | None = EXCLUDE,
    together: bool | None = typer.Option(
        None,
        "--together/--no-together",
        help="Commit when every node has verified all it needs, or change nobody. [default: the domain's]",
    ),
    limit: str | None = LIMIT,
    failed: bool = FAILED,
    max_failures: str | None = MAX_FAILURES,
    yes: bool = typer.Option(
        False, "--yes", "-y", help="Delete more than half of an instance's files without a question."
    ),
    no_reload: bool = _NO_RELOAD,
    restart: bool = typer.Option(
        False,
        "--restart",
        help="Restart the running servers that require it then; with --rolling batch by batch.",
    ),
) -> None:
    """What all three commands take: its parameters are the declaration."""


@with_options(rolling_options)
@with_options(_options)
def sync_instance(
    ctx: typer.Context,
    targets: list[str] = typer.Argument(
        ...,
        metavar="TARGET...",
        autocompletion=complete.targets,
        help="Instances: names, clusters, patterns, node:NAME.",
    ),
    **options: Any,
) -> int:
    """Bring instances to the repository's state.

    Running or not. Only what differs travels. A file that the synchronisation did not put there is never removed,
    except by `--full`; `local/` always stays. A running server whose config has a `reload` takes over what needs no
    restart.

        dasctl sync-instance web1 --only docroot
    """
    return _sync(ctx, targets, **options)


@with_options(rolling_options)
@with_options(_options)
def sync_cluster(
    ctx: typer.Context,
    targets: list[str] = typer.Argument(
        ..., metavar="CLUSTER...", autocompletion=complete.clusters, help="The clusters."
    ),
    **options: Any,
) -> int:
    """Bring a cluster's instances to the repository's state.

    Running or not.

    dasctl sync-cluster web --dry-run
    """
    return _sync(ctx, targets, **options)


@with_options(rolling_options)
@with_options(_options)
def sync_domain(ctx: typer.Context, **options: Any) -> int:
    """Bring all instances to the repository's state.

    Running or not.

    dasctl sync-domain --quiet
    """
    return _sync(ctx, ["domain"], **options)


def _sync(
    ctx: typer.Context,
    targets: list[str],
    *,
    criterion: Criterion | None,
    deviations: Deviations | None,
    only: list[str] | None,
    exclude: list[str] | None,
    no_reload: bool,
    limit: str | None,
    restart: bool,
    **others: Any,
) -> int:
    rolling = taken_from(others)
    if rolling is not None and not (restart or rolling.resume):
        raise UsageError("--rolling restarts servers, so it goes with --restart", hint="add --restart")
    if restart or rolling is not None:  # a plain line is the same call as ever (`quick.py`)
        others |= {"restart": restart, "rolling": rolling}
    return session_of(ctx).carry_out(
        ctx, "sync", targets=targets, command=str(ctx.info_name), criterion=criterion.value if criterion else None,
        deviations=deviations.value if deviations else None, only=only or [], exclude=exclude or [],
        reload=not no_reload, **others,
    )  # fmt: skip


COMMANDS: dict[str, Callable[..., int]] = {
    "sync-instance": sync_instance,
    "sync-cluster": sync_cluster,
    "sync-domain": sync_domain,
    "list-deviations": list_deviations,
    "diff-instance": diff_instance,
    "export-sync-bundle": export_sync_bundle,
}
