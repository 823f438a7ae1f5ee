"""Bringing files back: from what is there and what shall be there, what has to be moved, removed and touched.

What lives here: the plan. What must not: what shall be there (`taking_back.py`), files.

What no revision knows (excluded files, sockets, links that lead out) stays where it is, and keeps the folders that it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dasctl.core.moves import Touch, folders_above
from dasctl.remote.manifest import Entry, order

Tree = Mapping[bytes, Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """What turns one tree into the other. `puts` holds trees in the order of a walk: the first entry is where one is put.

    `unknown` are files that are there and in no revision: each may only be replaced by itself. `blocked` are folders that
    would have to give way, and hold such. `stays` are folders that would have to go, and hold such.
    """

    puts: tuple[tuple[Entry, ...], ...]
    removals: tuple[bytes, ...]
    touches: tuple[Touch, ...]
    unknown: tuple[Entry, ...] = ()
    blocked: tuple[bytes, ...] = ()
    stays: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.puts or self.removals or self.touches or self.unknown or self.blocked)

    @property
    def contents(self) -> dict[str, int]:
        """SHA-256 (hex) to size of all that is put."""
        return {
            entry.digest.decode("ascii"): entry.size for tree in self.puts for entry in tree if entry.kind == "f"
        }  # fmt: skip


def plan(
    current: Tree, wanted: Tree, on_disk: Mapping[bytes, bool], spared: Callable[[bytes, bool], bool]
) -> Restoring:
    """`current` is what a scan saw, `on_disk` all paths and whether each is a folder, excluded ones included; `spared` says
    whether a path is left alone where it is not wanted.
    """
    return _Planning(current, wanted, on_disk, spared).made()


class _Planning:
    def __init__(
        self,
        current: Tree,
        wanted: Tree,
        on_disk: Mapping[bytes, bool],
        spared: Callable[[bytes, bool], bool],
    ) -> None:
        self._current, self._wanted, self._on_disk = current, wanted, on_disk
        self._gone = {
            path
            for path, entry in current.items()
            if path not in wanted and not spared(path, entry.kind == "d")
        }
        self._in_the_way = {
            path
            for path, entry in current.items()
            if path in wanted and entry.kind == "d" != wanted[path].kind
        }
        # Folders that hold something that does not go: they cannot go as a whole.
        self._held = set(folders_above(path for path in on_disk if path not in self._gone))
        self._puts: list[tuple[Entry, ...]] = []
        self._touches: dict[bytes, Touch] = {}
        self._unknown: list[Entry] = []
        self._blocked: list[bytes] = []
        self._walked = sorted(wanted, key=order)

    def made(self) -> Restoring:
        self._put()
        removals, stays = self._removed()
        for path in (*(tree[0].path for tree in self._puts), *removals):
            self._keep_time_above(path)
        return Restoring(
            puts=tuple(self._puts), removals=removals, touches=tuple(self._touches.values()),
            unknown=tuple(self._unknown), blocked=tuple(self._blocked), stays=stays,
        )  # fmt: skip

    def _put(self) -> None:
        under: bytes | None = None
        for number, path in enumerate(self._walked):
            if under is not None and path.startswith(under):
                continue
            under = None
            entry, have = self._wanted[path], self._current.get(path)
            if have is None and path in self._on_disk:
                self._take_unknown(entry)
            elif have is None or have.kind != entry.kind:
                if path in self._in_the_way and path in self._held:
                    self._blocked.append(path)
                self._puts.append(tuple(self._from(number, path)))
                under = path + b"/"
            elif entry.kind != "d" and entry.digest != have.digest:
                self._puts.append((entry,))
            elif entry != have:
                self._touch(entry)

    def _take_unknown(self, entry: Entry) -> None:
        if entry.kind != "d":
            self._unknown.append(entry)
        elif self._on_disk[entry.path]:
            self._touch(entry)
        else:
            self._blocked.append(entry.path)

    def _from(self, number: int, path: bytes) -> Iterator[Entry]:
        """The wanted entry at `path`, and what is wanted in it."""
        yield self._wanted[path]
        inside = path + b"/"
        for below in self._walked[number + 1 :]:
            if not below.startswith(inside):
                return
            yield self._wanted[below]

    def _removed(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """What is removed, highest first and with all that is in it; and which folders have to stay."""
        removals: list[bytes] = []
        stays: list[bytes] = []
        replaced = {tree[0].path for tree in self._puts}
        for path in sorted(self._gone, key=order):
            above = folders_above([path])
            if any(folder in replaced for folder in above) or (removals and removals[-1] in above):
                continue
            if path in self._held:
                stays.append(path)
            else:
                removals.append(path)
        return tuple(removals), tuple(stays)

    def _touch(self, entry: Entry) -> None:
        mode = None if entry.kind == "l" else entry.mode
        self._touches[entry.path] = Touch(path=entry.path, mode=mode, mtime=entry.mtime)

    def _keep_time_above(self, path: bytes) -> None:
        """Of the folder in which something comes or goes."""
        folder = path.rpartition(b"/")[0]
        entry = self._wanted.get(folder) or self._current.get(folder)
        if entry is not None and entry.kind == "d" and folder not in self._touches:
            self._touch(entry)


def named(paths: Iterable[bytes], most: int = 5) -> str:
    """Some paths for a message: `a, b and 3 more`."""
    from dasctl.remote.paths import printable

    given = [printable(path) for path in paths]
    rest = len(given) - most
    return ", ".join(given[:most]) + (f" and {rest} more" if rest > 0 else "")
