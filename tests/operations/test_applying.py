"""`apply` on memory links: who is restarted, who is not, and what it costs."""

from __future__ import annotations

import asyncio

import pytest

from dasctl.operations.applying import apply
from tests.scenarios.world import DEFINITION, World

RUNNING = DEFINITION.replace("exec ./serve ${{http.port}}", "exec sleep 600").replace(
    "properties: {{http.port: 8080}}", "restart-on: [lib/**]"
)
WEB = ["web1", "web2"]


@pytest.fixture
def world(tmp_path):
    made = World(base=tmp_path, text=RUNNING)
    put(made, "lib/a.jar", b"one")
    code, shown = made.run("start-instance web1")
    assert code == 0, shown
    yield made
    made.run("stop-cluster web --kill")


def put(world, path, data):
    world.das.repository.put_file(path.encode(), data)


def applied(world, **more):
    ctx = world.context("deploy")
    world.links.tallies.clear()
    with ctx.store.domain_locked("deploy", wait_s=0.0):
        now, rows = asyncio.run(apply(ctx, WEB, command="deploy", **more))
    assert [row.instance for row in rows] == WEB
    told = {str(row.instance): (row.status, row.fields.get("state"), row.fields["revision"]) for row in rows}
    return now.revision.number, told


def trips(world):
    return {node: (tally.opened, tally.round_trips) for node, tally in world.links.tallies.items()}


def test_what_needs_it_is_restarted_and_what_does_not_run_is_not_started(world):
    put(world, "lib/a.jar", b"two")
    revision, told = applied(world)
    assert told == {
        "web1": ("restarted", "running", revision),
        "web2": ("synchronised", "not running", revision),
    }
    assert trips(world) == {
        "n1": (1, 3),
        "n2": (1, 3),
    }  # files; stop, start; of web2: where it stands, contents
    assert (world.instance("web1") / "lib/a.jar").read_bytes() == b"two"


def test_what_needs_no_restart_goes_on_running(world):
    put(world, "docroot/index.html", b"two")
    revision, told = applied(world)
    assert told["web1"] == ("synchronised", "running", revision)
    assert trips(world)["n1"] == (1, 2)


def test_a_restart_that_was_due_before_is_made_up_for(world):
    put(world, "lib/a.jar", b"two")
    assert world.run("sync-cluster web")[0] == 0
    assert applied(world)[1]["web1"][:2] == ("restarted", "running")
    assert applied(world)[1]["web1"][:2] == ("unchanged", "running")


def test_always_restarts_what_runs_alone(world):
    _, told = applied(world, restart="always")
    assert (told["web1"][:2], told["web2"][1]) == (("restarted", "running"), "not running")


def test_never_asks_no_server(world):
    put(world, "lib/a.jar", b"two")
    assert applied(world, restart="never")[1]["web1"][:2] == ("synchronised", None)
    assert trips(world)["n1"] == (1, 1)


def test_one_that_cannot_be_reached_harms_no_other(world):
    put(world, "lib/a.jar", b"two")
    world.away("n2")
    _, told = applied(world)
    assert told["web1"][:2] == ("restarted", "running")
    assert told["web2"][0] == "unreachable"


def test_a_server_that_does_not_start_again_is_told(world):
    world.das.store.write((world.das.store.text or "").replace("exec sleep 600", "exit 7"))
    _, told = applied(world)
    assert told["web1"][:2] == ("failed", "failed")
