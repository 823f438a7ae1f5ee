"""Going back for one instance after random deployments: the others keep what they have, whatever was deployed meanwhile."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.operations.test_applications import entry, has, said, zipped
from tests.scenarios.world import World

ALL = ("web1", "web2")


def words(world: World, chance: random.Random, war: Path, number: int) -> str:
    """A command that changes what somebody has of `shop`."""
    target = chance.choice(["web", "web1", "web2"])
    known = entry(world)
    if known is None:
        return f"deploy {war} --target {target}"
    versions = sorted({known.version or "1", *known.versions.values()})
    return chance.choice([
        f"redeploy {war}",
        f"redeploy {war} --target {target}",
        f"deploy {war} --target {target} --name shop:v{number}",
        f"deploy {war} --name shop:{chance.choice(versions)} --force",
        f"enable shop:{chance.choice(versions)} --target {target}",
        f"disable shop --target {target}",
        "rollback-application shop",
        f"undeploy shop --target {target}",
    ])  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_one_goes_back_and_the_others_stay(world: World, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    war = tmp_path / "shop.war"
    said(world, "sync-cluster web")
    had: dict[int, dict[str, dict[str, bytes]]] = {}
    for number in range(10):
        if chance.random() < 0.7:
            zipped(war, {"app.py": chance.randbytes(8)})
        elif not war.exists():
            continue
        world.run(words(world, chance, war, number))  # some are refused, and change nothing
        head = world.das.history.head()
        assert head is not None
        had[head.number] = {name: has(world, name) for name in ALL}
        if chance.random() < 0.5:
            one, to = chance.choice(ALL), chance.choice(sorted(had))
            before = {name: has(world, name) for name in ALL}
            code, shown = world.run(f"rollback --to {to} {one}")
            assert code == 0, shown
            for name in ALL:
                if name != one:
                    assert has(world, name) == before[name], (seed, number, shown)
            if "not taken back" not in shown:
                assert has(world, one) == had[to][one], (seed, number, to, shown)
            assert world.run("verify-domain")[0] == 0
            head = world.das.history.head()
            assert head is not None
            had[head.number] = {name: has(world, name) for name in ALL}
