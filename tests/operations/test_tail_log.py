"""`tail-log` over links in memory: many nodes, one reader, and what happens to either."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dasctl.adapters.memory_links import MemoryLinks
from dasctl.adapters.streams import Fault
from dasctl.core.outcome import Outcome
from dasctl.errors import UsageError
from dasctl.operations.gathering import Batch
from dasctl.operations.ports import Context
from dasctl.operations.tail_log import tail_log
from tests.operations.counting import Counted
from tests.scenarios.world import World


@pytest.fixture
def synced(world: World) -> World:
    code, said = world.run("sync-cluster web")
    assert code == 0, said
    return world


def log(world: World, name: str) -> Path:
    return world.instance(name) / "logs" / "server.log"


def add(world: World, name: str, text: str) -> None:
    with open(log(world, name), "a") as file:
        file.write(text)


class Reader:
    """Keeps what was shown; `ready(reader)` says when it has seen enough, and is asked each time."""

    def __init__(self) -> None:
        self.said: list[tuple[tuple[str, ...], str]] = []
        self.troubles: list[str] = []
        self.leaves = False

    def show(self, batch: Batch) -> bool:
        self.said += [(one.instances, one.line.text) for one in batch.said]
        self.troubles += [f"{whose}: {problem.message}" for whose, problem in batch.troubles]
        return not self.leaves

    def of(self, name: str) -> list[str]:
        return [text for names, text in self.said if name in names]


def follow(ctx: Context, reader: Reader, *steps: tuple[Callable[[], Any], Callable[[], bool]]) -> Outcome:
    """Follow both instances through the steps, each of which has to become true, and interrupt it then."""

    async def go() -> Outcome:
        task = asyncio.create_task(tail_log(ctx, ["web"], show=reader.show, follow=True))
        until = time.monotonic() + 30
        for do, seen in steps:
            do()
            while not (seen() or task.done()):
                assert time.monotonic() < until, reader.said
                await asyncio.sleep(0.01)
        if not reader.leaves:
            task.cancel()
        return await task

    return asyncio.run(go())


def test_the_last_lines_of_all_in_the_order_of_the_targets(synced: World) -> None:
    add(synced, "web1", "old\nmine\nsame\n")
    add(synced, "web2", "same\n")
    reader = Reader()
    links = MemoryLinks()
    ctx = replace(synced.context("tail-log"), links=links)
    outcome = asyncio.run(tail_log(ctx, ["web"], show=reader.show, lines=2))
    assert reader.said == [(("web1",), "mine"), (("web1", "web2"), "same")]
    assert (outcome.exit_code, outcome.warnings) == (0, ())
    assert [tally.round_trips for tally in links.tallies.values()] == [1, 1]


def test_a_log_that_is_not_there_is_told_where_nobody_waits_for_it(synced: World) -> None:
    outcome = asyncio.run(tail_log(synced.context("tail-log"), ["web1"], show=Reader().show))
    assert outcome.warnings == ("web1: there is no such file in logs/",)
    assert outcome.exit_code == 0


def test_what_is_told_comes_in_the_order_of_the_targets(synced: World) -> None:
    class Late(MemoryLinks):
        @asynccontextmanager
        async def open(self, name: str, node: Any) -> AsyncIterator[Any]:
            await asyncio.sleep(0.5 if name == "n1" else 0.0)
            async with super().open(name, node) as link:
                yield link

    ctx = replace(synced.context("tail-log"), links=Late())
    outcome = asyncio.run(tail_log(ctx, ["web"], show=Reader().show))
    assert outcome.warnings == tuple(f"{name}: there is no such file in logs/" for name in ("web1", "web2"))


def test_following_goes_on_through_a_rotation_until_it_is_interrupted(synced: World) -> None:
    reader = Reader()
    add(synced, "web1", "first\n")

    def rotate() -> None:
        log(synced, "web1").rename(log(synced, "web1").with_name("server.log.1"))
        add(synced, "web1", "after\n")

    outcome = follow(
        synced.context("tail-log"), reader,
        (lambda: None, lambda: reader.of("web1") == ["first"]),
        (lambda: [add(synced, name, "both\n") for name in ("web1", "web2")], lambda: len(reader.of("web2")) == 1),
        (rotate, lambda: reader.of("web1") == ["first", "both", "after"]),
    )  # fmt: skip
    assert (outcome.exit_code, outcome.status) == (0, "ok")
    assert {row.status for row in outcome.results} == {"ok"}


def test_a_node_that_is_lost_is_told_and_the_others_go_on(synced: World) -> None:
    reader = Reader()
    ctx = replace(synced.context("tail-log"), links=MemoryLinks(faults={"n2": Fault(cut_after_received=900)}))
    outcome = follow(
        ctx, reader,
        (lambda: add(synced, "web2", "x" * 2000 + "\n"), lambda: any("node n2" in one for one in reader.troubles)),
        (lambda: add(synced, "web1", "still here\n"), lambda: reader.of("web1") == ["still here"]),
    )  # fmt: skip
    assert "web1: web1: there is no such file in logs/ yet; it is waited for" in reader.troubles
    lost = [one for one in reader.troubles if "node n2" in one]
    assert len(lost) == 1
    assert lost[0].startswith("web2: node n2")
    assert lost[0].endswith("its logs are followed no more")
    assert outcome.exit_code == 3
    assert [row.status for row in outcome.results] == ["ok", "unreachable"]


def test_no_more_nodes_are_connected_at_a_time_than_may_be(synced: World) -> None:
    for name in ("web1", "web2"):
        add(synced, name, f"{name}\n")
    reader, links = Reader(), Counted(links=MemoryLinks())
    ctx = replace(synced.context("tail-log"), links=links, parallel=1)
    outcome = asyncio.run(tail_log(ctx, ["web"], show=reader.show))
    assert (links.most, links.most_opening) == (1, 1)
    assert reader.said == [(("web1",), "web1"), (("web2",), "web2")]
    assert outcome.exit_code == 0


def test_all_that_are_followed_are_connected_and_so_many_log_in_at_a_time_as_may(synced: World) -> None:
    reader, links = Reader(), Counted(links=MemoryLinks())
    ctx = replace(synced.context("tail-log"), links=links, parallel=1)

    def both() -> None:
        for name in ("web1", "web2"):
            add(synced, name, f"{name}\n")

    outcome = follow(
        ctx, reader, (both, lambda: {"web1", "web2"} <= {text for _, text in reader.said})
    )  # fmt: skip
    assert (links.most, links.most_opening) == (2, 1)
    assert outcome.exit_code == 0


def test_where_all_are_lost_it_ends_by_itself(synced: World) -> None:
    synced.away("n1")
    synced.away("n2")
    reader = Reader()
    outcome = asyncio.run(tail_log(synced.context("tail-log"), ["web"], show=reader.show, follow=True))
    assert outcome.exit_code == 4
    assert len(reader.troubles) == 2


def test_a_reader_that_goes_away_ends_it(synced: World) -> None:
    reader = Reader()

    def leave() -> None:
        reader.leaves = True
        add(synced, "web1", "nobody reads this\n")

    outcome = follow(synced.context("tail-log"), reader, (leave, lambda: False))
    assert outcome.exit_code == 0


def test_a_slow_reader_loses_nothing_and_is_not_buffered_for(synced: World) -> None:
    whole = [f"{number} {'x' * 200}" for number in range(10_000)]
    log(synced, "web1").write_text("\n".join(whole) + "\n")
    reader, most = Reader(), 0

    def slow(batch: Batch) -> bool:
        nonlocal most
        most = max(most, len(batch.lines))
        time.sleep(0.05)
        return reader.show(batch)

    ctx = synced.context("tail-log")
    outcome = asyncio.run(tail_log(ctx, ["web1"], show=slow, lines=10_000))
    assert reader.of("web1") == whole
    assert outcome.exit_code == 0
    reader = Reader()
    log(synced, "web1").write_text("begun\n")
    again = follow(
        replace(ctx, links=MemoryLinks()), reader,
        (lambda: None, lambda: reader.of("web1") == ["begun"]),
        (lambda: add(synced, "web1", "\n".join(whole) + "\n"), lambda: reader.of("web1")[1:] == whole),
    )  # fmt: skip
    assert again.exit_code == 0


def test_a_pattern_that_can_match_nothing_is_a_slip(synced: World) -> None:
    with pytest.raises(UsageError, match="--file"):
        asyncio.run(tail_log(synced.context("tail-log"), ["web1"], show=Reader().show, files=["["]))
