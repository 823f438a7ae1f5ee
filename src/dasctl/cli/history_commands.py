"""The commands of the panel "History" that look at revisions, and go back to one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from dasctl.cli import complete
from dasctl.cli.options import LIMIT, with_options
from dasctl.cli.rolling_options import rolling_options_with_limit, taken_from
from dasctl.cli.session import session_of


def history(
    ctx: typer.Context,
    targets: list[str] | None = typer.Argument(
        None,
        metavar="[TARGET]...",
        autocompletion=complete.targets,
        help="Only what changed something for these. [default: all]",
    ),
    limit: int | None = typer.Option(
        None, "--limit", "-n", metavar="N", min=1, help="Only the last N revisions."
    ),
    long: bool = typer.Option(
        False, "--long", "-l", help="Also whether it can be brought back, epoch, config id and digest."
    ),
) -> int:
    """List revisions: who, when, which command, what changed.

    The newest comes first. A revision is a change of the domain's state: by a command, or by files that were edited
    and found by a command. Where a command failed on instances, they are named beside the revision that was the last
    one then.

        dasctl history --limit 5
        dasctl history web
    """
    return session_of(ctx).carry_out(
        ctx, "history", long=long, with_long=True, targets=targets or [], limit=limit
    )


def show_revision(
    ctx: typer.Context,
    number: int | None = typer.Argument(
        None, metavar="[N]", min=1, help="The revision's number. [default: the last one]"
    ),
) -> int:
    """Show a revision: who, what changed, what came of it.

    Each file that it changed, and what commands amounted to on which instances while it was the last revision.

        dasctl show-revision 12
    """
    return session_of(ctx).carry_out(ctx, "show_revision", number=number)


def diff(
    ctx: typer.Context,
    one: int = typer.Argument(..., metavar="N", min=1, help="A revision (a/)."),
    others: list[str] | None = typer.Argument(
        None,
        metavar="[M] [PATH]...",
        help="Another revision (b/), and only these files or folders. [default: the repository as it is now, all]",
    ),
) -> int:
    """Show what differs between revisions, or since one.

    As a unified diff; without M, between the revision N and the repository as it is now. Binary and large files,
    folders, modes and modtimes are told in a line each. Ends with 7 where something differs, with 0 where nothing
    does.

        dasctl diff 11 12 docroot
        dasctl diff 12
    """
    words = others or []
    other = int(words[0]) if words and words[0].isdecimal() else None
    paths = words[1:] if other is not None else words
    return session_of(ctx).carry_out(ctx, "diff", one=one, other=other, paths=paths, here=Path.cwd())


@with_options(rolling_options_with_limit)
def rollback(
    ctx: typer.Context,
    targets: list[str] | None = typer.Argument(
        None,
        metavar="[TARGET]...",
        autocompletion=complete.targets,
        help="For whom. [default: the whole domain]",
    ),
    to: int | None = typer.Option(None, "--to", metavar="N", min=1, help="The revision to go back to."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only show what would change."),
    no_apply: bool = typer.Option(
        False, "--no-apply", help="Change the repository alone; a later sync-… brings it to the nodes."
    ),
    limit: str | None = LIMIT,
    **options: Any,
) -> int:
    """Make an earlier revision's state the current one.

    That becomes a new revision, which is brought to the nodes. With targets only what is theirs comes back: their
    applications, and the versions of those that others have too; their own config folders, their entries in
    domain.yaml. What others have too (lib, docroot, common files) stays, and is named. What was edited in place since
    is a revision of its own first, so `rollback --to` that one undoes the rollback.

        dasctl rollback --to 11
        dasctl rollback --to 11 web --dry-run
    """
    rolling = taken_from(options)
    if rolling is None and options.get("max_failures") is not None:
        raise typer.BadParameter("it goes with --rolling alone", param_hint="--max-failures")
    if to is None and not (rolling is not None and rolling.resume):
        raise typer.BadParameter("which revision? `dasctl history` lists them", param_hint="--to")
    return session_of(ctx).carry_out(
        ctx,
        "rollback",
        to=to,
        targets=targets or [],
        dry_run=dry_run,
        no_apply=no_apply,
        rolling=rolling,
    )


COMMANDS: dict[str, Callable[..., int]] = {
    "history": history,
    "show-revision": show_revision,
    "diff": diff,
    "rollback": rollback,
}
