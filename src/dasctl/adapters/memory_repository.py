"""The repository in memory: for tests; the same rules as the folder's.

Paths are bytes below the domain's folder; folders on the way are made. Times grow by one second with each change,
unless they are given.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from dasctl.core import areas, exclusion
from dasctl.core.deployments import trees_of
from dasctl.core.domain import Criterion, Domain
from dasctl.core.patterns import Ignore
from dasctl.core.slices import Area, Scan, ScanProblem
from dasctl.errors import RepositoryError
from dasctl.remote import paths, words
from dasctl.remote.manifest import Entry, encode, order
from dasctl.remote.paths import printable

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thing:
    mode: int  # with the kind, as stat gives it
    mtime: int  # ns
    data: bytes = b""  # of a file its content, of a link its target


class MemoryRepository:
    """Begins with `config/domain.yaml` alone. `reads` counts the files that were read."""

    def __init__(self) -> None:
        self.reads = 0
        self._now = START_NS
        self._things: dict[bytes, _Thing] = {}
        self.put_file(areas.DEFINITION, b"format: 1\n")

    def put_file(self, path: bytes, data: bytes, *, mode: int = 0o644, mtime: int | None = None) -> None:
        self._put(path, stat.S_IFREG | mode, data, mtime)

    def put_folder(self, path: bytes, *, mode: int = 0o755, mtime: int | None = None) -> None:
        self._put(path, stat.S_IFDIR | mode, b"", mtime)

    def put_link(self, path: bytes, target: bytes, *, mtime: int | None = None) -> None:
        self._put(path, stat.S_IFLNK | 0o777, target, mtime)

    def put_pipe(self, path: bytes) -> None:
        self._put(path, stat.S_IFIFO | 0o644, b"", None)

    def touch(self, path: bytes, *, mode: int | None = None, mtime: int | None = None) -> None:
        """Give what is at `path` a mode (not a link) or a modtime; nothing there, nothing done."""
        thing = self._things.get(path)
        if thing is None:
            return
        if mode is not None and not stat.S_ISLNK(thing.mode):
            thing = replace(thing, mode=stat.S_IFMT(thing.mode) | mode)
        self._things[path] = replace(thing, mtime=thing.mtime if mtime is None else mtime)

    def remove(self, path: bytes) -> None:
        """Remove what is at `path`, with all that is in it."""
        below = path + b"/"
        self._things = {
            place: thing
            for place, thing in self._things.items()
            if place != path and not place.startswith(below)
        }

    def scan_ahead(self, domain: Domain, *, criterion: Criterion) -> None:
        """See `ports.Repository`. Nothing takes time here."""

    def scan(self, domain: Domain, *, criterion: Criterion) -> Scan:
        """See `ports.Repository`. Both criteria see the same: there is no index to believe."""
        found: dict[str, Area] = {}
        problems: list[ScanProblem] = []
        self._applications(domain, found, problems)
        ignored = self._ignored(domain)
        for path in trees_of(domain):
            if self._is_folder(path):
                if path not in ignored:
                    name = printable(path)
                    found[name] = Area.of(name, encode(list(self._entries(path, ignored, problems))))
            elif areas.is_application(path):
                problems.append(ScanProblem(path=path, message=areas.NO_APPLICATION))
        file = self._entry(areas.DEFINITION)
        return Scan(
            areas=found, problems=tuple(problems), domain_yaml=file.digest.decode("ascii"), domain_file=file
        )

    def read(self, path: bytes, *, piece: int) -> Iterator[bytes]:
        """See `ports.Repository`."""
        thing = self._things.get(path)
        if thing is None or not stat.S_ISREG(thing.mode):
            raise RepositoryError(f"{printable(path)} cannot be read: it is not there, or not a file")
        self.reads += 1
        for start in range(0, len(thing.data), piece):
            yield thing.data[start : start + piece]

    def kind_of(self, path: bytes) -> str | None:
        """See `ports.Repository`."""
        thing = self._things.get(path)
        return areas.kind_of_mode(thing.mode) if thing is not None else None

    def names(self) -> Iterator[tuple[bytes, bool]]:
        """See `ports.Repository`."""
        tops = tuple(area.encode() for area in words.AREAS)
        for path, thing in self._things.items():
            if path.split(b"/")[0] in tops:
                yield path, stat.S_ISDIR(thing.mode)

    def publish(self, definitions: Mapping[str, bytes], *, write: bool = True) -> dict[str, Entry]:
        """See `ports.Repository`."""
        published = {}
        for name, data in definitions.items():
            path = areas.DEFINITIONS + b"/" + paths.from_printable(name) + b".json"
            same = path in self._things and self._things[path].data == data
            if write and not same:
                self.put_file(path, data)
            mtime = self._things[path if write or same else areas.DEFINITION].mtime
            digest = sha256(data).hexdigest().encode("ascii")
            published[name] = Entry(path, "f", 0o644, len(data), mtime, digest)
        if not write:
            return published
        kept = {entry.path for entry in published.values()}
        below = areas.DEFINITIONS + b"/"
        for path in [path for path in self._things if path.startswith(below) and path not in kept]:
            del self._things[path]
        return published

    def _put(self, path: bytes, mode: int, data: bytes, mtime: int | None) -> None:
        paths.check(path)
        names = path.split(b"/")
        for end in range(1, len(names)):
            self._things.setdefault(
                b"/".join(names[:end]), _Thing(mode=stat.S_IFDIR | 0o755, mtime=self._now)
            )
        self._now += SECOND_NS
        self._things[path] = _Thing(mode=mode, mtime=self._now if mtime is None else mtime, data=data)

    def _is_folder(self, path: bytes) -> bool:
        """Whether there is an area; RepositoryError where something else is in its place."""
        thing = self._things.get(path)
        if thing is not None and not stat.S_ISDIR(thing.mode):
            raise RepositoryError(f"{printable(path)} is not a folder")
        return thing is not None

    def _applications(self, domain: Domain, found: dict[str, Area], problems: list[ScanProblem]) -> None:
        if not self._is_folder(areas.APPLICATIONS):
            return
        found["applications"] = Area.of("applications", encode([self._entry(areas.APPLICATIONS)]))
        named = {areas.application(name) for name in domain.applications}
        for path, thing in sorted(self._things.items()):
            direct = path.startswith(areas.APPLICATIONS + b"/") and path.count(b"/") == 1
            if direct and path not in named and not stat.S_ISDIR(thing.mode):
                problems.append(ScanProblem(path=path, message=areas.STRAY_APPLICATION))

    def _ignored(self, domain: Domain) -> set[bytes]:
        """All paths that the domain's patterns leave out, with what is below them."""
        patterns = exclusion.scan_patterns(domain)
        if not patterns:
            return set()
        ignore = Ignore(patterns)
        ignored: set[bytes] = set()
        for path in sorted(self._things, key=order):
            folder = path.rpartition(b"/")[0]
            if (path + b"/").startswith(
                areas.INTERNAL + b"/"
            ):  # archives of what was deployed: no pattern is about them
                continue
            if folder in ignored or ignore.matches(path, stat.S_ISDIR(self._things[path].mode)):
                ignored.add(path)
        return ignored

    def _entries(self, area: bytes, ignored: set[bytes], problems: list[ScanProblem]) -> Iterator[Entry]:
        below = area + b"/"
        for path in sorted((p for p in self._things if p == area or p.startswith(below)), key=order):
            if areas.is_whole_domain(path) or path in ignored:
                continue
            thing = self._things[path]
            fault = _fault(path, thing)
            if fault:
                refused = stat.S_ISLNK(thing.mode)
                problems.append(ScanProblem(path=path, message=fault, refused=refused))
            else:
                yield self._entry(path)

    def _entry(self, path: bytes) -> Entry:
        thing = self._things[path]
        mode = stat.S_IMODE(thing.mode)
        if stat.S_ISREG(thing.mode):
            digest = sha256(thing.data).hexdigest().encode("ascii")
            return Entry(path, "f", mode, len(thing.data), thing.mtime, digest)
        if stat.S_ISLNK(thing.mode):
            return Entry(path, "l", 0o777, 0, thing.mtime, thing.data)
        return Entry(path, "d", mode, 0, thing.mtime, b"-")


def _fault(path: bytes, thing: _Thing) -> str:
    if stat.S_ISLNK(thing.mode):
        return areas.link_fault(path, thing.data)
    if stat.S_ISREG(thing.mode) or stat.S_ISDIR(thing.mode):
        return ""
    return areas.special_fault(thing.mode)
