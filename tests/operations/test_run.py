"""`run` and `run_on` over links in memory, with the real helper and real processes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from dasctl.adapters.memory_links import MemoryLinks
from dasctl.adapters.streams import Fault
from dasctl.operations.run import run, run_on
from dasctl.remote import process
from tests.scenarios.world import World


@pytest.fixture
def synced(world: World) -> World:
    code, said = world.run("sync-cluster web")
    assert code == 0, said
    return world


def test_run_on_answers_for_each_instance_in_one_trip(synced: World) -> None:
    ctx = synced.context("run")

    async def go():  # type: ignore[no-untyped-def]
        domain = ctx.store.load()
        async with ctx.links.open("n1", domain.nodes["n1"]) as link:
            commands = {"web1": "echo $DASCTL_INSTANCE >&2; exit 2", "nobody": "true"}
            return await run_on(ctx, domain, "n1", link, commands, 5.0), link.round_trips

    ran, trips = asyncio.run(go())
    assert trips == 1
    web1 = ran["web1"]
    assert (web1.status, web1.err, web1.code, web1.good, web1.ending) == (
        2,
        "web1\n",
        2,
        False,
        "exit status 2",
    )
    assert ran["nobody"].error is not None
    assert "there is no instance" in ran["nobody"].ending


def test_a_late_command_is_no_success(synced: World) -> None:
    ctx = synced.context("run")
    outcome = asyncio.run(
        run(ctx, ["web1"], command="trap 'exit 0' TERM; sleep 100 & wait", time_limit_s=0.3)
    )
    (row,) = outcome.results
    assert (row.status, row.fields["code"], row.fields["late"], outcome.exit_code) == (
        "failed",
        124,
        True,
        124,
    )


def test_a_helper_may_be_silent_between_two_signs_of_life_once_it_has_spoken(synced: World) -> None:
    ctx = replace(synced.context("run"), links=MemoryLinks(greeting_s=1.0), timeout_s=0.5)
    outcome = asyncio.run(run(ctx, ["web1"], command="sleep 1.8; echo woke"))
    assert outcome.results[0].fields.get("out") == "woke\n", outcome


def test_an_interrupt_ends_the_commands_on_all_nodes(synced: World) -> None:
    ctx = synced.context("run")
    told = [synced.instance(name) / "run" / "pid" for name in ("web1", "web2")]

    async def go():  # type: ignore[no-untyped-def]
        task = asyncio.create_task(run(ctx, ["web"], command="echo $$ >run/pid; sleep 1000"))
        while not all(p.exists() and p.read_text().endswith("\n") for p in told):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()
        return await task

    outcome = asyncio.run(go())
    assert outcome.exit_code == 255
    assert {row.error.message.partition(":")[0] for row in outcome.results if row.error} == {"interrupted"}
    until = time.monotonic() + 20
    while any(process.stat_of(int(path.read_text())) for path in told):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_node_that_is_cut_off_fails_alone(synced: World) -> None:
    ctx = replace(synced.context("run"), links=MemoryLinks(faults={"n2": Fault(cut_after_received=2000)}))
    outcome = asyncio.run(run(ctx, ["web"], command="seq 10000"))
    good, bad = outcome.results
    assert good.fields["out"].endswith("\n10000\n")
    assert bad.error is not None
    assert bad.status == "unreachable"
    assert outcome.exit_code == 255
