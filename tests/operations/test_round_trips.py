"""What commands cost, counted: connections, round trips, bytes."""

from __future__ import annotations

import random

import pytest

from dasctl.operations import conversation
from tests.scenarios.world import DEFINITION, World

ONE_NODE = DEFINITION.replace("web2: {{node: n2", "web2: {{node: n1").replace(
    "jobs1: {{node: n3", "jobs1: {{node: n1"
)
ONE_NODE = ONE_NODE.replace("8080", "-1")  # no port, so that they may live together
NOISE = random.Random(1).randbytes(200_000)  # does not shrink


def spent(world: World, line: str, *, code: int = 0) -> dict[str, tuple[int, int]]:
    """Node to (connections, round trips) of one command."""
    world.links.tallies.clear()
    ended, shown = world.run(line)
    assert ended == code, shown
    return {node: (tally.opened, tally.round_trips) for node, tally in world.links.tallies.items()}


def sent(world: World, line: str) -> dict[str, int]:
    """Node to bytes sent by one command."""
    spent(world, line)
    return {node: tally.bytes_sent for node, tally in world.links.tallies.items()}


def put(world: World, path: str, data: bytes) -> None:
    world.das.repository.put_file(path.encode(), data)


def synchronised(world: World) -> None:
    spent(world, "sync-domain")


def edited(world: World) -> None:
    synchronised(world)
    put(world, "docroot/index.html", b"two")


def with_new_area(world: World) -> None:
    synchronised(world)
    put(world, "lib/util.jar", b"jar")


def behind(world: World) -> None:
    """Every node has acknowledged a revision, and was then set back to the one before."""
    synchronised(world)
    for name in ("web1", "web2", "jobs1"):
        world.instance(name).rename(world.base / f"backup-{name}")
    synchronised(world)
    put(world, "docroot/index.html", b"two")
    synchronised(world)
    for name in ("web1", "web2", "jobs1"):
        world.instance(name).rename(world.base / f"newer-{name}")
        (world.base / f"backup-{name}").rename(world.instance(name))


def long_behind(world: World) -> None:
    """The same, and the DAS has not kept what the old revision looked like."""
    behind(world)
    world.das.history._parts = {
        digest: data for digest, data in world.das.history._parts.items() if digest in acknowledged(world)
    }


def acknowledged(world: World) -> set[str]:
    """The digests of all parts that instances confirmed last."""
    places = world.das.history.acknowledged(["web1", "web2", "jobs1"])
    return {digest for place in places.values() for _, digest in place.parts}


def damaged(world: World) -> None:
    synchronised(world)
    for name in ("web1", "web2", "jobs1"):
        (world.instance(name) / "docroot" / "index.html").write_text("by hand")


def wiped(world: World) -> None:
    synchronised(world)
    for node in ("n1", "n2", "n3"):
        world.wipe_node(node)


def renamed(world: World) -> None:
    synchronised(world)
    world.das.repository.remove(b"docroot/index.html")
    put(world, "docroot/home.html", b"one")


def nothing(world: World) -> None:
    pass


