"""Objects and revisions: what is recorded is kept, what nobody needs goes, and nothing to do means no work."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from dasctl.adapters.memory_objects import MemoryObjects
from dasctl.operations.keeping import needed
from dasctl.operations.recording import current, slices_of
from tests.scenarios.world import World


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Counting(MemoryObjects):
    """Says what it was asked to keep."""

    def __init__(self, of: MemoryObjects) -> None:
        self.__dict__.update(of.__dict__)
        self.asked: list[str] = []

    def keep(self, contents, *, replacing=()):  # type: ignore[no-untyped-def]
        self.asked += contents
        return super().keep(contents, replacing=replacing)

    def collect(self, needed):  # type: ignore[no-untyped-def]
        self.asked.append("collect")
        return super().collect(needed)


@pytest.fixture
def objects(world: World) -> Iterator[Counting]:
    world.das.objects = Counting(world.das.objects)
    yield world.das.objects


def put(world: World, data: bytes, path: bytes = b"docroot/index.html") -> None:
    world.das.repository.put_file(path, data)


def test_what_is_recorded_is_kept(world: World, objects: Counting) -> None:
    put(world, b"first")
    current(world.context("sync-domain"))
    assert sha(b"first") in objects.kept
    assert any(b'"web1"' in data for data in objects.kept.values())  # its own part of domain.yaml


def test_only_what_is_new_is_looked_at(world: World, objects: Counting) -> None:
    put(world, b"first")
    put(world, b"same", b"docroot/same")
    current(world.context("sync-domain"))
    objects.asked.clear()
    put(world, b"second")
    now = current(world.context("sync-domain"))
    assert set(objects.asked) == {sha(b"second"), "collect", *now.slices.definitions}


def test_nothing_to_do_means_no_work(world: World, objects: Counting) -> None:
    put(world, b"first")
    current(world.context("sync-domain"))
    objects.asked.clear()
    current(world.context("sync-domain"))
    assert objects.asked == []


def test_a_dry_run_keeps_nothing(world: World, objects: Counting) -> None:
    put(world, b"first")
    current(world.context("sync-domain"), record=False, publish=False)
    assert objects.asked == []


def test_what_no_kept_revision_needs_goes(world: World, objects: Counting) -> None:
    text = world.das.store.text or ""
    world.das.store.write(text.replace("  name: shop\n", "  name: shop\n  revisions: 2\n", 1))
    for data in (b"first", b"second", b"third"):
        put(world, data)
        current(world.context("sync-domain"))
    assert sha(b"first") not in objects.kept
    assert {sha(b"second"), sha(b"third")} <= set(objects.kept)


def test_what_an_instance_has_is_needed(world: World) -> None:
    text = world.das.store.text or ""
    world.das.store.write(text.replace("  name: shop\n", "  name: shop\n  revisions: 1\n", 1))
    put(world, b"first")
    assert world.run("sync-instance web1")[0] == 0
    for data in (b"second", b"third"):
        put(world, data)
        current(world.context("sync-instance web2"))
    assert sha(b"first") in world.das.objects.kept
    assert sha(b"second") not in world.das.objects.kept
    ctx = world.context("sync-domain")
    found = slices_of(ctx, ctx.store.load(), criterion="modtime")
    wanted = set(needed(ctx, found))
    assert {sha(b"first"), sha(b"third"), *found.definitions} <= wanted
