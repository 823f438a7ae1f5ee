"""The commands of the panel "Software of nodes"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dasctl.cli import complete
from dasctl.cli.carried import FROM_HERE
from dasctl.cli.options import LIMIT
from dasctl.cli.session import session_of
from dasctl.errors import UsageError

if TYPE_CHECKING:
    from dasctl.core.archives import Limits
    from dasctl.core.rolling import Rolling

_NODES = typer.Argument(
    ..., metavar="NODE...", autocompletion=complete.nodes, help="The nodes: names, patterns like n[1-3], '*'."
)
_VERSION = typer.Option(..., "--version", metavar="V", help="What the release is called.")


def install_node(
    ctx: typer.Context,
    nodes: list[str] = _NODES,
    release: str = _VERSION,
    archive: Path | None = typer.Option(
        None,
        "--archive",
        metavar="FILE",
        parser=FROM_HERE,
        help="A .tar.gz, .tgz or .zip, a folder, or a single executable. [default: what is kept of the release]",
    ),
    folder: str | None = typer.Option(
        None,
        "--folder",
        metavar="DIR",
        help="Instead: a folder of the nodes that is used as it is, read-only.",
    ),
    no_strip: bool = typer.Option(
        False, "--no-strip", help="Keep the one folder in which all of the archive lies."
    ),
    force: bool = typer.Option(
        False, "--force", help="With --folder: take what it holds now as what the release is."
    ),
    max_size: str | None = typer.Option(
        None, "--max-size", metavar="SIZE", help="How large the archive may become. [default: 4G]"
    ),
    max_files: int | None = typer.Option(
        None, "--max-files", metavar="N", min=1, help="How many files it may hold. [default: 100000]"
    ),
    limit: str | None = LIMIT,
) -> int:
    """Put the servers' software (a JDK, a Tomcat) on nodes.

    All nodes side by side. What a node has already, in another release too, is copied there and not sent. A node's first
    release becomes its current one; `upgrade-node` switches to others. Configs name it as `${node.software}`.

        dasctl install-node n1 n2 --archive jdk-21.0.1_linux-x64.tar.gz --version 21.0.1
        dasctl install-node '*' --folder /usr/lib/jvm/java-21-openjdk-amd64 --version 21-debian
    """
    return session_of(ctx).carry_out(
        ctx, "install_node", nodes=nodes, version=release, archive=archive, folder=folder, strip=not no_strip,
        force=force, limits=_limits(max_size, max_files),
    )  # fmt: skip


def _limits(size: str | None, files: int | None) -> Limits | None:
    if size is None and files is None:
        return None
    from dasctl.core.archives import MOST_BYTES, MOST_FILES, MOST_RATIO, Limits
    from dasctl.core.sizes import byte_count

    try:
        most = byte_count(size) if size is not None else MOST_BYTES
    except ValueError as error:
        raise UsageError(f"--max-size: {error}") from error
    # Who says how large it may become has thought about it.
    ratio = MOST_RATIO if size is None else None
    return Limits(bytes=most, files=files or MOST_FILES, ratio=ratio)


def upgrade_node(
    ctx: typer.Context,
    nodes: list[str] = _NODES,
    release: str = _VERSION,
    rolling: bool = typer.Option(
        False, "--rolling", help="Batch by batch; the next one when all servers of this one are ready."
    ),
    batch: str | None = typer.Option(
        None, "--batch", metavar="N|N%", help="With --rolling: how many nodes go side by side. [default: 1]"
    ),
    max_failures: str | None = typer.Option(
        None,
        "--max-failures",
        metavar="N|N%",
        help="With --rolling: begin no further batch when more nodes than that have failed. [default: 0]",
    ),
    pause: float = typer.Option(
        0.0, "--pause", metavar="SECONDS", min=0, help="With --rolling: how long to wait between two batches."
    ),
    auto_rollback: bool = typer.Option(
        False,
        "--auto-rollback",
        help="With --rolling: when too many have failed, bring the others back as well.",
    ),
    resume: bool = typer.Option(
        False,
        "--resume",
        help="Go on with what was stopped; so does the command without it: nodes that have the release stay as they are.",
    ),
) -> int:
    """Switch nodes, and their servers, to another release.

    They have it already: `install-node` brings it. On each node: drain, stop, switch, start, ready check, undrain. A
    node on which that fails has its release from before again, and its servers run with that. Servers that do not run
    are not started. Called again, it goes on: nodes that have the release stay as they are.

        dasctl upgrade-node '*' --version 21.0.1 --rolling --pause 10
    """
    del resume  # what is done is found out by asking the nodes, so there is nothing to be remembered
    asked = _rolling(rolling, batch, max_failures, pause, auto_rollback=auto_rollback)
    return session_of(ctx).carry_out(ctx, "upgrade_node", nodes=nodes, version=release, rolling=asked)


def _rolling(
    rolling: bool, batch: str | None, max_failures: str | None, pause: float, *, auto_rollback: bool
) -> Rolling | None:
    given = {
        "--batch": batch,
        "--max-failures": max_failures,
        "--pause": pause,
        "--auto-rollback": auto_rollback,
    }
    lonely = [option for option, value in given.items() if value]
    if not rolling:
        if lonely:
            raise UsageError(f"{lonely[0]} goes with --rolling alone", hint="add --rolling")
        return None
    from dasctl.core.rolling import Rolling

    asked = Rolling(batch=batch, max_failures=max_failures, pause_s=pause, auto_rollback=auto_rollback)
    for option, judge in (("--batch", lambda: asked.size(1)), ("--max-failures", lambda: asked.tolerance)):
        try:
            judge()
        except ValueError as error:
            raise UsageError(f"{option}: {error}") from error
    return asked


def uninstall_node(ctx: typer.Context, nodes: list[str] = _NODES, release: str = _VERSION) -> int:
    """Remove a release from nodes that use it no more.

    Refused where it is current, or a running server uses it. Uninstalled from all nodes it is forgotten here, too.

        dasctl uninstall-node '*' --version 17.0.9
    """
    return session_of(ctx).carry_out(ctx, "uninstall_node", nodes=nodes, version=release)


COMMANDS: dict[str, Callable[..., int]] = {
    "install-node": install_node,
    "upgrade-node": upgrade_node,
    "uninstall-node": uninstall_node,
}