BUDGETS = [
    ("nothing is there yet: manifests, then contents", nothing, "sync-domain", (1, 2)),
    ("nothing to do", synchronised, "sync-domain", (1, 1)),
    ("one change", edited, "sync-domain", (1, 1)),
    ("an area that was not there before", with_new_area, "sync-domain", (1, 1)),
    ("a rename: the content is there", renamed, "sync-domain", (1, 1)),
    ("elsewhere in the chain: where it stands, then all at once", behind, "sync-domain", (1, 2)),
    ("elsewhere in a chain whose parts are forgotten: contents on demand", long_behind, "sync-domain", (1, 3)),
    ("wiped since: nothing stands, manifests, contents", wiped, "sync-domain", (1, 3)),
    ("a deviation: its content is asked for", damaged, "sync-domain", (1, 2)),
    ("a dry run with work", edited, "sync-domain --dry-run", (1, 1)),
    ("a dry run of a first synchronisation", nothing, "sync-domain --dry-run", (1, 1)),
    ("a part of it: contents on demand", edited, "sync-domain --only docroot", (1, 2)),
    ("by hash", synchronised, "sync-domain --criterion hash", (1, 1)),
    ("--full", synchronised, "sync-domain --full", (1, 1)),
    ("list-instances", synchronised, "list-instances", (1, 1)),
    ("list-clusters", synchronised, "list-clusters", (1, 1)),
    ("stop what does not run", synchronised, "stop-cluster web jobs", (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("prepare", "line", "budget"), [b[1:] for b in BUDGETS], ids=[b[0] for b in BUDGETS])
def test_a_command_costs_each_node(world, prepare, line, budget):
    prepare(world)
    assert spent(world, line) == {"n1": budget, "n2": budget, "n3": budget}


def test_commands_about_one_instance_visit_its_node_alone(world):
    synchronised(world)
    assert spent(world, "sync-instance web2") == {"n2": (1, 1)}
    assert spent(world, "list-instances web2") == {"n2": (1, 1)}
    assert spent(world, "delete-instance web2") == {"n2": (1, 1)}
    assert spent(world, "delete-server-config web1", code=1) == {"n1": (1, 1)}


def test_a_take_over_looks_first_and_then_synchronises(world):
    synchronised(world)
    put(world, "docroot/index.html", b"two")
    assert spent(world, "take-over web") == {"n1": (2, 3), "n2": (2, 3)}


def test_commands_that_need_no_node_visit_none(world):
    for line in ("history", "verify-domain", "list-nodes", "list-instances --nostatus", "create-cluster api"):
        assert spent(world, line) == {}, line


def test_a_start_synchronises_on_the_same_link(world):
    world.das.store.write((world.das.store.text or "").replace("exec ./serve ${http.port}", "exec sleep 600"))
    try:
        assert spent(world, "start-cluster web") == {"n1": (1, 3), "n2": (1, 3)}
        assert spent(world, "start-cluster web") == {"n1": (1, 2), "n2": (1, 2)}
        assert spent(world, "start-cluster web --sync none") == {"n1": (1, 1), "n2": (1, 1)}
    finally:
        assert spent(world, "stop-cluster web") == {"n1": (1, 1), "n2": (1, 1)}


class TestInstancesOfOneNode:
    """They share one link, and what is the same for all of them travels once."""

    @pytest.fixture
    def world(self, tmp_path):
        made = World(base=tmp_path, text=ONE_NODE)
        put(made, "applications/hello/app.py", b"print()")
        return made

    def test_share_one_link(self, world):
        assert spent(world, "sync-domain") == {"n1": (1, 2)}
        put(world, "docroot/index.html", b"two")
        assert spent(world, "sync-domain") == {"n1": (1, 1)}
        assert spent(world, "list-instances") == {"n1": (1, 1)}

    def test_get_a_content_once_when_all_are_new(self, world):
        put(world, "docroot/film.mp4", NOISE)
        assert len(NOISE) < sent(world, "sync-domain")["n1"] < len(NOISE) * 1.2
        for name in ("web1", "web2", "jobs1"):
            assert (world.instance(name) / "docroot" / "film.mp4").read_bytes() == NOISE

    def test_get_a_new_content_once(self, world):
        synchronised(world)
        put(world, "docroot/film.mp4", NOISE)
        assert len(NOISE) < sent(world, "sync-domain")["n1"] < len(NOISE) * 1.2
        for name in ("web1", "web2", "jobs1"):
            assert (world.instance(name) / "docroot" / "film.mp4").read_bytes() == NOISE

    def test_two_paths_with_one_content_cost_one(self, world):
        put(world, "docroot/film.mp4", NOISE)
        put(world, "docroot/copy.mp4", NOISE)
        assert sent(world, "sync-domain")["n1"] < len(NOISE) * 1.2

    def test_one_that_stands_elsewhere_does_not_harm_the_others(self, world):
        synchronised(world)
        world.instance("web2").rename(world.base / "lost")
        put(world, "docroot/film.mp4", NOISE)
        assert spent(world, "sync-domain") == {"n1": (1, 3)}
        for name in ("web1", "web2", "jobs1"):
            assert (world.instance(name) / "docroot" / "film.mp4").read_bytes() == NOISE


def test_nothing_to_do_costs_little_more_than_greeting(world):
    put(world, "docroot/film.mp4", NOISE)
    synchronised(world)
    assert all(size < 2000 for size in sent(world, "sync-domain").values())


def test_contents_come_unasked_and_are_dropped_where_nobody_needs_them(world):
    """The node has been set back, so the answer is where it stands; what came along must not confuse the link."""
    behind(world)
    put(world, "docroot/film.mp4", NOISE)
    assert spent(world, "sync-domain") == {"n1": (1, 2), "n2": (1, 2), "n3": (1, 2)}
    for name in ("web1", "web2", "jobs1"):
        assert (world.instance(name) / "docroot" / "film.mp4").read_bytes() == NOISE
        assert (world.instance(name) / "docroot" / "index.html").read_bytes() == b"two"
    assert spent(world, "sync-domain") == {"n1": (1, 1), "n2": (1, 1), "n3": (1, 1)}


def test_much_is_not_sent_unasked_and_what_counts_is_what_travels(world, monkeypatch):
    monkeypatch.setattr(conversation, "UNASKED_LIMIT", 100_000)
    synchronised(world)
    put(world, "docroot/text.txt", b"shrinks well\n" * 100_000)
    assert spent(world, "sync-domain") == {"n1": (1, 1), "n2": (1, 1), "n3": (1, 1)}
    put(world, "docroot/film.mp4", NOISE)
    assert spent(world, "sync-domain") == {"n1": (1, 2), "n2": (1, 2), "n3": (1, 2)}


def test_a_node_that_has_the_revision_already_needs_one_trip(world):
    """Its answer to the last command was lost."""
    edited(world)
    copy = world.das.copied("das")
    synchronised(world)
    world.das.history._acknowledged = copy.history._acknowledged
    assert spent(world, "sync-domain") == {"n1": (1, 1), "n2": (1, 1), "n3": (1, 1)}
