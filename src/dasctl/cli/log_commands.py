"""The commands of the panel "Logs and diagnosis"."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

import typer

from dasctl.cli import complete
from dasctl.cli.options import GATHERED
from dasctl.cli.session import session_of
from dasctl.core.answers import NOT_RUN
from dasctl.core.sizes import byte_count
from dasctl.errors import UsageError

DASHES = "--"


def run(
    ctx: typer.Context,
    words: list[str] = typer.Argument(
        ...,
        metavar="TARGET... -- COMMAND...",
        autocompletion=complete.targets,
        help="Which instances, and what to run there.",
    ),
    most: str = typer.Option(
        "256K",
        "--max-output",
        metavar="SIZE",
        help="How much is kept of what a command says on an instance; of more, the beginning and the end.",
    ),
) -> int:
    """Run a command in the folder of each instance, with the server's own environment.

    One word is a command line for the shell there; of several, each is passed as it is. Equal answers are shown once.
    Of a single instance the output is passed on as it comes. Where `--timeout` is given, a command that takes longer is
    ended; Ctrl-C ends all of them. The exit code is the largest of the commands'.

        dasctl run web -- 'ls logs | wc -l'

        dasctl run web1 web2 -- grep -c "out of memory" logs/server.log
    """
    targets, command = _divided(words)
    return session_of(ctx).carry_out(
        ctx, "run", without_results=NOT_RUN, targets=targets, command=command,
        time_limit_s=ctx.meta.get(GATHERED, {}).get("timeout"), most=_size("--max-output", most),
    )  # fmt: skip


def _divided(words: Sequence[str]) -> tuple[list[str], str]:
    """The targets, and the command as one line for a shell."""
    if DASHES not in words:
        raise UsageError(
            "there is no command: it stands behind --", hint="dasctl run web -- uptime; 'dasctl run --help'"
        )
    at = list(words).index(DASHES)
    targets, command = list(words[:at]), list(words[at + 1 :])
    if not targets or not command:
        raise UsageError(
            "targets stand before --, and the command behind it", hint="dasctl run web -- uptime"
        )
    line = command[0] if len(command) == 1 else shlex.join(command)
    if not line.strip():
        raise UsageError("the command is empty", hint="dasctl run web -- uptime")
    return targets, line


def _size(option: str, text: str) -> int:
    try:
        return byte_count(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


COMMANDS: dict[str, Callable[..., int]] = {
    "run": run,
}
