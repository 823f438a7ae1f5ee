"""The commands of backups."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import typer

from dasctl.cli.carried import FROM_EITHER, INTO_HERE
from dasctl.cli.options import settings_of
from dasctl.cli.session import CALLER, session_of
from dasctl.errors import UsageError


def backup_domain(
    ctx: typer.Context,
    to: Path | None = typer.Option(
        None,
        "--to",
        metavar="DIR",
        parser=INTO_HERE,
        help="Where to write it. [default: .dasctl/backups of the domain]",
    ),
    keep: int | None = typer.Option(
        None, "--keep", metavar="N", min=1, help="Remove older backups of this domain there, so that N stay."
    ),
    without_history: bool = typer.Option(
        False, "--without-history", help="The domain alone: no revisions before this one."
    ),
) -> int:
    """Write the domain into one file, while everything runs.

    The file is a revision, complete and verified, whatever is edited meanwhile; `tar xzf` opens it and
    `sha256sum -c MANIFEST.sha256` checks it. What `domain.yaml` excludes is not in it.

        dasctl backup-domain --to /mnt/backups --keep 14
    """
    if keep is not None and to is not None and os.environ.get(CALLER):
        raise UsageError(
            "--keep looks for older backups on the DAS, and --to names a folder of this machine",
            hint="keep backups on the DAS, without --to, or remove old ones here",
        )
    return session_of(ctx).carry_out(ctx, "backup_domain", to=to, keep=keep, without_history=without_history)


def list_backups(
    ctx: typer.Context,
    folder: Path | None = typer.Option(
        None, "--from", metavar="DIR", help="Where they are. [default: .dasctl/backups of the domain]"
    ),
) -> int:
    """List backups: of when, of which revision, how large.

    The youngest comes first. Only the beginning and the end of each are read; `restore-domain FILE --verify-only`
    reads all of it.

        dasctl list-backups --from /mnt/backups
    """
    return session_of(ctx).carry_out_without_domain(
        ctx, "list_backups", folder=folder, domain=settings_of(ctx).domain
    )


def restore_domain(
    ctx: typer.Context,
    file: Path = typer.Argument(
        ..., metavar="FILE", parser=FROM_EITHER, help="The backup, or its name among those of the domain."
    ),
    to: Path | None = typer.Option(
        None, "--to", metavar="DIR", help="The folder to make. [default: in the place of the domain]"
    ),
    force: bool = typer.Option(
        False, "--force", help="Replace the domain that is there, which is kept beside under another name."
    ),
    verify_only: bool = typer.Option(
        False, "--verify-only", help="Read all of it, say whether it is right, and change nothing."
    ),
) -> int:
    """Let a backup be the domain again, here or elsewhere.

    All of it is verified first, laid out beside, and swapped in one step: a kill leaves the old domain or the new one.
    The restored domain takes over by a higher epoch; nothing is sent to the nodes before the next `sync-domain`.

        dasctl restore-domain shop-20261121T151200Z-r12.tar.gz --to /srv/shop
    """
    return session_of(ctx).carry_out_without_domain(
        ctx, "restore_domain", file=file, to=to, domain=settings_of(ctx).domain, force=force,
        verify_only=verify_only,
    )  # fmt: skip


COMMANDS: dict[str, Callable[..., int]] = {
    "backup-domain": backup_domain,
    "list-backups": list_backups,
    "restore-domain": restore_domain,
}
