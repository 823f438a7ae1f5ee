"""Rolling changes on memory links, with real servers: who is taken out when, what stops it, and how it goes on."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from dasctl.core.outcome import Outcome
from dasctl.core.rolling import Rolling
from dasctl.errors import OperationFailed
from dasctl.operations.ports import Link
from dasctl.operations.restart import restart
from dasctl.operations.resume import resume
from dasctl.operations.sync import sync
from tests.operations.rolling import FOUR, Cluster

LONG_S = 60.0  # a limit for machines under load; nothing here waits for it
ROLL = "sync-cluster web --restart --rolling"
RUNNING = dict.fromkeys(FOUR, ("restarted", "running", 2))


@pytest.fixture
def cluster(tmp_path) -> Iterator[Cluster]:
    """Revision 1 runs everywhere; the repository has another library by now."""
    made = Cluster(tmp_path)
    made.run("start-cluster web")
    made.put("lib/a.jar", b"two")
    yield made
    made.end()


def one_by_one(*names: str) -> list[str]:
    return [f"{word} {name}" for name in names for word in ("drain", "undrain")]


def test_one_after_the_other_leaves_the_load_balancer_and_comes_back(cluster):
    before = cluster.pids()
    assert shown(cluster.json(ROLL)) == RUNNING
    assert cluster.told == one_by_one(*FOUR)
    assert all(cluster.content(name) == b"two" for name in FOUR)
    assert not set(before.values()) & set(cluster.pids().values())
    assert cluster.world.rollouts.data is None


def shown(document: dict[str, Any]) -> dict[str, tuple[str, str | None, int]]:
    return {
        row["instance"]: (row["status"], row.get("state"), row["revision"]) for row in document["results"]
    }


def test_a_batch_goes_side_by_side(cluster):
    cluster.run("restart-cluster web --rolling --batch 50%")
    told = cluster.told
    assert sorted(told[:2]) == ["drain web1", "drain web2"]
    assert sorted(told[2:4]) == ["undrain web1", "undrain web2"]
    assert sorted(told[4:6]) == ["drain web3", "drain web4"]


def test_two_on_one_node_share_its_link(tmp_path):
    cluster = Cluster(tmp_path)
    store = cluster.world.das.store
    store.write((store.text or "").replace("web2: {node: n2", "web2: {node: n1"))
    try:
        cluster.run("start-cluster web")
        cluster.put("lib/a.jar", b"two")
        cluster.world.links.tallies.clear()
        assert shown(cluster.json(f"{ROLL} --batch 2")) == RUNNING
        # look, stage, drain, stop, synchronise, start, undrain
        tallies = {
            node: (tally.opened, tally.round_trips) for node, tally in cluster.world.links.tallies.items()
        }
        assert tallies == {"n1": (1, 7), "n3": (1, 7), "n4": (1, 7)}
    finally:
        cluster.end()


def test_the_server_is_given_the_time_that_its_config_says(tmp_path):
    cluster = Cluster(tmp_path)
    store = cluster.world.das.store
    store.write((store.text or "").replace("timeout: 20s}", "timeout: 20s, wait: 300ms}"))
    try:
        cluster.run("start-instance web1")
        cluster.world.events.clear()
        seen: list[tuple[str, float]] = []
        ctx = cluster.world.context("restart-instance web1 --rolling")
        ctx = replace(ctx, on_event=lambda event: seen.append((event.phase, time.monotonic())))
        asyncio.run(restart(ctx, ["web1"], command="restart-instance", rolling=Rolling()))
        moments = dict(reversed(seen))
        assert moments["stopping"] - moments["draining"] >= 0.3
    finally:
        cluster.end()


@pytest.mark.parametrize("typed", ["restart-instance web1 --comment 'cut o", "restart-instance \udcff"])
def test_whatever_was_typed_is_kept(tmp_path, typed):
    cluster = Cluster(tmp_path)
    cluster.world.away("n1")
    ctx = cluster.world.context(typed)
    outcome = asyncio.run(restart(ctx, ["web1"], command="restart-instance", rolling=Rolling()))
    assert outcome.exit_code == 4
    cluster.world.back("n1")
    assert "started" in cluster.run("restart-instance web1 --resume")
    cluster.end()


def test_which_batch_is_told_while_it_goes_on(cluster):
    cluster.world.events.clear()
    cluster.run("restart-cluster web --rolling --batch 3")
    told = {(event.phase, event.instance, event.text) for event in cluster.world.events}
    assert ("draining", "web3", "batch 1 of 2") in told
    assert ("waiting", "web4", "batch 2 of 2") in told
    assert ("ready", "web4", "batch 2 of 2") in told


def test_contents_travel_while_the_server_still_serves(cluster):
    cluster.world.events.clear()
    cluster.put("docroot/film.mp4", random.Random(1).randbytes(100_000))
    rows = cluster.json(f"{ROLL} --batch 4")["results"]
    assert all(row["bytes_sent"] > 100_000 for row in rows)
    phases = [event.phase for event in cluster.world.events if event.instance == "web1"]
    assert phases.index("sending") < phases.index("draining") < phases.index("stopping")
    assert "sending" not in phases[phases.index("stopping") :]


def test_what_needs_no_restart_is_neither_drained_nor_stopped(cluster):
    cluster.run(ROLL)
    cluster.forget()
    cluster.put("docroot/index.html", b"new")
    before = cluster.pids()
    assert shown(cluster.json(ROLL)) == dict.fromkeys(FOUR, ("synchronised", "running", 3))
    assert (cluster.told, cluster.pids()) == ([], before)


def test_a_change_of_the_start_command_is_found_out_by_the_node(cluster):
    cluster.run(ROLL)
    cluster.forget()
    store = cluster.world.das.store
    store.write((store.text or "").replace("exec sleep 600'", "exec sleep 700'"))
    assert {row[0] for row in cluster.rows(ROLL).values()} == {"restarted"}
    assert cluster.told == one_by_one(*FOUR)


def test_a_server_that_does_not_run_gets_its_files_and_is_not_started(cluster):
    cluster.run("stop-instance web2")
    rows = cluster.rows(ROLL)
    assert rows["web2"] == ("synchronised", "not running", 2)
    assert cluster.told == one_by_one("web1", "web3", "web4")
    assert cluster.content("web2") == b"two"


def test_a_restart_starts_it(cluster):
    cluster.run("stop-instance web2")
    rows = shown(cluster.json("restart-cluster web --rolling"))
    assert rows["web2"] == ("started", "running", 2)
    assert "undrain web2" in cluster.told


def test_a_restart_without_a_synchronisation(cluster):
    rows = shown(cluster.json("restart-cluster web --rolling --sync none"))
    assert rows == dict.fromkeys(FOUR, ("restarted", "running", 1))
    assert cluster.content("web1") == b"one"


def stopped_at_web2(cluster: Cluster, line: str = ROLL) -> dict[str, tuple[str, str | None, int]]:
    """A rolling change in which web2 dies as soon as it is started."""
    cluster.break_down("web2")
    rows = shown(cluster.json(line, code=3))
    cluster.break_down("web2", yes=False)
    return rows


def test_it_stops_at_a_server_that_does_not_come_up_and_says_where_all_stand(cluster):
    rows = stopped_at_web2(cluster)
    assert rows == {
        "web1": ("restarted", "running", 2),
        "web2": ("failed", "failed", 2),
        "web3": ("skipped", "running", 1),
        "web4": ("skipped", "running", 1),
    }
    assert cluster.told == ["drain web1", "undrain web1", "drain web2"]


def test_what_is_told_of_it(cluster):
    cluster.break_down("web2")
    text = cluster.run(ROLL, code=3)
    assert "INSTANCE  NODE  STATUS     REVISION  STATE" in text
    assert "web1      n1    restarted  2         running" in text
    assert "web3      n3    skipped    1         running" in text
    assert "it is still out of the load balancer" in text
    assert f"dasctl {ROLL} --resume" in text
    assert "--max-failures 0 allows no more" in text


def test_it_is_resumed_with_whom_it_stopped_at(cluster):
    stopped_at_web2(cluster)
    cluster.forget()
    rows = shown(cluster.json(f"{ROLL} --resume"))
    assert rows == {name: (rows[name][0], rows[name][1], 2) for name in FOUR}
    assert rows["web1"][0] == "unchanged"
    assert cluster.told == ["undrain web2", *one_by_one("web3", "web4")]
    assert cluster.world.rollouts.data is None
    cluster.run(f"{ROLL} --resume", code=1)


def test_any_command_resumes_it(cluster):
    stopped_at_web2(cluster, "restart-cluster web --rolling")
    assert "web4" in cluster.run("sync-domain --resume")
    assert {place[2] for place in cluster.rows("list-instances").values()} == {2}


def test_a_server_that_is_not_ready_in_time_stops_it_and_is_restarted_by_resuming(tmp_path):
    cluster = Cluster(tmp_path, ready="{{command: test -e local/ready, timeout: 1s}}")
    try:
        cluster.run("start-cluster web", code=1)  # they live, and none says that it is ready
        for name in ("web1", "web2", "web3"):
            (cluster.world.instance(name) / "local/ready").touch()
        cluster.put("lib/a.jar", b"two")
        assert shown(cluster.json(ROLL, code=3))["web4"] == ("failed", "starting", 2)
        assert cluster.told[-1] == "drain web4"
        assert shown(cluster.json(f"{ROLL} --resume", code=3))["web4"] == ("failed", "starting", 2)
        assert cluster.told == ["drain web4"]
        (cluster.world.instance("web4") / "local/ready").touch()
        assert shown(cluster.json(f"{ROLL} --resume"))["web4"][1:] == ("running", 2)
        assert cluster.told == ["undrain web4"]
    finally:
        cluster.end()


def test_failures_within_the_limit_do_not_stop_it(cluster):
    rows = stopped_at_web2(cluster, f"{ROLL} --max-failures 25%")
    assert rows["web2"][0] == "failed"
    assert rows["web4"][0] == "restarted"
    assert cluster.world.rollouts.data is None  # all had their turn
    assert "web2" in cluster.run("restart-cluster web --failed")


def test_a_second_one_is_refused_while_one_is_unfinished(cluster):
    stopped_at_web2(cluster)
    text = cluster.run("restart-cluster web --rolling", code=1)
    assert "a rolling change is unfinished" in text
    assert "waiting: web[3-4]; done: web1; failed: web2" in text
    assert f"{ROLL} --resume" in text
    assert "--anew" in text


def test_one_begun_anew_mends_what_the_other_left(cluster):
    stopped_at_web2(cluster)
    cluster.put("lib/a.jar", b"three")
    cluster.forget()
    assert shown(cluster.json(f"{ROLL} --anew")) == dict.fromkeys(FOUR, ("restarted", "running", 3))
    assert cluster.told == [*one_by_one("web1"), "undrain web2", *one_by_one("web3", "web4")]


def test_what_is_out_of_the_load_balancer_is_not_forgotten(cluster):
    stopped_at_web2(cluster)
    text = cluster.run("restart-instance web3 --rolling --anew", code=1)
    assert "would forget that web2 may still be out" in text
    cluster.run("restart-instance web2 web3 --rolling --anew")


def test_another_repository_is_not_rolled_out_by_resuming(cluster):
    stopped_at_web2(cluster)
    cluster.put("lib/a.jar", b"three")
    text = cluster.run(f"{ROLL} --resume", code=1)
    assert "revision 2 was being rolled out, and the repository is at 3 now" in text
    assert "waiting: web[3-4]; done: web1; failed: web2" in text
    assert f"{ROLL} --anew" in text


def test_a_node_that_is_away_stops_it_before_anything_is_drained_there(cluster):
    cluster.world.away("n1")
    rows = shown(cluster.json(ROLL, code=4))
    assert {status for status, *_ in rows.values()} == {"unreachable", "skipped"}
    assert cluster.told == []
    cluster.world.back("n1")
    assert shown(cluster.json(f"{ROLL} --resume")) == RUNNING


def test_a_drain_that_fails_leaves_the_server_running_and_puts_it_back(tmp_path):
    drain = "echo drain ${{instance.name}} >> {nodes}/balancer; test ${{instance.name}} != web2 || (echo no >&2; exit 3)"
    cluster = Cluster(tmp_path, drain=drain)
    try:
        cluster.run("start-cluster web")
        cluster.put("lib/a.jar", b"two")
        before = cluster.pids()
        text = cluster.run(ROLL, code=3)
        assert "web2 on node n2: its config's drain command failed: exit status 3" in text
        assert "| no" in text
        assert "dasctl run web2 -- " in text
        assert "still out of the load balancer" not in text
        assert cluster.told == ["drain web1", "undrain web1", "drain web2", "undrain web2"]
        assert cluster.pids()["web2"] == before["web2"]
        assert cluster.content("web2") == b"one"
    finally:
        cluster.end()


def test_files_that_cannot_be_staged_stop_it_before_the_server_is_touched(cluster):
    (cluster.world.instance("web2") / "lib/a.jar").write_bytes(b"by hand")
    rows = shown(cluster.json(f"{ROLL} --deviations fail", code=3))
    assert rows["web2"] == ("failed", "running", 1)
    assert cluster.told == one_by_one("web1")


def test_files_that_cannot_be_committed_leave_no_server_down(tmp_path):
    """What was changed by hand after the staging, while it was drained: the server comes back with what it had."""
    drain = "echo drain ${{instance.name}} >> {nodes}/balancer; echo by hand > lib/a.jar"
    cluster = Cluster(tmp_path, drain=drain)
    try:
        cluster.run("start-cluster web")
        cluster.put("lib/a.jar", b"two")
        rows = shown(cluster.json(f"{ROLL} --deviations fail", code=1))
        assert rows["web1"] == ("failed", "running", 1)
        assert cluster.told == one_by_one("web1")
    finally:
        cluster.end()


# Interrupts and kills.


def links_that(cluster: Cluster, node: str, op: str, strike: Any) -> Any:
    """The world's links; ahead of the first request `op` to `node`, `strike` is awaited."""
    links = cluster.world.links
    struck: list[str] = []

    class Striking:
        def __init__(self, link: Link) -> None:
            self._link = link

        def __getattr__(self, name: str) -> Any:
            return getattr(self._link, name)

        async def ask(self, header: dict[str, Any], *args: Any, **more: Any) -> Any:
            if header["op"] == op and not struck:
                struck.append(op)
                await strike()
            return await self._link.ask(header, *args, **more)

    class Links:
        @asynccontextmanager
        async def open(self, name: str, entry: Any) -> AsyncIterator[Any]:
            async with links.open(name, entry) as link:
                yield Striking(link) if name == node else link

    return Links()


