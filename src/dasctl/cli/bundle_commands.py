"""The commands for nodes that no link reaches: one for the DAS, one for the node."""

from __future__ import annotations

from pathlib import Path

import typer

from dasctl.cli import complete
from dasctl.cli.carried import FROM_HERE, LAST_TO_HERE
from dasctl.cli.session import session_of
from dasctl.errors import UsageError


def export_sync_bundle(
    ctx: typer.Context,
    words: list[str] = typer.Argument(
        ...,
        metavar="TARGET... FILE",
        parser=LAST_TO_HERE,
        autocompletion=complete.targets,
        help="For whom, and the file to write.",
    ),
    since: int | None = typer.Option(
        None,
        "--since",
        metavar="REVISION",
        min=1,
        help="Only what has changed since: the nodes must stand at that revision.",
    ),
) -> int:
    """Write a bundle for instances that no link reaches.

    One file, which brings them to the repository's state. On the node: `dasctl import-sync-bundle FILE`, or `python3
    FILE` where dasctl is not installed. The file is a zip; what it holds is listed in its MANIFEST.json, with a
    SHA-256 each.

        dasctl export-sync-bundle node:n7 n7.bundle
    """
    if len(words) < 2:
        raise UsageError("a target and a file are needed", hint="dasctl export-sync-bundle web web.bundle")
    *targets, file = words
    return session_of(ctx).carry_out(ctx, "export_sync_bundle", targets=targets, file=Path(file), since=since)


def import_sync_bundle(
    ctx: typer.Context,
    file: Path = typer.Argument(..., metavar="FILE", parser=FROM_HERE, help="The bundle."),
    node_dir: Path | None = typer.Option(
        None,
        "--nodedir",
        "--node-dir",
        metavar="DIR",
        help="The node's directory. [default: as in the domain]",
    ),
    instances: list[str] | None = typer.Option(
        None,
        "--instance",
        metavar="NAME",
        help="An instance of this machine; repeatable. [default: those whose folders are here]",
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Show what would change, and change nothing."),
    yes: bool = typer.Option(
        False, "--yes", "-y", help="Delete more than half of an instance's files without a question."
    ),
) -> int:
    """Bring this machine's instances to the state in a bundle.

    The file is one that `export-sync-bundle` wrote. Every content is checked before anything is changed. The rules
    are those of a synchronisation: a bundle of another domain, or one that is older than what is here, is refused.

        dasctl import-sync-bundle n7.bundle --dry-run
    """
    return session_of(ctx).carry_out_without_domain(
        ctx, "import_sync_bundle", file=file, node_dir=node_dir, instances=instances or [], dry_run=dry_run, yes=yes
    )  # fmt: skip
