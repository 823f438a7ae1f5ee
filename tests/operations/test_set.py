"""`set` where something fails: one revision, or nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from dasctl.errors import HistoryError
from dasctl.operations.set import set as set_values
from tests.scenarios.world import World


@dataclass(frozen=True)
class Full:
    """A history on a disk that is full from the next record on."""

    history: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.history, name)

    def record(self, *words: Any, **more: Any) -> Any:
        raise HistoryError("database or disk is full")


def test_what_cannot_be_recorded_is_not_changed(world: World) -> None:
    world.run("sync-domain")
    before, head = world.das.store.text, world.das.history.head()
    ctx = world.context("set")
    with pytest.raises(HistoryError):
        asyncio.run(
            set_values(replace(ctx, history=Full(ctx.history)), ["nodes.n1.port=23", "domain.property.x=1"])
        )
    assert (world.das.store.text, world.das.history.head()) == (before, head)
    outcome = asyncio.run(set_values(ctx, ["nodes.n1.port=23", "domain.property.x=1"]))
    assert head is not None and outcome.revision == head.number + 1
    assert (
        "port: 23" in (world.das.store.text or "") and len(world.das.history.revisions()) == outcome.revision
    )
