"""Going back after random histories, and killed at any operation: one of two states, and nothing in between."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dasctl.adapters.store import YamlStore
from dasctl.adapters.working import FolderWorking
from dasctl.errors import OperationFailed
from dasctl.operations.rollback import rollback
from tests.operations.folder_shop import TEXT, Seen, Shop, changed_everywhere


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    umask = os.umask(0o022)
    yield Shop(tmp_path / "shop")
    os.umask(umask)


# Interrupted.


def test_a_kill_at_any_operation_ends_in_one_of_the_two_states(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    umask = os.umask(0o022)
    try:
        for number in range(0, 200, 2):
            shop = Shop(tmp_path / str(number))
            shop.record()
            then = shop.seen()
            changed_everywhere(shop)
            shop.record()
            now = shop.seen()
            left = [number]

            def before(operation: str, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed

            try:
                ctx = replace(shop.ctx(), working=FolderWorking(shop.root, before=before))
                asyncio.run(rollback(ctx, to=1, no_apply=True))
            except Killed:
                with YamlStore(shop.root).domain_locked("next", wait_s=0):
                    assert shop.seen() in (then, now), number
                continue
            break
        assert number > 10
        assert shop.seen() == then
    finally:
        os.umask(umask)


# Random histories.

NAMES = [
    b"a",
    b"b",
    b"a.tmp",
    b"odd \xff",
    b"x\ny",
    b"deep/a",
    b"deep/b",
    b"deep/er/c",
    b"-",
    b"deep/er.tmp/d",
]
TOPS = [b"docroot", b"lib", b"config", b"config/web-config", b"applications/hello", b"applications/both"]


class Chaos:
    """Random edits of a domain's files."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop, self.chance = shop, random.Random(seed)

    def step(self) -> None:
        self.chance.choice(self._steps())()

    def _steps(self) -> list[Callable[[], None]]:
        return [
            self._write,
            self._write,
            self._write,
            self._remove,
            self._touch,
            self._chmod,
            self._link,
            self._swap,
        ]

    def _path(self) -> bytes:
        return (
            os.fsencode(self.shop.root) + b"/" + self.chance.choice(TOPS) + b"/" + self.chance.choice(NAMES)
        )

    def _existing(self) -> bytes | None:
        found = [path for path in self.shop.seen() if b"/" in path and path != b"config/domain.yaml"]
        return os.fsencode(self.shop.root) + b"/" + self.chance.choice(sorted(found)) if found else None

    def _clear(self, path: bytes) -> None:
        """Nothing is at `path` then, and its folder is there."""
        import shutil

        folder = os.path.dirname(path)
        while not os.path.isdir(folder) or os.path.islink(folder):
            if os.path.lexists(folder):
                os.unlink(folder)
            os.makedirs(os.path.dirname(folder), exist_ok=True)
            if not os.path.lexists(folder):
                os.mkdir(folder)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)

    def _write(self) -> None:
        path = self._path()
        try:
            self._clear(path)
        except (NotADirectoryError, FileExistsError):
            return
        with open(path, "wb") as file:
            file.write(self.chance.randbytes(self.chance.choice((0, 3, 5000))))

    def _remove(self) -> None:
        path = self._existing()
        if path is not None and path.count(b"/") > os.fsencode(self.shop.root).count(b"/") + 2:
            self._clear(path)

    def _touch(self) -> None:
        path = self._existing()
        if path is not None:
            moment = self.chance.randrange(10**18, 2 * 10**18)
            os.utime(path, ns=(moment, moment), follow_symlinks=False)

    def _chmod(self) -> None:
        path = self._existing()
        if path is not None and not os.path.islink(path):
            os.chmod(path, self.chance.choice((0o755, 0o700, 0o750)))

    def _link(self) -> None:
        path = self._path()
        try:
            self._clear(path)
        except (NotADirectoryError, FileExistsError):
            return
        os.symlink(self.chance.choice((b"a", b"b")), path)

    def _swap(self) -> None:
        self.shop.write(
            "config/domain.yaml", TEXT.replace("8080", str(self.chance.randrange(1000, 9999))).encode()
        )


def without_excluded(seen: Seen) -> Seen:
    return {
        path: now
        for path, now in seen.items()
        if not any(name.endswith(b".tmp") for name in path.split(b"/"))
    }


@pytest.mark.parametrize("seed", range(6))
def test_random_histories(shop: Shop, seed: int) -> None:
    chaos = Chaos(shop, seed)
    states: dict[int, Seen] = {shop.record(): shop.seen()}
    for _ in range(12):
        for _ in range(chaos.chance.randrange(1, 6)):
            chaos.step()
        number = shop.record()
        states[number] = shop.seen()
        to = chaos.chance.choice(sorted(states))
        try:
            outcome = shop.rollback(to)
        except OperationFailed as error:
            assert "would be lost" in error.message, error.message
            continue
        kept = shop.seen()
        stays = [line.removesuffix(" stays: it holds what is in no revision") for line in outcome.warnings]
        got, wanted = without_excluded(kept), without_excluded(states[to])
        for folder in [path for path in got if os.fsdecode(path) in stays]:
            got.pop(folder)  # it holds what is excluded
        assert got == wanted, (seed, to)
        assert outcome.revision is not None
        states[outcome.revision] = shop.seen()
