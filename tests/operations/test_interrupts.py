"""Ctrl-C, bugs and dead nodes: what was done and what was not is told, and nobody else's work is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from dasctl.adapters.streams import Fault
from dasctl.core.exchange import Event
from dasctl.core.outcome import Outcome
from dasctl.errors import OperationFailed
from dasctl.operations.ports import Context, Link, Links, Reply
from dasctl.operations.sync import sync
from dasctl.operations.take_over import take_over
from tests.scenarios.world import World

LONG_S = 60.0  # a limit for machines under load; nothing here waits for it


@dataclass(frozen=True, kw_only=True)
class Strange:
    """Links of which one is not like the others: `strike` is awaited before its first request."""

    links: Links
    node: str
    strike: Any

    @asynccontextmanager
    async def open(self, name: str, node: Any) -> AsyncIterator[Link]:
        async with self.links.open(name, node) as link:
            if name == self.node:
                await self.strike()
            yield link


def contexts(world: World, node: str, strike: Any, **more: Any) -> Context:
    ctx = world.context("sync-domain", **more)
    return replace(ctx, links=Strange(links=world.links, node=node, strike=strike))


def statuses(outcome: Outcome) -> dict[str, str]:
    return {str(row.instance): row.status for row in outcome.results}


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), KeyError("x"), ValueError(), OSError(5, "I/O error")]
)
async def test_a_bug_at_one_node_harms_no_other(world, error, caplog):
    async def strike() -> None:
        raise error

    outcome = await sync(contexts(world, "n2", strike), ["domain"], command="sync-domain")
    assert statuses(outcome) == {"web1": "synchronised", "web2": "failed", "jobs1": "synchronised"}
    assert outcome.exit_code == 3
    problem = outcome.results[1].error
    assert problem is not None
    assert "n2" in problem.message
    assert type(error).__name__ in problem.message


async def stand_still(reached: asyncio.Event) -> None:
    reached.set()
    await asyncio.Event().wait()


async def interrupted_at(
    world: World, node: str, others: set[str], **more: Any
) -> tuple[asyncio.Task[Outcome], Context]:
    """A synchronisation in which `node` stands still and all others are done."""
    reached = asyncio.Event()
    ctx = contexts(world, node, lambda: stand_still(reached), **more)
    task = asyncio.create_task(sync(ctx, ["domain"], command="sync-domain"))
    async with asyncio.timeout(LONG_S):
        await reached.wait()
        while {event.instance for event in world.events if event.phase == "done"} != others:
            assert not task.done(), task.result()
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # let the others' links close: the done event comes before
    return task, ctx


async def test_an_interrupt_says_what_was_done_and_what_was_not(world):
    task, _ = await interrupted_at(world, "n2", {"web1", "jobs1"})
    task.cancel()
    async with asyncio.timeout(LONG_S):
        outcome = await task
    assert statuses(outcome) == {"web1": "synchronised", "web2": "failed", "jobs1": "synchronised"}
    assert outcome.exit_code == 3
    problem = outcome.results[1].error
    assert problem is not None
    assert "interrupted" in problem.message
    assert "again" in problem.hint
    assert not (world.instance("web2") / "docroot").exists()


async def test_an_interrupt_while_the_repository_is_looked_at_waits_for_nobody(world):
    """What is at work in a thread (here somebody who does not answer) is not waited for; nothing was sent."""
    await sync(world.context("sync-domain"), ["domain"], command="sync-domain")
    world.das.repository.remove(b"docroot/index.html")
    asked, answer = threading.Event(), threading.Event()

    def ask(question: str) -> bool:
        asked.set()
        return answer.wait(LONG_S)

    def seen(event: Event) -> None:
        if event.phase == "preparing":
            prepares.set()

    prepares = asyncio.Event()
    ctx = replace(world.context("sync-domain"), ask=ask, on_event=seen)
    task = asyncio.create_task(sync(ctx, ["domain"], command="sync-domain"))
    try:
        async with asyncio.timeout(LONG_S):
            await asyncio.to_thread(asked.wait, LONG_S)
            await prepares.wait()  # whoever looks sees that the nodes are not what is waited for
            task.cancel()
            with pytest.raises(OperationFailed, match="interrupted before anything was sent"):
                await task
        assert not answer.is_set()
        with ctx.store.domain_locked("another", wait_s=0.0):
            pass
    finally:
        answer.set()
    assert (world.instance("web1") / "docroot/index.html").exists()


async def test_the_command_after_an_interrupt_finishes(world):
    task, _ = await interrupted_at(world, "n2", {"web1", "jobs1"})
    task.cancel()
    async with asyncio.timeout(LONG_S):
        await task
        outcome = await sync(world.context("sync-domain"), ["domain"], command="sync-domain")
    assert statuses(outcome) == {"web1": "unchanged", "web2": "synchronised", "jobs1": "unchanged"}


async def test_an_interrupt_frees_the_lock(world):
    task, ctx = await interrupted_at(world, "n2", {"web1", "jobs1"})
    task.cancel()
    async with asyncio.timeout(LONG_S):
        await task
    with ctx.store.domain_locked("another", wait_s=0.0):
        pass


async def test_nodes_that_were_not_begun_are_told_too(world):
    """One at a time, and the first stands still."""
    task, _ = await interrupted_at(world, "n1", set(), parallel=1)
    task.cancel()
    async with asyncio.timeout(LONG_S):
        outcome = await task
    assert statuses(outcome) == {"web1": "failed", "web2": "failed", "jobs1": "failed"}
    assert outcome.exit_code == 1


async def test_a_second_interrupt_while_links_are_closed_harms_nothing(world):
    reached, closing = asyncio.Event(), asyncio.Event()

    async def strike() -> None:
        try:
            await stand_still(reached)
        finally:
            closing.set()
            await asyncio.sleep(0.1)

    task = asyncio.create_task(sync(contexts(world, "n2", strike), ["domain"], command="sync-domain"))
    async with asyncio.timeout(LONG_S):
        await reached.wait()
        task.cancel()
        await closing.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            assert statuses(await task)["web2"] == "failed"
    with world.das.store.domain_locked("another", wait_s=0.0):
        pass


@pytest.mark.parametrize("after", range(0, 1200, 40))
async def test_a_lost_answer_is_made_good_by_the_next_command(world, after):
    """Wherever the answer breaks off, each instance is the old one or the new one, and one more command finishes."""
    await sync(world.context("sync-domain"), ["domain"], command="sync-domain")
    world.das.repository.put_file(b"docroot/index.html", b"two")
    world.faults["n2"] = Fault(cut_after_received=after)
    first = await sync(world.context("sync-domain"), ["web"], command="sync-cluster")
    assert statuses(first)["web1"] == "synchronised"
    page = world.instance("web2") / "docroot" / "index.html"
    assert page.read_bytes() in (b"one", b"two")
    if statuses(first)["web2"] == "synchronised":
        assert page.read_bytes() == b"two"
    world.faults.clear()
    second = await sync(world.context("sync-domain"), ["web"], command="sync-cluster")
    assert second.exit_code == 0
    assert page.read_bytes() == b"two"


@pytest.mark.parametrize("after", range(0, 3000, 100))
async def test_a_question_that_breaks_off_leaves_the_old_or_the_new(world, after):
    await sync(world.context("sync-domain"), ["domain"], command="sync-domain")
    world.das.repository.put_file(b"docroot/index.html", b"two")
    world.faults["n2"] = Fault(cut_after_sent=after)
    first = await sync(world.context("sync-domain"), ["web"], command="sync-cluster")
    page = world.instance("web2") / "docroot" / "index.html"
    assert page.read_bytes() in ((b"two",) if statuses(first)["web2"] == "synchronised" else (b"one", b"two"))
    world.faults.clear()
    second = await sync(world.context("sync-domain"), ["web"], command="sync-cluster")
    assert second.exit_code == 0
    assert page.read_bytes() == b"two"


async def test_a_take_over_rises_above_its_own_domain_alone(world):
    await sync(world.context("sync-domain"), ["domain"], command="sync-domain")
    state = world.instance("web2") / ".dasctl" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"domain": "another", "epoch": 9}))
    outcome = await take_over(world.context("take-over"), ["domain"])
    assert statuses(outcome)["web2"] == "refused"
    assert outcome.data["epoch"] == 2


async def test_an_interrupted_take_over_can_be_repeated(world):
    await sync(world.context("sync-domain"), ["domain"], command="sync-domain")
    world.faults["n2"] = Fault(cut_after_received=500)
    await take_over(world.context("take-over"), ["domain"])
    world.faults.clear()
    assert (await take_over(world.context("take-over"), ["domain"])).exit_code == 0
    assert (await sync(world.context("sync-domain"), ["domain"], command="sync-domain")).status == "unchanged"


@pytest.mark.parametrize("answer", [
    {"reply": "sync"},
    {"reply": "sync", "instances": []},
    {"reply": "sync", "instances": [{"name": "web2", "verdict": "maybe"}]},
    {"reply": "sync", "instances": [{"name": "web2", "verdict": "needs", "contents": ["00" * 32]}]},
    {"reply": "sync", "instances": [{"name": "web2", "verdict": "needs", "contents": None}]},
    {"reply": "sync", "instances": [{"name": "web2", "verdict": "stands", "at": None, "parts": [["lib"]]}]},
    {"reply": "sync", "instances": [{"name": "web2", "verdict": "done", "changed": "many"}]},
    {"reply": "sync", "instances": [{"name": "web2", "verdict": "done", "deviations": 7, "changes": 7}]},
    {"reply": "error", "message": "disk on fire"},
])  # fmt: skip
async def test_an_answer_that_makes_no_sense_fails_that_node_alone(world, answer):
    """A node that stands still in its answer, for ever, is also no reason to ask for ever."""
    real = world.links

    @dataclass(frozen=True)
    class Liars:
        @asynccontextmanager
        async def open(self, name: str, node: Any) -> AsyncIterator[Link]:
            async with real.open(name, node) as link:
                yield cast(Link, Liar(link)) if name == "n2" else link

    @dataclass(frozen=True)
    class Liar:
        link: Link

        def __getattr__(self, name: str) -> Any:
            return getattr(self.link, name)

        async def ask(self, header: Any, body: bytes = b"", *, then: Any = None, **more: Any) -> Reply:
            if then is not None:
                async for _ in then:
                    pass
            return Reply(header=answer)

    ctx = replace(world.context("sync-domain"), links=Liars())
    async with asyncio.timeout(LONG_S):
        outcome = await sync(ctx, ["domain"], command="sync-domain")
    assert statuses(outcome) == {"web1": "synchronised", "web2": "failed", "jobs1": "synchronised"}
    assert outcome.exit_code == 3