async def interrupted(cluster: Cluster, op: str, command: str = ROLL) -> Outcome:
    """Ctrl-C when `op` is about to be asked of n2."""
    reached = asyncio.Event()

    async def stand_still() -> None:
        reached.set()
        await asyncio.Event().wait()

    ctx = replace(cluster.world.context(command), links=links_that(cluster, "n2", op, stand_still))
    task = asyncio.create_task(sync(ctx, ["web"], command="sync-cluster", restart=True, rolling=Rolling()))
    async with asyncio.timeout(LONG_S):
        await reached.wait()
        task.cancel()
        return await task


@pytest.mark.parametrize(
    ("op", "drained", "message"),
    [
        ("look", [], "not begun: interrupted"),
        ("run", ["undrain web2"], "interrupted; it serves again"),  # the command itself did not come so far
        ("stop", ["drain web2", "undrain web2"], "interrupted; it serves again"),
        ("start", ["drain web2", "undrain web2"], None),
    ],
)
async def test_an_interrupt_leaves_no_server_out_or_down(cluster, op, drained, message):
    outcome = await interrupted(cluster, op)
    rows = {row.instance: row for row in outcome.results}
    assert rows["web1"].status == "restarted"
    assert {row.fields["state"] for row in rows.values()} == {"running"}
    error = rows["web2"].error
    assert rows["web2"].status == {"start": "done", "look": "skipped"}.get(op, "failed")
    assert message is None or (error is not None and message in error.message)
    assert rows["web3"].error is not None
    assert f"dasctl {ROLL} --resume" in rows["web3"].error.hint
    assert rows["web3"].fields["revision"] == 1
    assert cluster.told[2:] == drained


