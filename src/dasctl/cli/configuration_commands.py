"""The commands of the panel "Configuration"."""

from __future__ import annotations

from collections.abc import Callable

import typer

from dasctl.cli import complete
from dasctl.cli.session import session_of


def get(
    ctx: typer.Context,
    patterns: list[str] = typer.Argument(
        ...,
        metavar="PATTERN...",
        autocompletion=complete.dotted,
        help="Dotted names; a `*` stands for anything.",
    ),
    origin: bool = typer.Option(
        False, "--origin", help="Also at which level a value was found, in which line of which file."
    ),
    resolved: bool = typer.Option(
        False, "--resolved", help="Properties as instances get them: inherited ones too, ${…} filled in."
    ),
) -> int:
    """Print values: `nodes.n1.host=web1.example.com`.

    A name alone is looked up through the levels: a property of an instance in the instance, its cluster, its config, the
    domain. A pattern finds what stands in `domain.yaml`, and defaults. Ends with 1 where nothing matches.

        dasctl get 'clusters.web.*'
        dasctl get instances.web1.property.http.port --origin
    """
    return session_of(ctx).carry_out(ctx, "get", patterns=patterns, origin=origin, resolved=resolved)


def set(
    ctx: typer.Context,
    assignments: list[str] | None = typer.Argument(
        None, metavar="[NAME=VALUE]...", autocompletion=complete.assignments, help="What to set."
    ),
    unset: list[str] | None = typer.Option(
        None,
        "--unset",
        metavar="NAME",
        autocompletion=complete.dotted,
        help="Remove this key, so that its default holds, or what is inherited; repeatable.",
    ),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Show how domain.yaml would change, and change nothing."
    ),
) -> int:
    """Change values: all in one revision, or none.

    Values are of the type that their key demands, and the domain stays valid. `NAME=` sets an empty text or list. Lists are
    written with commas. Comments and all other lines of `domain.yaml` stay. No node is asked: `sync-domain` brings it there.

        dasctl set clusters.web.property.http.port=8090
        dasctl set nodes.n1.port=22 --unset nodes.n1.user
    """
    return session_of(ctx).carry_out(
        ctx, "set", assignments=assignments or [], unset=unset or [], dry_run=dry_run
    )


def list_names(
    ctx: typer.Context,
    patterns: list[str] | None = typer.Argument(
        None,
        metavar="[PATTERN]...",
        autocompletion=complete.dotted,
        help="Dotted names; a `*` stands for anything. [default: *]",
    ),
) -> int:
    """List the dotted names of values, those below a name too.

        dasctl list clusters.web
        dasctl list '*.property.*'
    """  # fmt: skip
    return session_of(ctx).carry_out(ctx, "list", patterns=patterns or [])


COMMANDS: dict[str, Callable[..., int]] = {"get": get, "set": set, "list": list_names}
