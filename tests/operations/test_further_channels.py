"""Several channels to a node on a long line: used where they help, and never needed."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest

from dasctl.adapters.streams import Fault
from dasctl.operations import further
from tests.operations.test_round_trips import ONE_NODE
from tests.scenarios.world import World

NAMES = ("web1", "web2", "jobs1")
FILES = 12
LONG_S = 0.1


@pytest.fixture
def full(world: World) -> World:
    """12 MiB that do not shrink have to go to each node."""
    chance = random.Random(3)
    for number in range(FILES):
        world.das.repository.put_file(b"docroot/film%d" % number, chance.randbytes(1 << 20))
    world.das.repository.put_file(b"docroot/empty", b"")
    world.links.round_trip_s = LONG_S
    return world


def whole(world: World) -> bool:
    """All nodes have what the repository has, and nothing is left in staging."""
    things = world.das.repository._things
    for name in NAMES:
        for number in range(FILES):
            data = (world.instance(name) / "docroot" / f"film{number}").read_bytes()
            if sha256(data).digest() != sha256(things[b"docroot/film%d" % number].data).digest():
                return False
        if list((world.instance(name) / ".dasctl" / "staging").glob("*")):
            return False
    return True


def test_a_long_line_gets_several(full):
    assert full.run("sync-domain")[0] == 0
    assert whole(full)
    tallies = full.links.tallies
    assert {node: tally.further for node, tally in tallies.items()} == dict.fromkeys(
        ("n1", "n2", "n3"), further.CHANNELS
    )
    assert all(tally.opened == 1 for tally in tallies.values())
    assert all(tally.bytes_sent < FILES * 1.1 * (1 << 20) for tally in tallies.values())
    assert full.run("sync-domain")[1].startswith("unchanged")


def test_progress_is_told_of_all_of_them(full):
    assert full.run("sync-cluster web")[0] == 0
    sent = [event for event in full.events if event.phase == "sending" and event.instance == "web1"]
    last = sent[-1]
    assert last.sent == last.total > FILES << 20
    assert last.files == last.files_total > FILES
    assert [event.sent for event in sent] == sorted(event.sent for event in sent)


def test_a_short_line_does_not(full):
    full.links.round_trip_s = 0.001
    assert full.run("sync-domain")[0] == 0
    assert whole(full)
    assert all(tally.further == 0 for tally in full.links.tallies.values())


def test_little_does_not_need_them(world):
    world.links.round_trip_s = LONG_S
    assert world.run("sync-domain")[0] == 0
    assert all(tally.further == 0 for tally in world.links.tallies.values())


@pytest.mark.parametrize("most", [0, 1, 3])
def test_a_server_that_gives_fewer_is_served_all_the_same(full, most):
    full.links.most_further = most
    assert full.run("sync-domain")[0] == 0
    assert whole(full)
    assert all(tally.further == most for tally in full.links.tallies.values())


def test_channels_that_break_are_made_up_for(full, monkeypatch):
    """The first link of each node is left alone; all others break in the middle."""
    broken = []
    real = full.links.open

    class Links:
        def open(self, name, node):
            @asynccontextmanager
            async def opened():
                async with real(name, node) as link:
                    full.faults[name] = Fault(cut_after_sent=700_000)
                    broken.append(name)
                    yield link

            return opened()

    monkeypatch.setattr(full, "links", _Both(full.links, Links()))
    assert full.run("sync-domain")[0] == 0
    assert sorted(broken) == ["n1", "n2", "n3"]
    assert whole(full)


class _Both:
    """`open` of one, all else of the other."""

    def __init__(self, links, opening):
        self._links = links
        self.open = opening.open

    def __getattr__(self, name):
        return getattr(self._links, name)


def test_two_instances_of_one_node(tmp_path):
    world = World(base=tmp_path, text=ONE_NODE)
    chance = random.Random(3)
    for number in range(FILES):
        world.das.repository.put_file(b"docroot/film%d" % number, chance.randbytes(1 << 20))
    world.links.round_trip_s = LONG_S
    assert world.run("sync-domain")[0] == 0
    assert whole(world)
    assert world.links.tallies["n1"].bytes_sent < FILES * 1.1 * (1 << 20)


def test_together_with_all_others(full):
    assert full.run("sync-domain --together")[0] == 0
    assert whole(full)
