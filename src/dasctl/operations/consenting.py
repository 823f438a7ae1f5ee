"""Asking before most of an instance is deleted: once for all instances, before anything is sent.

What lives here: who is asked, what the answer makes of the options. What must not: what is a mass deletion
(`core/deletions.py`), how a person is asked (the context's `ask`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dasctl.core.domain import Domain
from dasctl.core.requests import SyncOptions
from dasctl.core.slices import Slices
from dasctl.errors import OperationFailed
from dasctl.operations.ports import Acknowledged, Context
from dasctl.operations.recording import Current

if TYPE_CHECKING:
    from dasctl.core.deletions import Loss

NOTHING_SENT = "nothing was sent"


async def consented(
    ctx: Context,
    now: Current,
    expected: Mapping[str, Acknowledged],
    names: Sequence[str],
    options: SyncOptions,
) -> SyncOptions:
    """The options with which `names` may be brought to `now`. Raises OperationFailed where that is not wanted.

    An instance of which nothing is remembered is judged by its node alone.
    """
    if options.mass_deletion or options.dry_run:
        return options
    if not _changing(now.slices, expected, names):
        return options  # the daily case, for which what judges losses is not imported
    losses = await asyncio.to_thread(losses_of, ctx, now.domain, now.slices, expected, names, options)
    asked = {name: loss for name, loss in losses.items() if loss.is_mass and name not in options.agreed}
    if asked:
        await _asked(ctx, asked)
    more = {name for name, loss in losses.items() if loss.is_mass or loss.looks_like_it}
    return replace(options, agreed=options.agreed | more)


def losses_of(
    ctx: Context,
    domain: Domain,
    found: Slices,
    expected: Mapping[str, Acknowledged],
    names: Sequence[str],
    options: SyncOptions,
) -> dict[str, Loss]:
    """What each of `names` would lose, of those that would lose anything."""
    from dasctl.core.deletions import Losses, chosen_by
    from dasctl.core.deployments import Deployments

    losses, deployments = Losses(kept_part=ctx.history.part), Deployments(domain)
    lost: dict[str, Loss] = {}
    for name in _changing(found, expected, names):
        wanted = found.by_instance[name]
        loss = losses.of(
            dict(expected[name].parts), wanted.parts, deployed=deployments.of(name),
            chosen=chosen_by(options.only, options.exclude, options.keep.get(name, ())),
        )  # fmt: skip
        if loss is not None:
            lost[name] = loss
    return lost


def _changing(found: Slices, expected: Mapping[str, Acknowledged], names: Sequence[str]) -> list[str]:
    """Those of `names` that are not remembered with just what they are to get."""
    return [
        name
        for name in names
        if name in expected and dict(expected[name].parts) != dict(found.by_instance[name].listing)
    ]


def mass_deletions(
    ctx: Context,
    domain: Domain,
    found: Slices,
    expected: Mapping[str, Acknowledged],
    names: Sequence[str],
    options: SyncOptions,
) -> tuple[str, ...]:
    """A line for each group of instances of which most would be deleted: the warnings of who only looks."""
    from dasctl.core import deletions

    losses = losses_of(ctx, domain, found, expected, names, options)
    return deletions.told({name: loss for name, loss in losses.items() if loss.is_mass})


async def _asked(ctx: Context, losses: Mapping[str, Loss]) -> None:
    from dasctl.core import deletions

    lines = deletions.told(losses)
    if ctx.ask is None:
        raise OperationFailed(
            "\n".join([*lines, f"nobody can be asked, so {NOTHING_SENT}"]), hint=_hint(losses)
        )
    if not await _in_a_thread(ctx.ask, "\n".join(lines)):
        raise OperationFailed(f"not wanted, so {NOTHING_SENT}", hint=_hint(losses))


def _hint(losses: Mapping[str, Loss]) -> str:
    from dasctl.core.targets import fold

    whom = fold(losses)
    return f"look at it: dasctl sync-instance {whom} --dry-run; if it is meant: dasctl sync-instance {whom} --yes"


async def _in_a_thread(ask: Callable[[str], bool], question: str) -> bool:
    """The answer. The thread is nobody's to wait for: Ctrl-C at the question ends the command."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bool] = loop.create_future()

    def settle(result: bool, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)

    def run() -> None:
        result, error = False, None
        try:
            result = ask(question)
        except BaseException as raised:  # whatever it is, it is told where the answer is waited for
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="question", daemon=True).start()
    return await answer
