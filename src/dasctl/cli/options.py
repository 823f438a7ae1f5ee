"""The global options: declared once, accepted before and after every command's name.

What lives here: their declaration, where their values gather, and the judgement over them as a whole; and how several
commands share options of their own.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import typer

from dasctl import __version__
from dasctl.cli.call import Settings
from dasctl.core.rates import bytes_per_second
from dasctl.errors import UsageError

GATHERED = "dasctl.options"
DOMAIN_VARIABLE = "DASCTL_DOMAIN"
DAS_VARIABLE = "DASCTL_DAS"
DAS_PROGRAM_VARIABLE = "DASCTL_DAS_COMMAND"


def gather(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """Keep what was really given: a default of the inner command must not undo what stood before its name."""
    if value is not None and value is not False:
        ctx.meta.setdefault(GATHERED, {})[param.name] = value
    return value


def show_version(ctx: typer.Context, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        typer.echo(f"dasctl {__version__}")
        raise typer.Exit


def _declared(
    domain: Path | None = typer.Option(
        None,
        "--domain",
        metavar="DIR",
        callback=gather,
        help=f"The domain's folder. [env: {DOMAIN_VARIABLE}; else the nearest one upwards with config/domain.yaml]",
    ),
    das_place: str | None = typer.Option(
        None,
        "--das",
        metavar="USER@HOST:DIR",
        callback=gather,
        help=f"Run the command on the machine of the domain DIR, through SSH; HOST:PORT:DIR with a port. "
        f"[env: {DAS_VARIABLE}]",
    ),
    das_program: str | None = typer.Option(
        None,
        "--das-command",
        metavar="COMMAND",
        callback=gather,
        help=f"With --das: how dasctl is called there. [env: {DAS_PROGRAM_VARIABLE}; default: dasctl]",
    ),
    json: bool = typer.Option(False, "--json", callback=gather, help="Print one JSON document."),
    terse: bool = typer.Option(
        False, "--terse", callback=gather, help="Print tab-separated rows without a header."
    ),
    quiet: bool = typer.Option(
        False, "--quiet", "-q", callback=gather, help="Print only on change of state or failure."
    ),
    verbose: bool = typer.Option(
        False, "--verbose", "-v", callback=gather, help="Print each phase and each changed file."
    ),
    parallel: int | None = typer.Option(
        None,
        "--parallel",
        metavar="N",
        min=1,
        max=10_000,
        callback=gather,
        help="How many nodes to work on at a time. [default: 64]",
    ),
    wait: float | None = typer.Option(
        None,
        "--wait",
        metavar="SECONDS",
        min=0,
        callback=gather,
        help="How long to wait for the domain's lock. [default: 0]",
    ),
    timeout: float | None = typer.Option(
        None,
        "--timeout",
        metavar="SECONDS",
        min=0.1,
        callback=gather,
        help="How long a node may take to answer. [default: 10]",
    ),
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=show_version, help="Print the version and end."
    ),
) -> None:
    """Nothing: its parameters are the declaration."""


@cache
def global_params() -> tuple[Any, ...]:
    """The parameters, shared by all commands. They are not passed to its function: `settings_of` has their values."""
    app = typer.Typer(add_completion=False)
    app.command()(_declared)
    params = typer.main.get_command(app).params
    for param in params:
        param.expose_value = False
    return tuple(params)


GLOBAL_NAMES = (
    "domain", "das_place", "das_program", "json", "terse", "quiet", "verbose", "parallel", "wait", "timeout", "version",
)  # fmt: skip

# Of the commands that send much. Gathered like the global ones; the command's function has no use for it.
LIMIT = typer.Option(
    None,
    "--limit",
    metavar="RATE",
    callback=gather,
    help="Send no more than that to all nodes together: 10M, 500K (bytes per second). [default: no limit]",
)


def settings_of(ctx: typer.Context, environment: Mapping[str, str] = os.environ) -> Settings:
    """The global options of this command line. Raises UsageError where two of them contradict each other."""
    given: dict[str, Any] = ctx.meta.get(GATHERED, {})
    for one, other in (("json", "terse"), ("quiet", "verbose")):
        if given.get(one) and given.get(other):
            raise UsageError(f"--{one} and --{other} contradict each other", hint="give one of them")
    domain = given.get("domain") or environment.get(DOMAIN_VARIABLE) or None
    return Settings(
        domain=Path(domain) if domain is not None else None,
        json=given.get("json", False),
        terse=given.get("terse", False),
        quiet=given.get("quiet", False),
        verbose=given.get("verbose", False),
        parallel=given.get("parallel", 64),
        limit=_rate(given.get("limit")),
        wait_s=given.get("wait", 0.0),
        timeout_s=given.get("timeout", 10.0),
    )


def _rate(text: str | None) -> float | None:
    try:
        return bytes_per_second(text) if text is not None else None
    except ValueError as error:
        raise UsageError(f"--limit: {error}") from error


def with_options(
    declared: Callable[..., object],
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command the parameters of `declared` in place of its own `**options`."""

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        own = inspect.signature(function)
        kept = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        shared = inspect.signature(declared).parameters.values()
        function.__annotations__ = {
            name: hint
            for signed in (declared, function)
            for name, hint in get_type_hints(signed).items()
            if name != "options"
        }
        function.__signature__ = own.replace(parameters=[*kept, *shared])  # type: ignore[attr-defined]
        return function

    return decorate