@pytest.mark.parametrize("op", ["look", "sync", "run", "stop", "start"])
async def test_what_was_interrupted_is_resumed(cluster, op):
    await interrupted(cluster, op)
    cluster.forget()
    async with asyncio.timeout(LONG_S):
        ctx = cluster.world.context(f"{ROLL} --resume")
        outcome = await resume(ctx, command="sync-cluster", rolling=Rolling(resume=True))
    assert outcome.exit_code == 0
    assert cluster.told[-1] == "undrain web4"
    assert all(cluster.content(name) == b"two" for name in FOUR)


class Killed(BaseException):
    """As if the process had ended: nobody tidies up."""


class Mortal:
    """ports.Rollouts that ends the process after so many writes."""

    def __init__(self, kept: Any, after: int) -> None:
        self._kept, self._left = kept, after

    def read(self) -> bytes | None:
        return self._kept.read()

    def write(self, data: bytes) -> None:
        self._kept.write(data)
        self._left -= 1
        if self._left < 0:
            raise Killed

    def clear(self) -> None:
        self._kept.clear()


@pytest.mark.parametrize("after", [0, 1, 3, 5, 7, 10, 14])
def test_a_kill_after_any_transition_is_resumed(cluster, after):
    """Two in a batch; the last thing that the process did was to write down a transition."""
    ctx = replace(
        cluster.world.context("restart-cluster web --rolling"), rollouts=Mortal(cluster.world.rollouts, after)
    )
    with pytest.raises(BaseException) as caught:
        asyncio.run(restart(ctx, ["web1", "web2"], command="restart-cluster", rolling=Rolling(batch="2")))
    assert "Killed" in repr(caught.value)
    assert json.loads(cluster.world.rollouts.data or b"{}")["line"] == "restart-cluster web --rolling"
    rows = shown(cluster.json("restart-cluster web --resume"))
    assert {row[2] for row in rows.values()} == {2}
    states = {name: place[1] for name, place in cluster.rows("list-instances").items()}
    assert (states["web1"], states["web2"]) == ("running", "running")
    told = cluster.told
    for name in ("web1", "web2"):
        last = [line for line in told if line.endswith(name)][-1]
        assert last == f"undrain {name}"


