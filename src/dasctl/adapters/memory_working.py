"""Changing the files of a repository in memory, for tests: made on a disk for a while, then taken in, all or nothing.

A change that `before` interrupts is finished by the store's next lock, as on a disk.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dasctl.adapters.memory_repository import MemoryRepository
from dasctl.adapters.memory_store import MemoryStore
from dasctl.adapters.tree_writing import write_tree
from dasctl.core import areas, moves
from dasctl.core.moves import Move, Touch
from dasctl.errors import OperationFailed
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import PathError

Change = Callable[[], None]


class MemoryWorking:
    """Fits ports.Working. `store`'s text follows `config/domain.yaml`."""

    def __init__(
        self,
        repository: MemoryRepository,
        store: MemoryStore | None = None,
        *,
        before: Callable[[str], None] = lambda operation: None,
    ) -> None:
        self._repository = repository
        self._store = store
        self._before = before
        self._left: list[Change] = []
        if store is not None:
            store.finish = self.finish

    @contextmanager
    def making(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="dasctl-making-") as folder:
            yield Path(folder)

    def put(self, moves: Sequence[Move], touches: Sequence[Touch] = ()) -> None:
        """See `ports.Working`."""
        self.finish()
        self._check(moves, touches)
        self._before("read what is staged")
        self._left = [self._change(move) for move in moves]
        self._left += [self._touch(touch) for touch in sorted(touches, key=lambda touch: touch.path)]
        self._carry_out(self._before)

    def write(self, at: Path, entries: Sequence[Entry], content: Callable[[str], Iterable[bytes]]) -> None:
        """See `ports.Working`."""
        write_tree(at, entries, content)

    def finish(self) -> None:
        """Do what an interrupted change left."""
        self._carry_out(lambda operation: None)

    def _carry_out(self, before: Callable[[str], None]) -> None:
        while self._left:
            before("change")
            self._left[0]()
            del self._left[0]

    def _check(self, wanted: Sequence[Move], touches: Sequence[Touch]) -> None:
        try:
            moves.check(wanted, touches)
        except PathError as error:
            raise OperationFailed(f"{error}: nothing has been changed") from error
        for folder in moves.folders_above(move.to for move in wanted):
            if self._repository.kind_of(folder) not in (None, "d"):
                raise OperationFailed(f"{folder!r} is no folder: nothing has been changed")

    def _change(self, move: Move) -> Change:
        things = dict(_things(move.to, move.staged)) if move.staged is not None else {}

        def change() -> None:
            self._repository.remove(move.to)
            for path, (mode, mtime, data) in things.items():
                self._take(path, mode, mtime, data)

        return change

    def _take(self, path: bytes, mode: int, mtime: int, data: bytes) -> None:
        if stat.S_ISDIR(mode):
            self._repository.put_folder(path, mode=stat.S_IMODE(mode), mtime=mtime)
        elif stat.S_ISLNK(mode):
            self._repository.put_link(path, data, mtime=mtime)
        else:
            self._repository.put_file(path, data, mode=stat.S_IMODE(mode), mtime=mtime)
        if path == areas.DEFINITION and self._store is not None:
            self._store.text = data.decode()

    def _touch(self, touch: Touch) -> Change:
        return lambda: self._repository.touch(touch.path, mode=touch.mode, mtime=touch.mtime)


def _things(to: bytes, staged: Path) -> Iterator[tuple[bytes, tuple[int, int, bytes]]]:
    """(path, (mode, modtime, content)) of what is staged; a folder before what is in it."""
    seen = staged.lstat()
    if stat.S_ISDIR(seen.st_mode):
        yield to, (seen.st_mode, seen.st_mtime_ns, b"")
        for inside in sorted(staged.iterdir()):
            yield from _things(to + b"/" + os.fsencode(inside.name), inside)
    elif stat.S_ISLNK(seen.st_mode):
        yield to, (seen.st_mode, seen.st_mtime_ns, os.fsencode(staged.readlink()))
    else:
        yield to, (seen.st_mode, seen.st_mtime_ns, staged.read_bytes())
