"""`run`: a command in the folder of each instance, and what it said there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dasctl.core import answers, requests
from dasctl.core import targets as target_names
from dasctl.core.answers import Ran
from dasctl.core.domain import Domain
from dasctl.core.outcome import FAILED, OK, Outcome, Problem, Result, status_of_error, summed_up
from dasctl.operations.fanout import INTERRUPTED, by_node, on_nodes
from dasctl.operations.looking import epoch_of
from dasctl.operations.ports import Context, Event, Link
from dasctl.remote import words

COMMAND = "run"
MOST = (
    256 << 10
)  # bytes kept of what a command says on an instance, on standard output and on standard error each

ENDED = Problem(
    message="interrupted: the command was ended there, with all that it had started",
    hint="what it had done by then is done",
)


async def run(
    ctx: Context,
    targets: Sequence[str],
    *,
    command: str,
    time_limit_s: float | None = None,
    most: int = MOST,
) -> Outcome:
    """Run `command` in the folder of each instance. The exit code is the largest of the commands' (core/answers.py)."""
    domain = ctx.store.load()
    names = target_names.resolve(domain, targets)
    said: dict[str, str] = {}  # many say the same: it is kept once

    async def ask(node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        for name in instances:
            ctx.on_event(Event(phase="running", node=node, instance=name))
        commands = dict.fromkeys(instances, command)
        ran = await run_on(ctx, domain, node, link, commands, time_limit_s, most=most)
        return [_row(node, name, ran[name], said) for name in instances]

    rows = await on_nodes(ctx, domain, by_node(domain, names), ask)
    rows = [replace(row, error=ENDED) if row.error is INTERRUPTED else row for row in rows]
    outcome = summed_up(COMMAND, rows, changed=True, notes=() if names else ("no instances there",))
    not_run = any(row.error is not None for row in rows)
    return replace(outcome, exit_code=_exit_code(rows), error=outcome.error if not_run else None)


def _row(node: str, name: str, ran: Ran, said: dict[str, str]) -> Result:
    if ran.error is not None:
        error = ran.error
        return Result(status=status_of_error(error), instance=name, node=node, error=Problem.of(error))
    ending = {"status": ran.status} if ran.signal is None else {"signal": ran.signal}
    fields = {
        "exit": ending, "code": ran.code, "out": said.setdefault(ran.out, ran.out),
        "err": said.setdefault(ran.err, ran.err), "more": ran.more, "seconds": round(ran.seconds, 3),
        "late": ran.late, "left": ran.left,
    }  # fmt: skip
    return Result(status=OK if ran.good else FAILED, instance=name, node=node, fields=fields)


def _exit_code(rows: Sequence[Result]) -> int:
    return answers.largest(answers.NOT_RUN if row.error is not None else row.fields["code"] for row in rows)


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
