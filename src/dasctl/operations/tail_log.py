"""`tail-log`: the last lines of logs on many nodes, and what is written to them from then on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from dasctl.core import log_lines, requests, verdicts
from dasctl.core import targets as target_names
from dasctl.core.domain import Domain, Node
from dasctl.core.outcome import OK, Outcome, Problem, Result, summed_up
from dasctl.core.patterns import fault_of, regexes
from dasctl.errors import DasctlError, UsageError
from dasctl.operations.fanout import INTERRUPTED, by_node, on_nodes
from dasctl.operations.gathering import Gathering, Show
from dasctl.operations.looking import epoch_of, seen_of
from dasctl.operations.ports import Context, Link
from dasctl.remote import words

COMMAND = "tail-log"


async def tail_log(
    ctx: Context,
    targets: Sequence[str],
    *,
    show: Show,
    lines: int = 10,
    follow: bool = False,
    files: Sequence[str] = (),
) -> Outcome:
    """Give `show` the last `lines` lines of each instance's logs, and with `follow` all that come until an interrupt.

    `files` are gitignore patterns over paths below `logs/`; none: `server.log`. An interrupt is how following ends: all
    nodes that were still followed then count as done. A node that is lost is told at once, and the others go on. All
    nodes that are followed stay connected; `ctx.parallel` is how many log in at a time.
    """
    domain = ctx.store.load()
    names = target_names.resolve(domain, targets)
    groups = by_node(domain, names)
    order = {name: number for number, name in enumerate(names)}
    gathering = Gathering(show=show, order=order, expected=len(groups), follow=follow)
    watched = replace(ctx, parallel=max(ctx.parallel, len(groups))) if follow else ctx
    if follow:
        watched = replace(watched, links=_Telling(ctx, gathering, groups))
    tailing = Tailing(
        ctx=watched, domain=domain, gathering=gathering, lines=lines, follow=follow, patterns=patterns_of(files),
        warnings=[],
    )  # fmt: skip
    rows = await _until_the_end(on_nodes(watched, domain, groups, tailing.node), gathering)
    rows = [_interrupted(row, follow) if row.error is INTERRUPTED else row for row in rows]
    told = tailing.told(order) if names else ("no instances there",)
    data = {"followed": True} if follow else {}
    return summed_up(COMMAND, rows, changed=True, warnings=told, data=data)


def _interrupted(row: Result, follow: bool) -> Result:
    """Following is meant to end so."""
    if follow:
        return replace(row, status=OK, error=None)
    return replace(row, error=Problem(message="interrupted before its lines had come"))


def patterns_of(files: Sequence[str]) -> list[str] | None:
    """Regular expressions for the paths below `logs/` that gitignore patterns name; None where there are no patterns."""
    for pattern in files:
        if (fault := fault_of(pattern)) is not None:
            raise UsageError(f"--file: {fault}", hint="write access.log, '*.log' or 'tomcat/*'")
    return list(regexes([pattern.removeprefix("logs/") for pattern in files])) if files else None


async def _until_the_end(nodes: Any, gathering: Gathering) -> list[Result]:
    """The nodes' results: at their end, at an interrupt, or when nobody reads any more."""
    working, showing = asyncio.ensure_future(nodes), asyncio.ensure_future(gathering.shown())
    try:
        await asyncio.wait({working, showing}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
    if not working.done():
        working.cancel()  # it tells what was not done
    rows: list[Result] = await working
    gathering.close()
    await showing
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Tailing:
    """The conversation with each node."""

    ctx: Context
    domain: Domain
    gathering: Gathering
    lines: int
    follow: bool
    patterns: list[str] | None
    warnings: list[tuple[str, str]]  # whose, and what

    def told(self, order: Mapping[str, int]) -> tuple[str, ...]:
        """The warnings in the order of the instances, not in that of the answers."""
        return tuple(text for _, text in sorted(self.warnings, key=lambda one: order.get(one[0], -1)))

    async def node(self, node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        """One result per instance, when its lines have been shown."""
        header = requests.envelope(
            words.TAIL, self.domain, node, epoch_of(self.ctx), follow=self.follow,
            instances=[{"name": name, "files": self.patterns, "lines": self.lines} for name in instances],
        )  # fmt: skip
        reply = (await link.ask(header, silence_s=self.ctx.patience_s)).header
        rows = self._begun(node, verdicts.read_all(reply, list(instances), node))
        while True:
            self._tell(node, reply)
            await self.gathering.take(node, log_lines.read(reply.get("lines"), node, instances))
            if reply.get("more") is not True:
                return rows
            more = requests.envelope(words.MORE, self.domain, node, epoch_of(self.ctx))
            reply = (await link.ask(more, silence_s=self.ctx.patience_s)).header

    def _begun(self, node: str, answers: Sequence[verdicts.Verdict]) -> list[Result]:
        rows = []
        for verdict in answers:
            seen = seen_of(self.domain, node, verdict)
            files = [str(path) for path in verdict.more.get("files") or ()]
            fields: dict[str, Any] = {"files": files} if seen.error is None else {}
            rows.append(
                Result(status=seen.status, instance=verdict.name, node=node, fields=fields, error=seen.error)
            )
            self._warn(verdict.name, node, verdict.more)
            if seen.error is not None and self.follow:
                self.gathering.trouble(node, verdict.name, seen.error)
            elif not files and seen.error is None:
                self._nothing(verdict.name, node)
        return rows

    def _nothing(self, name: str, node: str) -> None:
        if self.follow:
            problem = Problem(message=f"{name}: there is no such file in logs/ yet; it is waited for")
            self.gathering.trouble(node, name, problem)
        else:
            self.warnings.append((name, f"{name}: there is no such file in logs/"))

    def _tell(self, node: str, reply: Mapping[str, Any]) -> None:
        """What a later answer says of files that cannot be read."""
        for item in log_lines.problems(reply.get("problems"), node):
            self._warn(str(item.get("name", "")), node, {"problems": [item]})

    def _warn(self, name: str, node: str, more: Mapping[str, Any]) -> None:
        for item in log_lines.problems(more.get("problems"), node):
            if self.follow:
                problem = Problem(message=f"{name}: {item['path']} {item['message']}")
                self.gathering.trouble(node, name, problem)
            else:
                self.warnings.append((name, f"{name}: {item['path']} {item['message']}"))


class _Telling:
    """Links that stay open, of which only so many are made at a time as there may be; a failure is told at once, for the
    result comes only when all is over.
    """

    def __init__(self, ctx: Context, gathering: Gathering, groups: Mapping[str, Sequence[str]]) -> None:
        self._links, self._gathering, self._groups = ctx.links, gathering, groups
        self._logging_in = asyncio.Semaphore(ctx.parallel)

    @asynccontextmanager
    async def open(self, name: str, node: Node) -> AsyncIterator[Link]:
        try:
            async with AsyncExitStack() as stack:
                async with self._logging_in:
                    link = await stack.enter_async_context(self._links.open(name, node))
                yield link
        except DasctlError as error:
            whose = target_names.fold(list(self._groups[name]))
            problem = Problem(message=f"{error.message}: its logs are followed no more")
            self._gathering.trouble(name, whose, problem)
            raise
