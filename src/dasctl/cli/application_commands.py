"""The commands of the panel "Applications"."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dasctl.cli import complete
from dasctl.cli.archive_options import MAX_FILES, MAX_SIZE, limits_from
from dasctl.cli.carried import FROM_HERE
from dasctl.cli.options import LIMIT, with_options
from dasctl.cli.rolling_options import rolling_options_with_limit, taken_from
from dasctl.cli.session import session_of
from dasctl.errors import UsageError

if TYPE_CHECKING:
    from dasctl.core.rolling import Rolling


class Activate(StrEnum):
    """When a deployed version becomes the active one."""

    now = "now"
    later = "later"


_SOURCE = typer.Argument(
    ...,
    metavar="ARCHIVE|FOLDER",
    parser=FROM_HERE,
    help="A .war, .ear, .jar, .zip, .tar.gz or .tgz, or a folder with the application's files.",
)
_NAME = typer.Argument(..., metavar="NAME", autocompletion=complete.applications, help="The application.")
_NAME_AND_VERSION = typer.Argument(
    ...,
    metavar="NAME[:VERSION]",
    autocompletion=complete.applications,
    help="The application, or a version of it.",
)
_CALLED = typer.Option(
    None,
    "--name",
    metavar="NAME[:VERSION]",
    help="What it is called. [default: the file's name without its ending, and the next number]",
)
_TARGET = typer.Option(
    None,
    "--target",
    metavar="TARGET",
    autocompletion=complete.targets,
    help="A cluster, an instance, `domain`, a pattern or a list of these; repeatable.",
)
_NO_APPLY = typer.Option(
    False, "--no-apply", help="Only change the domain: the next synchronisation brings it to the nodes."
)


@with_options(rolling_options_with_limit)
def deploy(
    ctx: typer.Context,
    source: Path = _SOURCE,
    target: list[str] | None = _TARGET,
    name: str | None = _CALLED,
    force: bool = typer.Option(
        False, "--force", help="Replace an application, or a version of it, that is there already."
    ),
    activate: Activate = typer.Option(
        Activate.now,
        "--activate",
        metavar="now|later",
        help="Whether the targets get it, or `enable` gives it to them.",
    ),
    no_apply: bool = _NO_APPLY,
    max_size: str | None = MAX_SIZE,
    max_files: int | None = MAX_FILES,
    limit: str | None = LIMIT,
    **options: Any,
) -> int:
    """Deploy an archive or a folder as an application.

    It is unpacked, and brought to its targets. What runs there takes it over as its config says: by `reload`, or by a
    restart (`restart-on`). The archive stays in applications/__internal, so that `rollback-application` can go back
    to it. With no --target it goes nowhere.

        dasctl deploy build/shop.war --target web
        dasctl deploy build/shop.war --target web --name shop:1.4.2 --force --rolling --batch 25%
    """
    return session_of(ctx).carry_out(
        ctx, "deploy", source=source, targets=target or [], name=name, force=force, later=activate is Activate.later,
        apply=not no_apply, limits=limits_from(max_size, max_files), rolling=_rolling(options),
    )  # fmt: skip


@with_options(rolling_options_with_limit)
def redeploy(
    ctx: typer.Context,
    source: Path = _SOURCE,
    target: list[str] | None = _TARGET,
    name: str | None = _CALLED,
    no_apply: bool = _NO_APPLY,
    max_size: str | None = MAX_SIZE,
    max_files: int | None = MAX_FILES,
    limit: str | None = LIMIT,
    **options: Any,
) -> int:
    """Deploy the next version, wherever the application is.

    Where it is disabled it stays so. Files that were edited by hand in its folder are in the history, and a warning names
    them.

        dasctl redeploy build/shop.war --rolling
    """
    return session_of(ctx).carry_out(
        ctx, "redeploy", source=source, targets=target or [], name=name, apply=not no_apply,
        limits=limits_from(max_size, max_files), rolling=_rolling(options),
    )  # fmt: skip


@with_options(rolling_options_with_limit)
def undeploy(
    ctx: typer.Context,
    name: str = _NAME_AND_VERSION,
    target: list[str] | None = _TARGET,
    no_apply: bool = _NO_APPLY,
    **options: Any,
) -> int:
    """Take an application from targets, or from everybody.

    From everybody, without --target: with its archives and folders. NAME:VERSION removes the archive of a version
    that is active nowhere. What was there stays in the history.

        dasctl undeploy shop --target web3
        dasctl undeploy shop:1
    """
    return session_of(ctx).carry_out(
        ctx, "undeploy", name=name, targets=target or [], apply=not no_apply, rolling=_rolling(options)
    )


@with_options(rolling_options_with_limit)
def enable(
    ctx: typer.Context,
    name: str = _NAME_AND_VERSION,
    target: list[str] | None = _TARGET,
    no_apply: bool = _NO_APPLY,
    **options: Any,
) -> int:
    """Let targets get an application, or a version of it.

    Without --target: all that it is deployed to. A target that it was not deployed to is one from now on.

        dasctl enable shop:1.4.2 --target web3
    """
    return session_of(ctx).carry_out(
        ctx, "enable", name=name, targets=target or [], apply=not no_apply, rolling=_rolling(options)
    )


@with_options(rolling_options_with_limit)
def disable(
    ctx: typer.Context,
    name: str = _NAME,
    target: list[str] | None = _TARGET,
    no_apply: bool = _NO_APPLY,
    **options: Any,
) -> int:
    """Keep an application from targets until it is enabled.

    It stays deployed to them, in its version. Without --target: all that it is deployed to.

        dasctl disable shop --target web3
    """
    return session_of(ctx).carry_out(
        ctx, "disable", name=name, targets=target or [], apply=not no_apply, rolling=_rolling(options)
    )


def list_applications(
    ctx: typer.Context,
    targets: list[str] | None = typer.Argument(
        None,
        metavar="[TARGET]...",
        autocompletion=complete.targets,
        help="Only what these get. [default: all]",
    ),
    long: bool = typer.Option(
        False,
        "--long",
        "-l",
        help="Versions that are active nowhere, too, and what is known of each archive.",
    ),
) -> int:
    """List applications, versions, and where each is active.

    `-` is the version of an application that came from no archive.

        dasctl list-applications web --long
    """  # fmt: skip
    return session_of(ctx).carry_out(
        ctx, "list_applications", long=long, with_long=True, targets=targets or []
    )


@with_options(rolling_options_with_limit)
def rollback_application(
    ctx: typer.Context,
    name: str = _NAME,
    to: str | None = typer.Option(
        None, "--to", metavar="VERSION", help="Which version. [default: at each target the one before]"
    ),
    target: list[str] | None = _TARGET,
    no_apply: bool = _NO_APPLY,
    **options: Any,
) -> int:
    """Go back to the version that was active before.

    Done again it goes back one further; `--to` names any version that is kept, a later one too.

        dasctl rollback-application shop
        dasctl rollback-application shop --to 1.4.1 --target web --rolling
    """
    return session_of(ctx).carry_out(
        ctx, "rollback_application", name=name, to=to, targets=target or [], apply=not no_apply,
        rolling=_rolling(options),
    )  # fmt: skip


def _rolling(options: dict[str, Any]) -> Rolling | None:
    """The rolling change that is asked for; its limit of failures means nothing without one."""
    rolling = taken_from(options)
    if options.get("max_failures") is not None:
        raise UsageError("--max-failures goes with --rolling alone", hint="add --rolling")
    return rolling


COMMANDS: dict[str, Callable[..., int]] = {
    "deploy": deploy,
    "redeploy": redeploy,
    "undeploy": undeploy,
    "enable": enable,
    "disable": disable,
    "list-applications": list_applications,
    "rollback-application": rollback_application,
}
