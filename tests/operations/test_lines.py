"""Contents to nodes of this very machine are not packed, to others they are; one run may have both."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dasctl.operations.contents import Blocks
from tests.scenarios.world import World

BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMES = {"n1": "web1", "n2": "web2", "n3": "jobs1"}
TEXT = 10 << 20  # bytes that shrink to about half
OTHER = "another kernel"

pytestmark = pytest.mark.skipif(not BOOT.exists(), reason="the kernel says nothing of its boot")


@pytest.fixture
def full(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Small files and a large one; helpers of this world run in this process, so on this machine."""
    chance = random.Random(3)
    for number in range(40):
        text = chance.randbytes(1 << 10).hex().encode() * (TEXT // 2 // 40 >> 11)
        world.das.repository.put_file(b"docroot/page%d" % number, text[1:] + b"%d" % number)
    world.das.repository.put_file(b"docroot/book", chance.randbytes(TEXT // 4).hex().encode())
    own, real = BOOT.read_text().strip(), world.context
    monkeypatch.setattr(world, "context", lambda command, **more: real(command, boot=lambda: own, **more))
    return world


def sent(world: World) -> dict[str, int]:
    return {node: tally.bytes_sent for node, tally in world.links.tallies.items()}


def whole(world: World) -> bool:
    things = world.das.repository._things
    paths = [path for path in things if path.startswith(b"docroot/")]
    return all(
        (world.instance(name) / path.decode()).read_bytes() == things[path].data
        for name in NAMES.values()
        for path in paths
    )


def elsewhere(world: World, monkeypatch: pytest.MonkeyPatch, *nodes: str) -> None:
    """These nodes say that they run on another kernel."""
    real = world.links.open

    class Links:
        @asynccontextmanager
        async def open(self, name, node):
            async with real(name, node) as link:
                if name in nodes:
                    said = link._greeted
                    link._greeted = lambda header: said(header) | {"boot": OTHER}
                yield link

        def __getattr__(self, name):
            return getattr(world_links, name)

    world_links = world.links
    monkeypatch.setattr(world, "links", Links())


def test_nodes_of_this_machine_get_them_as_they_are(full):
    assert full.run("sync-domain")[0] == 0
    assert whole(full)
    assert all(size > TEXT for size in sent(full).values())
    assert full.run("sync-domain")[1].startswith("unchanged")


def test_totals_are_those_of_the_files(full):
    assert full.run("sync-domain")[0] == 0
    events = [event for event in full.events if event.phase == "sending" and event.instance == "web1"]
    assert events[-1].sent == events[-1].total
    assert events[-1].files == events[-1].files_total
    assert len({event.total for event in events if event.total > TEXT}) == 1


def test_others_get_them_packed(full, monkeypatch):
    elsewhere(full, monkeypatch, *NAMES)
    assert full.run("sync-domain")[0] == 0
    assert whole(full)
    assert all(size < TEXT * 0.7 for size in sent(full).values())


def test_where_the_line_is_long_they_are_packed(full):
    full.links.round_trip_s = 0.03
    assert full.run("sync-domain")[0] == 0
    assert whole(full)
    assert all(size < TEXT * 0.7 for size in sent(full).values())


def test_one_run_may_have_both_and_makes_each_once(full, monkeypatch):
    made = []
    real = Blocks.frames
    monkeypatch.setattr(Blocks, "frames", lambda self, *more: made.append(self) or real(self, *more))
    elsewhere(full, monkeypatch, "n2")
    assert full.run("sync-domain")[0] == 0
    assert whole(full)
    tallies = sent(full)
    assert tallies["n1"] > TEXT and tallies["n3"] > TEXT
    assert tallies["n2"] < TEXT * 0.7
    blocks = made[0]
    assert all(one is blocks for one in made)
    assert blocks.made < 2.5 * (tallies["n1"] + tallies["n2"]) / (512 << 10)


def test_a_transfer_that_broke_off_goes_on_in_the_other_form(full, monkeypatch):
    from dasctl.adapters.streams import Fault

    full.faults["n1"] = Fault(cut_after_sent=TEXT * 3 // 4)
    assert full.run("sync-cluster web")[0] != 0
    full.faults.clear()
    before = sent(full)["n1"]
    elsewhere(full, monkeypatch, "n1")
    assert full.run("sync-domain")[0] == 0
    assert whole(full)
    assert sent(full)["n1"] - before < TEXT * 0.5


def test_a_file_that_changes_while_it_is_sent(full, monkeypatch):
    """Neither the object nor the file holds it any more: the repository is looked at again, and all get what is new."""
    lost, real = [], full.das.objects.pieces

    def pieces(digest, *, offset=0, as_they_are=False):
        if as_they_are and not lost:
            lost.append(digest)
            full.das.objects.kept.pop(digest)
            path = full.das.objects._paths[digest]
            full.das.repository.put_file(path, b"changed")
        return real(digest, offset=offset, as_they_are=as_they_are)

    monkeypatch.setattr(full.das.objects, "pieces", pieces)
    assert full.run("sync-domain")[0] == 0
    assert lost
    assert whole(full)
