"""Files that change, or go, while they are being sent: nobody gets half of one and half of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dasctl.adapters.memory_repository import MemoryRepository
from tests.scenarios.world import World

BEFORE = b"before " * 100_000  # several pieces, so that a change can strike in the middle
AFTER = b"after! " * 100_000
FILE = b"docroot/busy.log"


class Busy(MemoryRepository):
    """A repository in which something happens while a file is read, so often as `times` says."""

    def __init__(self, of: MemoryRepository, strike: Callable[[MemoryRepository], None], times: int) -> None:
        super().__init__()
        self.__dict__.update(of.__dict__)
        self._strike = strike
        self._left = times

    def read(self, path: bytes, *, piece: int) -> Iterator[bytes]:
        pieces = super().read(path, piece=piece)
        yield next(pieces)
        if path == FILE and self._left:
            self._left -= 1
            self._strike(self)
            pieces = super().read(path, piece=piece)
            next(pieces)
        yield from pieces


def busy(world: World, strike: Callable[[MemoryRepository], None], times: int = 1) -> None:
    world.das.repository.put_file(FILE, BEFORE)
    world.das.repository = Busy(world.das.repository, strike, times)
    world.das.store.repository = world.das.repository
    world.das.objects._repository = world.das.repository


def rewritten(repository: MemoryRepository) -> None:
    repository.put_file(FILE, AFTER)


def test_a_file_that_changes_while_it_is_sent_is_sent_again(world):
    busy(world, rewritten)
    code, shown = world.run("sync-cluster web")
    assert code == 0, shown
    for name in ("web1", "web2"):
        assert (world.instance(name) / "docroot" / "busy.log").read_bytes() == AFTER
    assert "revision 1" in shown  # what was looked at first was never whole, so it is not in the history
    assert world.run("sync-cluster web")[1].startswith("unchanged")


def test_also_in_a_first_trip(world):
    assert world.run("sync-cluster web")[0] == 0
    busy(world, rewritten)
    code, shown = world.run("sync-cluster web")
    assert code == 0, shown
    for name in ("web1", "web2"):
        assert (world.instance(name) / "docroot" / "busy.log").read_bytes() == AFTER


def test_a_file_that_goes_while_it_is_sent_goes_there_too(world):
    def removed(repository: MemoryRepository) -> None:
        repository.remove(FILE)
        repository.put_file(b"docroot/other", b"other")

    busy(world, lambda repository: None, times=0)
    assert world.run("sync-cluster web")[0] == 0
    world.das.repository.put_file(FILE, BEFORE + b"more")
    original = world.das.repository.read

    def read(path: bytes, *, piece: int) -> Iterator[bytes]:
        if path == FILE and FILE in world.das.repository._things:
            removed(world.das.repository)
        return original(path, piece=piece)

    world.das.repository.read = read  # type: ignore[method-assign]
    code, shown = world.run("sync-cluster web")
    assert code == 0, shown
    for name in ("web1", "web2"):
        assert not (world.instance(name) / "docroot" / "busy.log").exists()
        assert (world.instance(name) / "docroot" / "other").read_bytes() == b"other"


def test_one_that_never_rests_is_told_and_harms_nothing_else(world):
    assert world.run("sync-cluster web")[0] == 0
    count = 0

    def always_new(repository: MemoryRepository) -> None:
        nonlocal count
        count += 1
        repository.put_file(FILE, b"%07d" % count * 100_000)

    busy(world, always_new, times=1000)
    world.das.repository.put_file(b"docroot/index.html", b"two")
    code, shown = world.run("sync-cluster web")
    assert code == 1, shown
    assert "docroot/busy.log" in shown
    assert "when they rest" in shown
    for name in ("web1", "web2"):
        assert (world.instance(name) / "docroot" / "index.html").read_bytes() == b"one"
        assert not (world.instance(name) / "docroot" / "busy.log").exists()
    world.das.repository._left = 0
    assert world.run("sync-cluster web")[0] == 0
    assert (world.instance("web1") / "docroot" / "index.html").read_bytes() == b"two"


def test_a_start_also_looks_again(world):
    world.das.store.write((world.das.store.text or "").replace("exec ./serve ${http.port}", "exec sleep 600"))
    busy(world, rewritten)
    try:
        code, shown = world.run("start-cluster web")
        assert code == 0, shown
        assert (world.instance("web1") / "docroot" / "busy.log").read_bytes() == AFTER
    finally:
        assert world.run("stop-cluster web")[0] == 0
