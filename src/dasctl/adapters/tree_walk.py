"""Walking one area of the repository: its lines in canonical order, and the files that have to be hashed.

What lives here: one walk over one tree. What must not: hashing, areas, when to walk again.

An unchanged file costs one stat, one look-up and five comparisons: its line comes ready from the index. Whatever else is
here is rare and may be slow.
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH115, PTH208

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dasctl.adapters.tree_hash import Moved
from dasctl.adapters.tree_index import IndexedFolder, Patterns, Record
from dasctl.core import areas
from dasctl.core.slices import ScanProblem
from dasctl.remote.manifest import Entry, encode

_HANDLES = 64  # folders in each other that are held open; deeper ones go by their path
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True, kw_only=True)
class Level:
    """A folder that the walk is in. `missed`: names whose record does not hold any more, or that have none."""

    path: bytes
    handle: (
        int | None
    )  # of the folder, for stat: it spares the kernel the way there, a fifth of the walk's time
    base: bytes  # before the names that stat is given: nothing where there is a handle, otherwise absolute, ends with /
    names: Iterator[bytes]
    seen: set[bytes]
    known: IndexedFolder
    left_out: list[bytes] = field(default_factory=list)
    missed: set[bytes] = field(default_factory=set)
    hits: int = 0


@dataclass(slots=True, kw_only=True)
class Wanted:
    """A file to be hashed: where its line belongs, and its stat."""

    place: int
    path: bytes
    seen: os.stat_result


@dataclass(slots=True, kw_only=True)
class Walked:
    """One area as it was seen. `lines` have gaps where `wanted` says; `folders` are the records that still hold."""

    lines: list[bytes] = field(default_factory=list)
    wanted: list[Wanted] = field(default_factory=list)
    folders: dict[bytes, IndexedFolder] = field(default_factory=dict)
    problems: list[ScanProblem] = field(default_factory=list)
    unreadable: list[tuple[bytes, OSError]] = field(default_factory=list)
    changed: bool = False  # the records differ from those that were known


class Walk:
    """One walk. `known`: the index's folders; with `believe` False their lines are not used."""

    def __init__(
        self, root: bytes, known: Mapping[bytes, IndexedFolder], ignore: Patterns | None, *, believe: bool
    ) -> None:
        self._root = root
        self._known = known
        self._ignore = ignore
        self._believe = believe
        self._found = Walked()

    def over(self, area: bytes, seen: os.stat_result) -> Walked:
        """Walk the folder `area`. Raises Moved when something went away under the walk's feet."""
        stack = self._entered(area, seen, 0)
        try:
            while stack:
                level = stack[-1]
                deeper = self._through(level, len(stack))
                if deeper is None:
                    self._leave(stack[-1])
                    _close(stack.pop())
                else:
                    stack.extend(deeper)
        finally:
            for level in stack:
                _close(level)
        return self._found

    def _through(self, level: Level, depth: int) -> list[Level] | None:
        """Take the folder's next names, up to one that is a folder itself; None at the end."""
        lines, known, base, look, handle = (
            self._found.lines, level.known.files, level.base, os.stat, level.handle,
        )  # fmt: skip
        believe, missing = self._believe, (0, 0, 0, 0, -1, b"")
        for name in level.names:
            try:
                seen = look(base + name, dir_fd=handle, follow_symlinks=False)
            except FileNotFoundError:
                raise Moved from None
            except OSError as error:
                self._found.unreadable.append((level.path + b"/" + name, error))
                continue
            mtime, ctime, size, inode, mode, line = known.get(name, missing)
            if (
                mode == seen.st_mode
                and mtime == seen.st_mtime_ns
                and ctime == seen.st_ctime_ns
                and size == seen.st_size
                and inode == seen.st_ino
                and believe
            ):
                lines.append(line)
                level.hits += 1
                continue
            deeper = self._other(level, name, seen, depth)
            if deeper:
                return deeper
        return None

    def _other(self, level: Level, name: bytes, seen: os.stat_result, depth: int) -> list[Level]:
        """Whatever is not an unchanged file; returns the folder to go into."""
        path, mode = level.path + b"/" + name, seen.st_mode
        level.missed.add(name)
        if areas.is_whole_domain(path) or self._is_left_out(level, name, path, stat.S_ISDIR(mode)):
            return []
        if stat.S_ISREG(mode):
            self._found.wanted.append(Wanted(place=len(self._found.lines), path=path, seen=seen))
            self._found.lines.append(b"")
        elif stat.S_ISDIR(mode):
            return self._entered(path, seen, depth)
        elif stat.S_ISLNK(mode):
            self._link(path, seen)
        else:
            self._found.problems.append(ScanProblem(path=path, message=areas.special_fault(mode)))
        return []

    def _is_left_out(self, level: Level, name: bytes, path: bytes, is_folder: bool) -> bool:
        """Judge by the patterns only what was not judged before: they are slow."""
        known = self._known if is_folder else level.known.files
        if self._ignore is None or (path if is_folder else name) in known:
            return False
        word = name + b"/" if is_folder else name
        if word not in level.known.left_out and not self._ignore.matches(path, is_folder):
            return False
        level.left_out.append(word)
        return True

    def _link(self, path: bytes, seen: os.stat_result) -> None:
        try:
            target = os.readlink(self._root + b"/" + path)
        except FileNotFoundError:
            raise Moved from None
        except OSError as error:
            self._found.unreadable.append((path, error))
            return
        fault = areas.link_fault(path, target)
        if fault:
            self._found.problems.append(ScanProblem(path=path, message=fault, refused=True))
        else:
            self._found.lines.append(encode([Entry(path, "l", 0o777, 0, seen.st_mtime_ns, target)]))

    def _entered(self, path: bytes, seen: os.stat_result, depth: int) -> list[Level]:
        base = self._root + b"/" + path + b"/"
        try:
            names = sorted(os.listdir(base))
        except (FileNotFoundError, NotADirectoryError):
            raise Moved from None
        except OSError as error:
            self._found.unreadable.append((path, error))
            return []
        mode = stat.S_IMODE(seen.st_mode)
        self._found.lines.append(b"d %o 0 %d - %s\0" % (mode, seen.st_mtime_ns, path))
        known = self._known.get(path)
        self._found.changed |= known is None
        handle = _opened(base) if depth < _HANDLES else None
        return [
            Level(
                path=path, handle=handle, base=base if handle is None else b"", names=iter(names), seen=set(names),
                known=known or IndexedFolder(),
            )
        ]  # fmt: skip

    def _leave(self, level: Level) -> None:
        known, kept = level.known, level.known.files
        if level.missed or level.hits != len(kept):
            kept = {
                name: record
                for name, record in kept.items()
                if name in level.seen and name not in level.missed
            }
        self._found.changed |= level.hits != len(known.files) or level.left_out != known.left_out
        self._found.folders[level.path] = IndexedFolder(files=kept, left_out=level.left_out)


def _opened(folder: bytes) -> int | None:
    try:
        return os.open(folder, _FOLDER)
    except OSError:
        return None  # by its path it is found, or missed, as it is then


def _close(level: Level) -> None:
    if level.handle is not None:
        os.close(level.handle)
        level.handle = None


def record_of(path: bytes, digest: bytes, seen: os.stat_result) -> Record:
    """What the index keeps of a file that was hashed."""
    mode = stat.S_IMODE(seen.st_mode)
    line = b"f %o %d %d %s %s\0" % (mode, seen.st_size, seen.st_mtime_ns, digest, path)
    return seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino, seen.st_mode, line


def holds(record: Record, seen: os.stat_result) -> bool:
    """Whether `record` is of the file as it was seen."""
    return record[:5] == (seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino, seen.st_mode)
