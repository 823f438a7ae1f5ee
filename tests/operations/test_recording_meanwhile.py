"""Nodes look at what they have while a revision is being recorded, and none of them commits before it is."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dasctl.core.stamps import Revision
from dasctl.errors import HistoryError
from dasctl.operations import recording
from tests.operations.test_round_trips import edited, spent
from tests.scenarios.world import World

NAMES = ("web1", "web2", "jobs1")
PAGE = "docroot/index.html"
FULL = HistoryError("contents cannot be kept in .dasctl/objects: No space left on device")


def pages(world: World) -> list[bytes | None]:
    """The page as each instance has it."""
    files = [world.instance(name) / PAGE for name in NAMES]
    return [file.read_bytes() if file.exists() else None for file in files]


def before(world: World, monkeypatch: pytest.MonkeyPatch, step: str, act: Callable[[], None]) -> None:
    """Let `act` happen before each `keep` of objects, or `record` of the history."""
    owner = world.das.objects if step == "keep" else world.das.history
    real = getattr(owner, step)

    def first(*values, **more):
        act()
        return real(*values, **more)

    monkeypatch.setattr(owner, step, first)


def asked(world: World) -> bool:
    """All nodes have got the request: an instance is locked before it is compared."""
    return all((world.instance(name) / ".dasctl" / "lock").exists() for name in NAMES)


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def revisions(world: World) -> int:
    return len(world.das.history.revisions())


def test_nodes_are_asked_while_contents_are_kept(world, monkeypatch):
    seen = []

    def look() -> None:
        wait_for(lambda: asked(world))
        seen.append((revisions(world), pages(world)))

    before(world, monkeypatch, "keep", look)
    assert spent(world, "sync-domain") == dict.fromkeys(("n1", "n2", "n3"), (1, 2))
    assert seen == [(0, [None, None, None])]
    assert pages(world) == [b"one"] * 3
    assert revisions(world) == 1


@pytest.mark.parametrize("step", ["keep", "record"])
def test_what_is_new_goes_along_with_the_request_all_the_same(world, monkeypatch, step):
    edited(world)
    seen = []
    before(world, monkeypatch, step, lambda: seen.append(time.sleep(0.2) or pages(world)))
    assert spent(world, "sync-domain") == dict.fromkeys(("n1", "n2", "n3"), (1, 1))
    assert seen == [[b"one"] * 3]
    assert pages(world) == [b"two"] * 3
    assert world.run("sync-domain")[1].startswith("unchanged")


@pytest.mark.parametrize("step", ["keep", "record"])
@pytest.mark.parametrize("situation", [lambda world: None, edited], ids=["first", "edited"])
@pytest.mark.parametrize("together", ["", " --together"])
def test_what_cannot_be_recorded_reaches_nobody(world, monkeypatch, step, situation, together):
    situation(world)
    had, numbers = pages(world), revisions(world)

    def fail() -> None:
        wait_for(lambda: asked(world))
        raise FULL

    with monkeypatch.context() as patched:
        before(world, patched, step, fail)
        code, shown = world.run("sync-domain" + together)
    assert code != 0
    assert "No space left" in shown
    assert pages(world) == had
    assert revisions(world) == numbers
    assert world.run("sync-domain")[0] == 0
    assert pages(world) == [world.das.repository._things[PAGE.encode()].data] * 3
    assert revisions(world) == numbers + 1


def test_what_becomes_another_revision_reaches_nobody(world, monkeypatch):
    """Whoever changes the history without the domain's lock."""
    real = world.das.history.foreseen

    def foreseen(revision: Revision) -> Revision:
        made = real(revision)
        world.das.history._next = made.number + 5
        return made

    with monkeypatch.context() as patched:
        patched.setattr(world.das.history, "foreseen", foreseen)
        code, shown = world.run("sync-domain")
    assert code != 0
    assert "changed by somebody else" in shown
    assert pages(world) == [None] * 3
    assert world.run("sync-domain")[0] == 0
    assert pages(world) == [b"one"] * 3


@pytest.mark.parametrize("situation", [lambda world: None, edited], ids=["first", "edited"])
def test_a_file_that_changes_before_it_is_kept_is_looked_at_again(world, monkeypatch, situation):
    situation(world)
    numbers, changes = revisions(world), iter([b"three"])

    def change() -> None:
        for data in changes:
            wait_for(lambda: asked(world))
            world.das.repository.put_file(PAGE.encode(), data)

    before(world, monkeypatch, "keep", change)
    assert world.run("sync-domain")[0] == 0
    assert pages(world) == [b"three"] * 3
    assert revisions(world) == numbers + 1


def test_one_that_never_rests_is_named(world, monkeypatch):
    chance = random.Random(1)
    before(
        world, monkeypatch, "keep",
        lambda: world.das.repository.put_file(PAGE.encode(), chance.randbytes(9)),
    )  # fmt: skip
    code, shown = world.run("sync-domain")
    assert code != 0
    assert "changed each time" in shown
    assert PAGE in shown
    assert pages(world) == [None] * 3
    assert revisions(world) == 0


def test_it_is_recorded_also_where_no_node_can_be_reached(world):
    for node in ("n1", "n2", "n3"):
        world.away(node)
    assert world.run("sync-domain")[0] != 0
    assert revisions(world) == 1


def test_who_does_not_ask_for_it_gets_what_is_recorded(world):
    now = recording.current(world.context("start-domain"))
    assert now.record is None
    assert world.das.history.head() == now.revision
    ahead = recording.current(world.context("sync-domain"), ahead=True)
    assert ahead.record is None
    assert ahead.revision == now.revision


def test_a_dry_run_records_nothing(world, tmp_path: Path):
    assert world.run("sync-domain --dry-run")[0] == 0
    assert revisions(world) == 0
    assert world.das.objects.kept == {}
