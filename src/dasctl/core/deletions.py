"""Deletions that are worth a question: most of an instance's files, or all that an area had.

What lives here: what an instance would lose, by the parts that it confirmed and those that it would get. What must not:
asking (`operations/consenting.py`), what only the node can see (its guard asks for the same by itself).

A file whose content comes back at another path of the instance has moved: it is not lost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dasctl.core.exclusion import OWN_PART
from dasctl.core.slices import Part
from dasctl.core.targets import fold
from dasctl.remote.manifest import trimmed

MANY = 100  # files: fewer may go without a question, however few there are
_OWN = OWN_PART.encode()

Lines = frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What one instance would lose: `deleted` of its `files`, and `areas` of which nothing would be left.

    `moved`: further files that go from one path and come back at another.
    """

    files: int
    deleted: int
    areas: tuple[str, ...] = ()
    moved: int = 0

    @property
    def is_mass(self) -> bool:
        """Whether somebody has to be asked."""
        return bool(self.areas) or _is_most(self.deleted, self.files)

    @property
    def looks_like_it(self) -> bool:
        """Whether it is not, though so many files go from their paths that the node could take it for one."""
        return not self.is_mass and _is_most(self.deleted + self.moved, self.files)

    def __str__(self) -> str:
        gone = f" (all of {', '.join(self.areas)})" if self.areas else ""
        return f"{self.deleted:,} of {self.files:,} files would be deleted{gone}"


@dataclass(kw_only=True)
class Losses:
    """What instances would lose. Pairs of parts are compared once for all of them. `kept_part` finds old parts by digest."""

    kept_part: Callable[[str], bytes | None]
    _pairs: dict[tuple[str, str | None], tuple[Lines, Lines]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def of(
        self,
        old: Mapping[str, str],
        new: Sequence[Part],
        *,
        deployed: Iterable[str],
        chosen: Callable[[bytes], bool] = lambda path: True,
    ) -> Loss | None:
        """The loss of an instance that has the parts `old` (name to digest) and is to get `new`; None: it loses nothing.

        `deployed` names the applications' areas that it shall have: one that is gone from there was not undeployed.
        `chosen` says which paths would be touched at all. What is not known any more of old parts is not counted.
        """
        wanted = {part.name: part for part in new}
        gone: dict[str, Lines] = {}
        come: set[bytes] = set()
        for name in {*old, *wanted}:
            if old.get(name) != (wanted[name].digest if name in wanted else None):
                gone[name], added = self._pair(old.get(name), wanted.get(name))
                come |= added
        lost = {name: [line for line in lines if chosen(_path(line))] for name, lines in gone.items()}
        if not any(lost.values()):
            return None
        return self._judged(old, wanted, lost, come, {*deployed, "config", "lib", "docroot"})

    def _judged(
        self,
        old: Mapping[str, str],
        wanted: Mapping[str, Part],
        lost: Mapping[str, list[bytes]],
        come: Iterable[bytes],
        areas: Iterable[str],
    ) -> Loss:
        spare = Counter(_content(line) for line in come)
        really: Counter[str] = Counter()
        moved = 0
        for name, lines in lost.items():
            for line in lines:
                content = _content(line)
                if spare[content] > 0:
                    spare[content] -= 1
                    moved += 1
                else:
                    really[name] += 1
        emptied = [name for name in sorted(areas) if really[name] and self._is_emptied(name, wanted)]
        files = sum(self._count(digest) for digest in old.values())
        return Loss(files=files, deleted=really.total(), areas=tuple(emptied), moved=moved)

    def _is_emptied(self, name: str, wanted: Mapping[str, Part]) -> bool:
        part = wanted.get(name)
        return part is None or not any(_path(line) != _OWN for line in _lines(part.data))

    def _pair(self, old: str | None, new: Part | None) -> tuple[Lines, Lines]:
        """The files of which the path is gone, and those of which the path is new."""
        key = old or "", new.digest if new is not None else None
        if key not in self._pairs:
            had = (self.kept_part(old) if old is not None else None) or b""
            has = new.data if new is not None else b""
            start, had_end, has_end = trimmed(had, has)
            before, after = _lines(had[start:had_end]), _lines(has[start:has_end])
            gone, come = before - after, after - before
            there, was = {_path(line) for line in come}, {_path(line) for line in gone}
            self._pairs[key] = (
                frozenset(line for line in gone if _path(line) not in there and _path(line) != _OWN),
                frozenset(line for line in come if _path(line) not in was),
            )
        return self._pairs[key]

    def _count(self, digest: str) -> int:
        if digest not in self._counts:
            self._counts[digest] = len(_lines(self.kept_part(digest) or b""))
        return self._counts[digest]


def chosen_by(
    only: Sequence[str] | None, exclude: Sequence[str] | None, keep: Sequence[str]
) -> Callable[[bytes], bool]:
    """Whether a synchronisation with these regular expressions (docs/protocol.md) may delete a path at all."""
    wanted = None if only is None else [re.compile(text) for text in only]
    spared = [re.compile(text) for text in (*(exclude or ()), *keep)]
    if wanted is None and not spared:
        return lambda path: True

    def is_chosen(path: bytes) -> bool:
        text = path.decode("latin-1")
        if wanted is not None and not any(regex.search(text) for regex in wanted):
            return False
        return not any(regex.search(text) for regex in spared)

    return is_chosen


def told(losses: Mapping[str, Loss]) -> tuple[str, ...]:
    """A line for each group of instances with the same loss: `web[1-2]: 1,900 of 2,000 files would be deleted`."""
    groups: dict[str, list[str]] = {}
    for instance, loss in losses.items():
        groups.setdefault(str(loss), []).append(instance)
    return tuple(f"{fold(instances)}: {text}" for text, instances in groups.items())


def _is_most(deleted: int, files: int) -> bool:
    return deleted > MANY and 2 * deleted > files


def _lines(data: bytes) -> Lines:
    """The lines of files and links."""
    return frozenset(line for line in data.split(b"\0") if line[:1] not in (b"d", b""))


def _path(line: bytes) -> bytes:
    return line.split(b" ", 5)[5]


def _content(line: bytes) -> bytes:
    return line.split(b" ", 5)[4]
