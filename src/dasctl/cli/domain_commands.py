"""The commands of the panel "Domain"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from dasctl.cli import complete
from dasctl.cli.options import LIMIT
from dasctl.cli.session import session_of


def create_domain(
    ctx: typer.Context,
    root: Path = typer.Argument(..., metavar="DIR", help="The folder to make; it must be empty or absent."),
    name: str | None = typer.Option(
        None, "--name", metavar="NAME", help="The domain's name. [default: the folder's]"
    ),
    sample: bool = typer.Option(False, "--sample", help="Fill it with the sample domain: a small shop."),
) -> int:
    """Make a domain folder from a commented template.

    The folder gets `config/domain.yaml`, whose comments explain every key, the folders of the repository, and a
    `.gitignore`. With `--sample` it is a small shop with pages, an application and three instances.

        dasctl create-domain shop --sample
    """
    return session_of(ctx).carry_out_without_domain(ctx, "create_domain", root=root, name=name, sample=sample)


def verify_domain(ctx: typer.Context) -> int:
    """Check `domain.yaml` and the repository, name all faults.

    Each fault comes with file, line and path. Files that would not be synchronised are named as warnings. That no revision
    of the history was altered is checked, too. No node is asked.

        dasctl verify-domain
    """
    return session_of(ctx).carry_out(ctx, "verify_domain")


def explain(
    ctx: typer.Context,
    paths: list[str] = typer.Argument(
        ..., metavar="PATH...", help="Files or folders of the domain; INSTANCE:PATH for those of an instance."
    ),
) -> int:
    """Say who gets a file and from where, or what excludes it.

    Tells the path that it has there, and the pattern that excludes it. No node is asked. Ends with 0 if an instance
    gets it, and with 1 if none does.

        dasctl explain docroot/index.html
        dasctl explain web1:config/app.properties
    """
    return session_of(ctx).carry_out(ctx, "explain", given=paths, here=Path.cwd())


def take_over(
    ctx: typer.Context,
    targets: list[str] | None = typer.Argument(
        None, metavar="[TARGET]...", autocompletion=complete.targets, help="Whom to ask. [default: domain]"
    ),
    limit: str | None = LIMIT,
    yes: bool = typer.Option(
        False, "--yes", "-y", help="Delete more than half of an instance's files without a question."
    ),
) -> int:
    """Go on with a domain folder that lost its history.

    Asks the nodes which revision they have, raises the epoch above all of theirs, and continues from there. From then
    on the nodes refuse whoever administered them before: be sure that nobody else still does.

        dasctl take-over
    """
    return session_of(ctx).carry_out(ctx, "take_over", targets=targets or [], yes=yes)


COMMANDS: dict[str, Callable[..., int]] = {
    "create-domain": create_domain,
    "verify-domain": verify_domain,
    "explain": explain,
    "take-over": take_over,
}
