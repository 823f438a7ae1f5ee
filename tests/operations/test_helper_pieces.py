"""Real synchronisations with the helper in pieces: what is foreseen is one trip; nothing to do asks for nothing."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dasctl.adapters import bootstrap, helper_pack
from dasctl.adapters.helper_pack import HelperPack, Shipment
from dasctl.adapters.link import StreamLink
from dasctl.adapters.local import LocalLinks
from dasctl.core.domain import Node
from tests.scenarios.world import World


class InPieces:
    """Links to real helpers on this machine; counts the round trips, and notes what was asked for."""

    def __init__(self, magic: str | None, without: str = "") -> None:
        """`without`: a module that nobody foresees."""
        full = helper_pack.helper_pack()
        pieces = {
            form: {
                request: full.of(form, piece.names - {without}) if without in piece.names else piece
                for request, piece in pieces.items()
            }
            for form, pieces in full._pieces.items()
        }
        self._pack = HelperPack(pieces, full._modules)
        self._magic = magic
        self.trips: list[int] = []

    @asynccontextmanager
    async def open(self, name: str, node: Node) -> AsyncIterator[StreamLink]:
        async with LocalLinks(payload=Shipment(self._pack, self._magic)).open(name, node) as link:
            try:
                yield link
            finally:
                self.trips.append(link.round_trips)


@pytest.mark.parametrize("magic", [None, bootstrap.magic()], ids=["sources", "code"])
def test_what_is_foreseen_costs_one_trip(world: World, magic: str | None) -> None:
    links = InPieces(magic)
    world.links = links  # type: ignore[assignment]

    def trips(line: str) -> list[int]:
        links.trips.clear()
        code, shown = world.run(line)
        assert code == 0, shown
        return links.trips

    first = trips("sync-domain")
    assert trips("sync-domain") == [1] * len(first)
    world.das.repository.put_file(b"docroot/index.html", b"two")
    assert trips("sync-domain") == [1] * len(first)
    assert trips("sync-domain") == [1] * len(first)
    assert trips("list-instances") == [1] * len(first)
    assert (world.instance("web1") / "docroot" / "index.html").read_bytes() == b"two"


def test_deviation_that_nobody_foresaw_is_repaired_all_the_same(world: World) -> None:
    links = InPieces(bootstrap.magic())
    world.links = links  # type: ignore[assignment]
    assert world.run("sync-domain")[0] == 0
    changed = world.instance("web1") / "docroot" / "index.html"
    changed.write_bytes(b"somebody was here")
    code, shown = world.run("sync-domain")
    assert code == 0, shown
    assert changed.read_bytes() == b"one"


def test_a_module_that_is_asked_for_in_the_middle_of_a_large_delta_comes_behind_it(world: World) -> None:
    """A delta is cut into blocks: what the node asks for meanwhile must not be taken for a part of it."""
    links = InPieces(bootstrap.magic(), without="dasctl.remote.delta")
    world.links = links  # type: ignore[assignment]
    noise = random.Random(6)
    before = noise.randbytes(6 << 20)
    world.das.repository.put_file(b"docroot/app.war", before)
    assert world.run("sync-domain")[0] == 0
    after = before[: 1 << 20] + noise.randbytes(4 << 20) + before[1 << 20 :]
    world.das.repository.put_file(b"docroot/app.war", after)
    links.trips.clear()
    code, shown = world.run("sync-domain --timeout 5")
    assert code == 0, shown
    assert set(links.trips) == {2}
    assert (world.instance("web1") / "docroot" / "app.war").read_bytes() == after
