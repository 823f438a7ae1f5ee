"""The commands that compare instances with the repository, and change nothing."""

from __future__ import annotations

import typer

from dasctl.cli import complete
from dasctl.cli.session import session_of


def list_deviations(
    ctx: typer.Context,
    targets: list[str] | None = typer.Argument(
        None, metavar="[TARGET]...", autocompletion=complete.targets, help="Which ones. [default: domain]"
    ),
    verify: bool = typer.Option(
        False,
        "--verify",
        help="Read and hash all files on the nodes, to find what size and modtime do not tell.",
    ),
) -> int:
    """List files that are not what was synchronised last.

    A deviation is `missing`, `changed`, `extra` (not from the repository) or `overridden` (by `local/`). Ends with 7 where
    there are any. The next synchronisation does with them what the domain's or its own `--deviations` says.

        dasctl list-deviations web --verify
    """
    return session_of(ctx).carry_out(ctx, "list_deviations", targets=targets or [], verify=verify)


def diff_instance(
    ctx: typer.Context,
    name: str = typer.Argument(
        ..., metavar="INSTANCE", autocompletion=complete.instances, help="The instance."
    ),
    paths: list[str] | None = typer.Argument(
        None,
        metavar="[PATH]...",
        help="Only these files or folders of the instance, such as config. [default: all]",
    ),
    verify: bool = typer.Option(
        False, "--verify", help="Compare the contents of all files, also where size and modtime agree."
    ),
) -> int:
    """Show what differs between repository and instance.

    As a unified diff from the repository (a/) to the instance (b/). Files that are not from the repository are shown
    too. Binary and large files are told with their sizes. Ends with 7 where something differs, with 0 where nothing
    does. `patch -p1` applies what it prints.

        dasctl diff-instance web1 config
    """
    return session_of(ctx).carry_out(ctx, "diff_instance", name=name, paths=paths or [], verify=verify)
