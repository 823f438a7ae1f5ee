"""The commands of the panel "Logs and diagnosis"."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from dasctl.cli import complete
from dasctl.cli.carried import TO_HERE, TO_HERE_ELSE_CURRENT
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
    """Run a command in the folder of each instance.

    It has the server's own environment. One word is a command line for the shell there; of several, each is passed as
    it is. Equal answers are shown once. Of a single instance the output is passed on as it comes. Where `--timeout`
    is given, a command that takes longer is ended; Ctrl-C ends all of them. The exit code is the largest of the
    commands'.

        dasctl run web -- 'ls logs | wc -l'

        dasctl run web1 web2 -- grep -c "out of memory" logs/server.log
    """
    targets, command = _divided(words)
    return session_of(ctx).carry_out(
        ctx, "run", without_results=NOT_RUN, targets=targets, command=command,
        time_limit_s=ctx.meta.get(GATHERED, {}).get("timeout"), most=_size("--max-output", most),
    )  # fmt: skip


def tail_log(
    ctx: typer.Context,
    targets: list[str] = typer.Argument(
        ..., metavar="TARGET...", autocompletion=complete.targets, help="Which instances."
    ),
    follow: bool = typer.Option(
        False, "--follow", "-f", help="Go on with what is written from now on, until Ctrl-C."
    ),
    lines: int = typer.Option(
        10, "--lines", "-n", metavar="N", min=0, max=1_000_000, help="How many lines of each file."
    ),
    files: list[str] | None = typer.Option(
        None,
        "--file",
        metavar="PATTERN",
        help="Which files in logs/, as in .gitignore; may be given again. [default: server.log]",
    ),
) -> int:
    """Show the last lines of logs, and with `-f` what comes.

    Each line stands behind its instance's name; a line that several say at the same time is shown once. Following goes
    on through rotation, and waits for files that do not exist yet. A node that is lost is told, and the others go on.
    Ctrl-C ends it with 0, unless a node was lost. With `--json` each line is a document, and the outcome is the last.
    All nodes that are followed stay connected; `--parallel` is how many log in at a time.

        dasctl tail-log web -f

        dasctl tail-log web1 -n 100 --file 'access*.log'
    """
    files = files or []
    return session_of(ctx).carry_out_stream(
        ctx, "tail_log", with_files=bool(files), targets=targets, lines=lines, follow=follow, files=files
    )


def collect_log_files(
    ctx: typer.Context,
    targets: list[str] = typer.Argument(
        ..., metavar="TARGET...", autocompletion=complete.targets, help="Which instances."
    ),
    to: Path | None = typer.Option(
        None,
        "--to",
        metavar="FILE",
        parser=TO_HERE_ELSE_CURRENT,
        help="The archive, a .tar.gz. [default: DOMAIN-logs-DATE-TIME.tar.gz, here]",
    ),
    since: str | None = typer.Option(
        None,
        "--since",
        metavar="2h|DATE",
        help="Only files that have changed since: 30m, 2h, 3d, 14:30, 2026-01-31.",
    ),
    grep: str | None = typer.Option(
        None,
        "--grep",
        metavar="REGEX",
        help="Only lines that match, also in .gz; they are looked for on the nodes.",
    ),
    files: list[str] | None = typer.Option(
        None,
        "--file",
        metavar="PATTERN",
        help="Which files in logs/, as in .gitignore; may be given again. [default: all]",
    ),
    max_size: str = typer.Option(
        "100M", "--max-size", metavar="SIZE", help="How much to collect of all together, before compression."
    ),
    max_file_size: str = typer.Option(
        "20M", "--max-file-size", metavar="SIZE", help="How much of each file: of a larger one its end."
    ),
    force: bool = typer.Option(False, "--force", help="Replace the archive where there is one."),
) -> int:
    """Collect the logs of instances into one archive.

    It has INSTANCE/logs/FILE, with their modtimes. The newest files come first in the limits; what was cut or left
    out is told. Compressed logs are taken as they are. With `--grep` only what matches travels.

        dasctl collect-log-files web --since 2h --to web-logs.tar.gz

        dasctl collect-log-files domain --grep 'OutOfMemory|ERROR'
    """
    return session_of(ctx).carry_out(
        ctx, "collect_log_files", targets=targets, file=to, since=since, grep=grep, files=files or [],
        max_size=_size("--max-size", max_size), max_file_size=_size("--max-file-size", max_file_size), force=force,
    )  # fmt: skip


def dump(
    ctx: typer.Context,
    targets: list[str] = typer.Argument(
        ..., metavar="TARGET...", autocompletion=complete.targets, help="Which instances."
    ),
    to: Path | None = typer.Option(
        None,
        "--to",
        metavar="FILE",
        parser=TO_HERE,
        help="Write a .tar.gz with the text and the JSON of each.",
    ),
    lines: int = typer.Option(
        50, "--lines", "-n", metavar="N", min=0, max=10_000, help="How many of the log's last lines."
    ),
    force: bool = typer.Option(False, "--force", help="Replace the archive where there is one."),
) -> int:
    """Show what helps to understand a server that misbehaves.

    Alive or dead. Its processes, sockets, open files and limits, the node's disk, memory, load and clock, where it
    stands and what deviates, the last lines of its log, and what its config's own `dump` command says. Of variables
    only the names.

        dasctl dump web1

        dasctl dump web --to web-dumps.tar.gz
    """
    return session_of(ctx).carry_out(
        ctx, "dump", targets=targets, lines=lines, time_limit_s=ctx.meta.get(GATHERED, {}).get("timeout"),
        file=to, force=force,
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
    "tail-log": tail_log,
    "collect-log-files": collect_log_files,
    "dump": dump,
    "run": run,
}
