"""`--together`: nobody commits before all have staged, and nobody at all where one cannot."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from contextlib import asynccontextmanager

import pytest

from dasctl.adapters.streams import Fault
from dasctl.operations.barrier import Barrier, Decision, decide
from dasctl.operations.ports import Event
from dasctl.operations.sync import sync
from dasctl.remote import words
from tests.scenarios.world import World

NAMES = ("web1", "web2", "jobs1")


def spent(world: World, line: str, *, code: int = 0) -> dict[str, tuple[int, int]]:
    """Node to (connections, round trips) of one command."""
    world.links.tallies.clear()
    ended, shown = world.run(line)
    assert ended == code, shown
    return {node: (tally.opened, tally.round_trips) for node, tally in world.links.tallies.items()}


def page(world: World, name: str) -> str:
    return (world.instance(name) / "docroot" / "index.html").read_text()


def rows(world: World, line: str, *, code: int) -> dict[str, dict]:
    """Instance to result."""
    ended, shown = world.run(f"{line} --json")
    assert ended == code, shown
    return {row["instance"]: row for row in json.loads(shown)["results"]}


@pytest.fixture
def changed(world: World) -> World:
    """Synchronised, and then the page was edited."""
    assert world.run("sync-domain")[0] == 0
    world.das.repository.put_file(b"docroot/index.html", b"two")
    return world


def test_it_costs_one_more_trip(world):
    assert spent(world, "sync-domain --together") == {"n1": (1, 3), "n2": (1, 3), "n3": (1, 3)}
    world.das.repository.put_file(b"docroot/index.html", b"two")
    assert spent(world, "sync-domain --together") == {"n1": (1, 2), "n2": (1, 2), "n3": (1, 2)}
    assert [page(world, name) for name in NAMES] == ["two"] * 3


def test_nothing_to_do_is_agreed_upon_as_well(changed):
    spent(changed, "sync-domain --together")
    assert spent(changed, "sync-domain --together") == {"n1": (1, 2), "n2": (1, 2), "n3": (1, 2)}
    assert {row["status"] for row in rows(changed, "sync-domain --together", code=0).values()} == {
        "unchanged"
    }


def test_the_domain_may_ask_for_it(changed):
    text = changed.das.store.text or ""
    changed.das.store.write(text.replace("name: shop", "name: shop\n  commit: together", 1))
    assert changed.das.store.load().domain.commit == "together"
    assert spent(changed, "sync-domain")["n1"] == (1, 2)


def test_where_one_cannot_be_reached_nobody_changes(changed):
    changed.away("n2")
    found = rows(changed, "sync-domain --together", code=1)
    assert found["web2"]["status"] == "unreachable"
    for name in ("web1", "jobs1"):
        assert found[name]["status"] == "not changed"
        assert found[name]["error"]["message"] == "not changed: web2 could not stage"
        assert found[name]["revision"] == 1
        assert page(changed, name) == "one"
    changed.back("n2")
    # What failed last is asked what it has before it is sent contents: the others have staged them, n2 has not.
    assert spent(changed, "sync-domain --together") == {"n1": (1, 2), "n2": (1, 3), "n3": (1, 2)}
    assert [page(changed, name) for name in NAMES] == ["two"] * 3


def test_where_one_breaks_off_nobody_changes(changed):
    changed.faults["n2"] = Fault(cut_after_received=10)
    found = rows(changed, "sync-domain --together", code=1)
    assert found["web2"]["status"] == "unreachable"
    assert [page(changed, name) for name in NAMES] == ["one"] * 3


def test_where_one_refuses_nobody_changes(changed):
    (changed.instance("web2") / "docroot" / "index.html").write_text("by hand")
    found = rows(changed, "sync-domain --together --deviations fail", code=1)
    assert found["web2"]["status"] == "failed"
    assert found["web1"]["status"] == "not changed"
    assert [page(changed, name) for name in NAMES] == ["one", "by hand", "one"]


def test_two_that_cannot_are_both_named(changed):
    changed.away("n2")
    changed.away("n3")
    found = rows(changed, "sync-domain --together", code=1)
    assert "web2" in found["web1"]["error"]["message"] or "jobs1" in found["web1"]["error"]["message"]


def test_one_node_after_the_other_is_not_enough(changed):
    """With --parallel 1 a node that waited for the others would wait for ever."""
    ctx = changed.context("sync-domain", parallel=1)

    async def within_a_minute():
        async with asyncio.timeout(60):
            return await sync(ctx, ["domain"], command="sync-domain", together=True)

    outcome = asyncio.run(within_a_minute())
    assert outcome.exit_code == 0
    assert [page(changed, name) for name in NAMES] == ["two"] * 3


def test_an_interrupt_during_the_wait_changes_nobody(changed):
    staged: list[str | None] = []

    async def interrupted():
        def on_event(event: Event) -> None:
            if event.phase == "staged":
                staged.append(event.instance)
                if len(staged) == 2:
                    running.cancel()

        changed.links.faults = {"n3": Fault(hang_after_received=10)}
        ctx = changed.context("sync-domain")
        ctx = dataclasses.replace(ctx, on_event=on_event)
        running = asyncio.ensure_future(sync(ctx, ["domain"], command="sync-domain", together=True))
        return await running

    outcome = asyncio.run(interrupted())
    assert sorted(staged) == ["web1", "web2"]
    assert outcome.exit_code == 1
    assert [page(changed, name) for name in NAMES] == ["one"] * 3


def test_a_link_that_is_lost_between_commits_is_told(changed):
    """All have staged; the answer of one to `commit` never comes."""
    real = changed.links.open

    class Cut:
        def __init__(self, link):
            self._link = link

        def __getattr__(self, name):
            return getattr(self._link, name)

        async def ask(self, header, *args, **more):
            if header["op"] == words.COMMIT:
                await self._link.close()
            return await self._link.ask(header, *args, **more)

    class Links:
        def open(self, name, node):
            @asynccontextmanager
            async def opened():
                async with real(name, node) as link:
                    yield Cut(link) if name == "n2" else link

            return opened()

    ctx = dataclasses.replace(changed.context("sync-domain"), links=Links())
    outcome = asyncio.run(sync(ctx, ["domain"], command="sync-domain", together=True))
    found = {row.instance: row for row in outcome.results}
    assert found["web1"].good and found["jobs1"].good
    assert found["web2"].status == "unreachable"
    assert found["web2"].error is not None
    assert "did not say whether it has" in found["web2"].error.message
    assert [page(changed, name) for name in ("web1", "jobs1")] == ["two"] * 2
    assert changed.run("sync-domain --together")[0] == 0
    assert page(changed, "web2") == "two"


def test_a_dry_run_waits_for_nobody(changed):
    changed.away("n2")
    found = rows(changed, "sync-domain --together --dry-run", code=3)
    assert found["web1"]["status"] == "synchronised"


class TestTheBarrier:
    def test_decides(self):
        assert decide({"a"}, ()) is Decision.WAIT
        assert decide((), ()) is Decision.COMMIT
        assert decide({"a"}, ["b"]) is Decision.GIVE_UP
        assert decide((), ["b"]) is Decision.GIVE_UP

    def test_opens_for_all_at_once(self):
        async def run():
            barrier = Barrier({"a": ["1"], "b": ["2"]})
            first = asyncio.ensure_future(barrier.staged("a"))
            await asyncio.sleep(0)
            assert not first.done()
            return await barrier.staged("b"), await first

        assert asyncio.run(run()) == (Decision.COMMIT, Decision.COMMIT)

    def test_gives_up_at_the_first_failure(self):
        async def run():
            barrier = Barrier({"a": ["1"], "b": ["2"], "c": ["3"]})
            waiting = asyncio.ensure_future(barrier.staged("a"))
            await asyncio.sleep(0)
            barrier.fails("b")
            return await waiting, barrier.culprits

        assert asyncio.run(run()) == (Decision.GIVE_UP, "2")

    def test_what_is_decided_stays(self):
        async def run():
            barrier = Barrier({"a": ["1"]})
            await barrier.staged("a")
            barrier.fails("a")
            return barrier.decision, barrier.culprits

        assert asyncio.run(run()) == (Decision.COMMIT, "")
