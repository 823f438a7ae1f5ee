"""What instances confirmed is written for many at once, and never lost but by a kill."""

from __future__ import annotations

import asyncio

import pytest

from dasctl.adapters.memory_history import MemoryHistory
from dasctl.core.stamps import Acknowledged, Standing
from dasctl.errors import HistoryError
from dasctl.operations import acknowledging
from dasctl.operations.acknowledging import Acknowledging

PLACE = Standing(revision=1, digest="d")


def confirmed(name: str) -> dict[str, Acknowledged]:
    return {name: Acknowledged(standing=PLACE, parts=(("lib", "p"),), when=1.0, node="n1")}


class Counted(MemoryHistory):
    """Counts what is written; fails so often as `failures` says."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.writes: list[list[str]] = []
        self.failures = failures

    def acknowledge(self, confirmed, parts) -> None:  # type: ignore[no-untyped-def]
        if self.failures:
            self.failures -= 1
            raise HistoryError("no room")
        self.writes.append(sorted(confirmed))
        super().acknowledge(confirmed, parts)


def test_those_who_finish_together_are_one_write():
    history = Counted()

    async def run() -> None:
        gathered = Acknowledging(history)
        for name in ("a", "b", "c"):
            gathered.add(confirmed(name), {"p": b""})
        assert history.writes == []
        gathered.write()
        gathered.write()

    asyncio.run(run())
    assert history.writes == [["a", "b", "c"]]
    assert set(history.acknowledged(["a", "b", "c"])) == {"a", "b", "c"}


def test_the_first_ones_do_not_wait_for_the_last(monkeypatch):
    monkeypatch.setattr(acknowledging, "GATHER_S", 0.01)
    history = Counted()

    async def run() -> None:
        gathered = Acknowledging(history)
        gathered.add(confirmed("a"), {})
        while not history.writes:  # noqa: ASYNC110 (it has no event to wait for)
            await asyncio.sleep(0.005)
        gathered.add(confirmed("b"), {})
        gathered.write()

    asyncio.run(run())
    assert history.writes == [["a"], ["b"]]


def test_what_could_not_be_written_is_told_at_the_end(monkeypatch):
    monkeypatch.setattr(acknowledging, "GATHER_S", 0.0)
    history = Counted(failures=2)

    async def run() -> None:
        gathered = Acknowledging(history)
        gathered.add(confirmed("a"), {})
        while history.failures > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        with pytest.raises(HistoryError):
            gathered.write()
        gathered.write()

    asyncio.run(run())
    assert history.writes == [["a"]]


def test_a_run_whose_history_cannot_be_written_says_so(world, monkeypatch):
    def full(confirmed: object, parts: object) -> None:
        raise HistoryError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(world.das.history, "acknowledge", full)
        code, shown = world.run("sync-domain")
    assert code == 1
    assert "no room" in shown
    assert world.run("sync-domain")[0] == 0
    assert set(world.das.history.acknowledged(["jobs1", "web1", "web2"])) == {"jobs1", "web1", "web2"}
