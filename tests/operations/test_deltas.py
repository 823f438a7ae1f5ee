"""A large content that changed travels as a delta against what the node has; whole where that does not work out."""

from __future__ import annotations

import json
import random

import pytest

from tests.scenarios.world import World

NAMES = ("web1", "web2", "jobs1")
BEFORE = random.Random(5).randbytes(300_000)
AFTER = BEFORE[:1000] + b"inserted" + BEFORE[1000:200_000] + BEFORE[200_100:]
LITTLE = 20_000  # bytes: far below a whole content


def put(world: World, path: str, data: bytes) -> None:
    world.das.repository.put_file(path.encode(), data)


def cost(world: World, line: str) -> tuple[dict[str, int], dict[str, int]]:
    """Per node: bytes sent, round trips."""
    world.links.tallies.clear()
    code, shown = world.run(line)
    assert code == 0, shown
    tallies = world.links.tallies
    return {n: t.bytes_sent for n, t in tallies.items()}, {n: t.round_trips for n, t in tallies.items()}


def everywhere(world: World, path: str) -> list[bytes]:
    return [(world.instance(name) / path).read_bytes() for name in NAMES]


@pytest.fixture
def known(world: World) -> World:
    """All nodes have the content before."""
    put(world, "docroot/app-1.2.war", BEFORE)
    assert world.run("sync-domain")[0] == 0
    return world


def test_a_change_travels_as_a_delta_in_one_trip(known):
    put(known, "docroot/app-1.2.war", AFTER)
    sent, trips = cost(known, "sync-domain")
    assert max(sent.values()) < LITTLE
    assert set(trips.values()) == {1}
    assert everywhere(known, "docroot/app-1.2.war") == [AFTER] * 3


def test_so_does_the_next_version_under_another_name(known):
    known.das.repository.remove(b"docroot/app-1.2.war")
    put(known, "docroot/app-1.3.war", AFTER)
    sent, trips = cost(known, "sync-domain")
    assert max(sent.values()) < LITTLE
    assert set(trips.values()) == {1}
    assert everywhere(known, "docroot/app-1.3.war") == [AFTER] * 3


def test_a_node_without_the_old_content_gets_the_new_one_whole(known):
    (known.instance("web2") / "docroot" / "app-1.2.war").write_bytes(b"by hand")
    put(known, "docroot/app-1.2.war", AFTER)
    sent, trips = cost(known, "sync-domain")
    assert trips == {"n1": 1, "n2": 2, "n3": 1}
    assert max(sent["n1"], sent["n3"]) < LITTLE < len(AFTER) < sent["n2"]
    assert everywhere(known, "docroot/app-1.2.war") == [AFTER] * 3


def test_what_is_asked_for_is_a_delta_too_where_the_node_is_known_to_have_the_old(known):
    put(known, "docroot/app-1.2.war", AFTER)
    sent, trips = cost(known, "sync-domain --only docroot")
    assert set(trips.values()) == {2}
    assert max(sent.values()) < LITTLE
    assert everywhere(known, "docroot/app-1.2.war") == [AFTER] * 3


def test_one_that_stands_elsewhere_gets_its_delta_in_the_second_trip(known):
    (known.instance("web1")).rename(known.base / "old")
    assert known.run("sync-domain")[0] == 0
    put(known, "docroot/index.html", b"two")
    assert known.run("sync-domain")[0] == 0
    (known.instance("web1")).rename(known.base / "newer")
    (known.base / "old").rename(known.instance("web1"))
    put(known, "docroot/app-1.2.war", AFTER)
    sent, trips = cost(known, "sync-domain")
    assert trips == {"n1": 2, "n2": 1, "n3": 1}
    assert max(sent.values()) < LITTLE
    assert everywhere(known, "docroot/app-1.2.war") == [AFTER] * 3


def test_a_content_that_has_nothing_of_the_old_one_travels_whole(known):
    put(known, "docroot/app-1.2.war", other := random.Random(6).randbytes(300_000))
    sent, trips = cost(known, "sync-domain")
    assert min(sent.values()) > len(other)
    assert set(trips.values()) == {1}
    assert everywhere(known, "docroot/app-1.2.war") == [other] * 3


def dry(world: World) -> dict[str, dict]:
    code, shown = world.run("sync-domain --dry-run --json")
    assert code == 0, shown
    return {row["instance"]: row for row in json.loads(shown)["results"]}


def told(world: World) -> dict[str, int]:
    """Instance to the bytes of contents that the last command said that it sends."""
    return {
        event.instance: event.total for event in world.events if event.phase == "sending" and event.instance
    }


def test_a_dry_run_says_what_a_real_one_sends(known):
    put(known, "docroot/app-1.2.war", AFTER)
    put(known, "docroot/new.txt", b"new line\n" * 1000)
    put(known, "docroot/copy.txt", b"new line\n" * 1000)
    found = dry(known)
    known.events.clear()
    assert known.run("sync-domain")[0] == 0
    assert {name: row["bytes_to_send"] for name, row in found.items()} == told(known)
    assert all(0 < row["bytes_to_send"] < LITTLE for row in found.values())
    for row in found.values():
        assert sum(change["bytes"] for change in row["changes"]) == row["bytes_to_send"]


def test_a_dry_run_of_a_first_synchronisation_too(world):
    put(world, "docroot/film.mp4", BEFORE)
    found = dry(world)
    assert not world.das.objects.kept
    world.events.clear()
    assert world.run("sync-domain")[0] == 0
    assert {name: row["bytes_to_send"] for name, row in found.items()} == told(world)


def test_a_dry_run_with_nothing_to_do_sends_nothing(known):
    assert {row["bytes_to_send"] for row in dry(known).values()} == {0}