# The way back.


def taken_back(
    cluster: Cluster, line: str = f"{ROLL} --auto-rollback"
) -> dict[str, tuple[str, str | None, int]]:
    """A library with which web2 dies."""
    cluster.put("lib/a.jar", b"bad for web2")
    return shown(cluster.json(line, code=3))


def test_what_was_changed_gets_back_what_it_had_the_last_one_first(cluster):
    rows = taken_back(cluster)
    assert rows == {
        "web1": ("rolled back", "running", 3),
        "web2": ("rolled back", "running", 3),
        "web3": ("skipped", "running", 1),
        "web4": ("skipped", "running", 1),
    }
    assert {cluster.content(name) for name in FOUR} == {b"one"}
    assert cluster.told == ["drain web1", "undrain web1", "drain web2", "undrain web2", *one_by_one("web1")]
    assert cluster.world.rollouts.data is None
    assert "brought back to revision 1" in cluster.run("history")
    assert {row[0] for row in shown(cluster.json("sync-cluster web")).values()} == {"unchanged"}


def test_why_it_was_taken_back_is_told(cluster):
    cluster.put("lib/a.jar", b"bad for web2")
    text = cluster.run(f"{ROLL} --auto-rollback", code=3)
    assert "web2 on node n2: the server ended with exit status 1 while it was starting" in text
    assert "web1      n1    rolled back  3         running" in text
    assert "all have what they had before" in text
    assert "--resume" not in text


