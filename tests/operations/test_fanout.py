"""Many nodes at once: how many links are open, who is begun after failures, what is told of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from dasctl.core.domain import Domain, Node
from dasctl.core.outcome import FAILED, SKIPPED, UNREACHABLE, Result
from dasctl.core.tolerance import Tolerance
from dasctl.errors import NodeUnreachable
from dasctl.operations.fanout import INTERRUPTED, by_node, on_nodes
from dasctl.operations.ports import Context, Link
from tests.scenarios.script import Script
from tests.scenarios.world import World


@dataclass
class CountedLinks:
    """ports.Links that count how many are open; `away` cannot be reached."""

    away: frozenset[str] = frozenset()
    open_now: int = 0
    most: int = 0
    opened: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, name: str, node: Node) -> AsyncIterator[Link]:
        self.open_now += 1
        self.most = max(self.most, self.open_now)
        self.opened.append(name)
        try:
            await asyncio.sleep(0.002)
            if name in self.away:
                raise NodeUnreachable(f"node {name}: no answer")
            yield None  # type: ignore[misc]
            await asyncio.sleep(0.002)
        finally:
            self.open_now -= 1


@pytest.fixture
def domain(world: World) -> Domain:
    Script(world=world).do_grow("30")
    return world.das.store.load()


async def visited(
    world: World, domain: Domain, links: CountedLinks, **settings: object
) -> tuple[list[Result], Context]:
    async def work(node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        await asyncio.sleep(0.003)
        return [Result(status="ok", instance=name, node=node) for name in instances]

    ctx = replace(world.context("test"), links=links, **settings)
    return await on_nodes(ctx, domain, by_node(domain, list(domain.instances)), work), ctx


@pytest.mark.parametrize("parallel", [1, 3, 7, 64])
async def test_never_more_links_than_that_are_open(world: World, domain: Domain, parallel: int) -> None:
    links = CountedLinks(away=frozenset({"n4", "n9"}))
    rows, _ = await visited(world, domain, links, parallel=parallel)
    assert links.most == min(parallel, len(domain.nodes))
    assert links.open_now == 0
    assert sorted(links.opened) == sorted(domain.nodes)
    assert [row.instance for row in rows] == list(domain.instances)
    assert Counter(row.status for row in rows) == {"ok": 28, UNREACHABLE: 2}


def test_a_whole_command_keeps_to_it(world: World) -> None:
    """The real operation on real helpers: what is counted are the links that are open at the same time."""
    Script(world=world).do_grow("12")
    now, most = 0, 0
    inner = world.links.open

    @asynccontextmanager
    async def counted(name: str, node: Node) -> AsyncIterator[Link]:
        nonlocal now, most
        async with inner(name, node) as link:
            now += 1
            most = max(most, now)
            try:
                yield link
            finally:
                now -= 1

    class Counted:
        tallies = world.links.tallies
        open = staticmethod(counted)

    world.links = Counted()  # type: ignore[assignment]
    for line in ("sync-domain --parallel 3", "list-instances --parallel 3", "stop-cluster web --parallel 3"):
        code, shown = world.run(line)
        assert code == 0, shown
        assert (now, most) == (0, 3)


async def test_after_too_many_failures_no_further_node_is_begun(world: World, domain: Domain) -> None:
    links = CountedLinks(away=frozenset(f"n{number}" for number in range(4, 31)))
    rows, _ = await visited(world, domain, links, parallel=4, tolerance=Tolerance(number=3))
    statuses = Counter(row.status for row in rows)
    assert statuses["ok"] == 2
    assert statuses[UNREACHABLE] + statuses[SKIPPED] == 28
    # Those that are at work when the fourth fails finish: at most three more.
    assert 4 <= statuses[UNREACHABLE] <= 7
    assert len(links.opened) == statuses["ok"] + statuses[UNREACHABLE]
    skipped = [row for row in rows if row.status == SKIPPED]
    assert all(row.error is not None and "--max-failures 3" in row.error.message for row in skipped)


async def test_as_many_failures_as_are_tolerated_stop_nobody(world: World, domain: Domain) -> None:
    links = CountedLinks(away=frozenset({"n4", "n5", "n6"}))
    for tolerance in (Tolerance(number=3), Tolerance(number=10, percent=True), None):
        rows, _ = await visited(world, domain, links, parallel=1, tolerance=tolerance)
        assert Counter(row.status for row in rows) == {"ok": 27, UNREACHABLE: 3}


async def test_a_fault_of_ours_in_one_node_is_its_own(world: World, domain: Domain) -> None:
    async def work(node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        if node == "n7":
            raise ZeroDivisionError("ours")
        return [Result(status="ok", instance=name, node=node) for name in instances]

    ctx = replace(world.context("test"), links=CountedLinks())
    rows = await on_nodes(ctx, domain, by_node(domain, list(domain.instances)), work)
    assert Counter(row.status for row in rows) == {"ok": 29, FAILED: 1}
    assert "ZeroDivisionError" in next(row.error.message for row in rows if row.error is not None)


async def test_each_instance_is_told_of_from_waiting_to_its_end(world: World, domain: Domain) -> None:
    links = CountedLinks(away=frozenset({"n4"}))
    await visited(world, domain, links, parallel=1, tolerance=Tolerance(number=0))
    told: dict[str | None, list[str]] = {}
    for event in world.events:
        told.setdefault(event.instance, []).append(event.phase)
    assert told["web1"] == ["waiting", "connecting", "done"]
    assert told["web4"] == ["waiting", "connecting", "failed"]
    assert told["web30"] == ["waiting", "skipped"]
    assert [event.phase for event in world.events][: len(domain.instances)] == ["waiting"] * 30


def test_between_synchronisation_and_start_nothing_is_told_to_be_done(world: World) -> None:
    text = world.das.store.text or ""
    world.das.store.write(text.replace("exec ./serve ${http.port}", "exec sleep 600"))
    try:
        for line in ("start-cluster web", "restart-cluster web"):
            world.events.clear()
            code, shown = world.run(line)
            assert code == 0, shown
            phases = [event.phase for event in world.events if event.instance == "web1"]
            assert phases.count("done") == 1
            assert phases[-1] == "done"
            assert "starting" in phases
    finally:
        world.run("stop-cluster web --kill")


@dataclass
class DeafLinks:
    """ports.Links that lose an interrupt while they connect, as `asyncio.wait_for` does before Python 3.12."""

    connecting: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def open(self, name: str, node: Node) -> AsyncIterator[Link]:
        self.connecting.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        yield None  # type: ignore[misc]


async def test_an_interrupt_that_is_lost_while_a_node_is_connected_ends_its_work(
    world: World, domain: Domain
) -> None:
    links, begun = DeafLinks(), []

    async def work(node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        begun.append(node)
        return [Result(status="ok", instance=name, node=node) for name in instances]

    ctx = replace(world.context("test"), links=links)
    running = asyncio.ensure_future(on_nodes(ctx, domain, {"n1": ["web1"]}, work))
    await links.connecting.wait()
    running.cancel()
    [row] = await running
    assert row.error is INTERRUPTED and not begun
