"""Real synchronisations with the helper in pieces: what is foreseen is one trip; nothing to do asks for nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dasctl.adapters import bootstrap, helper_pack
from dasctl.adapters.helper_pack import Shipment
from dasctl.adapters.link import StreamLink
from dasctl.adapters.local import LocalLinks
from dasctl.core.domain import Node
from tests.scenarios.world import World


class InPieces:
    """Links to real helpers on this machine; counts the round trips, and notes what was asked for."""

    def __init__(self, magic: str | None) -> None:
        self._pack = helper_pack.helper_pack()
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