def test_a_failure_that_was_taken_back_is_told_at_the_revision_that_failed(cluster):
    taken_back(cluster)
    failed_on = {row["revision"]: row["failed_on"] for row in cluster.json("history")["results"]}
    assert set(failed_on) == {1, 2, 3}
    assert (failed_on[1], failed_on[3]) == ([], [])
    assert len(failed_on[2]) == 1
    assert failed_on[2][0].startswith("web[2-4]")
    assert "the server ended with exit status 1" in cluster.run("show-revision 2")
    assert "the server ended" not in cluster.run("show-revision 3")


def test_what_cannot_be_taken_back_is_not_begun(cluster):
    cluster.world.das.store.write(
        (cluster.world.das.store.text or "").replace("  name: shop", "  name: shop\n  revisions: 1")
    )
    text = cluster.run(f"{ROLL} --auto-rollback", code=1)
    assert "revision 1, which web1 has, is kept no more" in text
    assert cluster.told == []
    assert cluster.world.rollouts.data is None


@pytest.mark.parametrize("after", [13, 14, 18, 25])
def test_a_kill_on_the_way_back_is_resumed(cluster, after):
    cluster.put("lib/a.jar", b"bad for web2")
    ctx = replace(cluster.world.context(ROLL), rollouts=Mortal(cluster.world.rollouts, after))
    rolling = Rolling(auto_rollback=True)
    with pytest.raises(BaseException) as caught:
        asyncio.run(sync(ctx, ["web"], command="sync-cluster", restart=True, rolling=rolling))
    assert "Killed" in repr(caught.value)
    rows = shown(cluster.json(f"{ROLL} --resume", code=3))
    assert {name: row[0] for name, row in rows.items()} == {
        **dict.fromkeys(("web1", "web2"), "rolled back"), **dict.fromkeys(("web3", "web4"), "skipped"),
    }  # fmt: skip
    assert {cluster.content(name) for name in FOUR} == {b"one"}
    assert cluster.world.rollouts.data is None
    told = cluster.told
    assert [[line for line in told if line.endswith(name)][-1] for name in ("web1", "web2")] == [
        "undrain web1",
        "undrain web2",
    ]


