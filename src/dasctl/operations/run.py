"""`run`: a command in the folder of each instance, and what it said there."""

from __future__ import annotations

from collections.abc import Mapping

from dasctl.core import answers, requests
from dasctl.core.answers import Ran
from dasctl.core.domain import Domain
from dasctl.operations.looking import epoch_of
from dasctl.operations.ports import Context, Link
from dasctl.remote import words

MOST = (
    256 << 10
)  # bytes kept of what a command says on an instance, on standard output and on standard error each


async def run_on(
    ctx: Context,
    domain: Domain,
    node: str,
    link: Link,
    commands: Mapping[str, str],
    timeout_s: float | None,
    *,
    most: int = MOST,
) -> dict[str, Ran]:
    """Run a shell command per instance of `node`, side by side, in one trip: instance to command.

    Each is ended after `timeout_s` seconds (None: never), and where the link ends before. Needs no lock. What goes wrong
    with one instance is in its answer; raises NodeError where the node itself does not answer.
    """
    header = requests.envelope(
        words.RUN, domain, node, epoch_of(ctx),
        instances=[
            {"name": name, "command": command, "timeout": timeout_s, "most": most}
            for name, command in commands.items()
        ],
    )  # fmt: skip
    reply = await link.ask(header, silence_s=ctx.patience_s)
    return answers.read_all(reply.header, list(commands), node)