class Full:
    """ports.Rollouts on a disk that is full after so many writes."""

    def __init__(self, kept: Any, after: int) -> None:
        self._kept, self._left = kept, after

    def read(self) -> bytes | None:
        return self._kept.read()

    def write(self, data: bytes) -> None:
        self._left -= 1
        if self._left < 0:
            raise OperationFailed("rolling cannot be written: No space left on device")
        self._kept.write(data)

    def clear(self) -> None:
        self._kept.clear()


@pytest.mark.parametrize("after", [1, 3, 5, 8])
def test_a_full_disk_stops_it_and_leaves_no_server_out_or_down(cluster, after):
    """What cannot be written down is not done; where it is full on the DAS, the nodes shall not suffer for it."""
    ctx = replace(cluster.world.context(ROLL), rollouts=Full(cluster.world.rollouts, after))
    outcome = asyncio.run(sync(ctx, ["web"], command="sync-cluster", restart=True, rolling=Rolling()))
    rows = {row.instance: row for row in outcome.results}
    assert outcome.exit_code in (1, 3)
    assert {row.fields["state"] for row in rows.values()} == {"running"}
    assert rows["web4"].error is not None
    assert "No space left" in rows["web4"].error.message
    told = cluster.told
    for name in {line.split()[1] for line in told}:
        assert [line for line in told if line.endswith(name)][-1] == f"undrain {name}"
    assert {row[2] for row in shown(cluster.json(f"{ROLL} --resume")).values()} == {2}


def test_a_server_that_ended_by_itself_is_not_started_by_a_change_of_files(cluster):
    pid = cluster.pids()["web2"]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    rows = cluster.rows(ROLL)
    assert rows["web2"][:2] == ("synchronised", "failed")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("restart-cluster web --batch 2", "--batch goes with --rolling alone"),
        ("restart-cluster web --rolling --batch none", "--batch: 'none' is not the size of a batch"),
        ("restart-cluster web --rolling --max-failures x", "--max-failures: 'x' is not a number of failures"),
        ("sync-cluster web --rolling", "add --restart"),
        ("sync-cluster web --restart --rolling --together", "--together means all at once"),
        ("sync-cluster web --restart --dry-run", "--dry-run changes nothing"),
        ("restart-cluster web --resume --anew", "contradict each other"),
    ],
)
def test_options_that_make_no_sense(tmp_path, line, says):
    cluster = Cluster(tmp_path)
    assert says in cluster.run(line, code=2)
    assert cluster.world.rollouts.data is None


def test_a_pause_between_batches(cluster):
    cluster.world.events.clear()
    cluster.run("restart-cluster web --rolling --batch 2 --pause 0.2")
    assert ("waiting", "web3", "pause of 0.2 s") in {
        (event.phase, event.instance, event.text) for event in cluster.world.events
    }
