"""One scan of the repository: its areas in order, each walked, what is new hashed, the index renewed.

What lives here: the order of a scan. What must not: the walk (`tree_walk.py`), hashing (`tree_hash.py`), the index
(`tree_index.py`), what is whose (`core/slices.py`). It is imported by who scans: mostly a process of its own
(`tree_ahead.py`).
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH123

from __future__ import annotations

import os
import stat
from hashlib import sha256

from dasctl.adapters import tree_index
from dasctl.adapters.tree import reason
from dasctl.adapters.tree_hash import Moved, hash_files
from dasctl.adapters.tree_index import Index, IndexedFolder, Patterns, Record
from dasctl.adapters.tree_walk import Walk, Walked, holds, record_of
from dasctl.core import areas, exclusion
from dasctl.core.deployments import trees_of
from dasctl.core.domain import Criterion, Domain
from dasctl.core.slices import Area, Scan, ScanProblem
from dasctl.errors import RepositoryError
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import printable

LOOKS = 5  # at an area in which things come and go while it is walked
NAMED = 10  # unreadable files in one message


class Look:
    """One scan: its index, its clock, and what it finds."""

    def __init__(self, root: bytes, domain: Domain, criterion: Criterion) -> None:
        self._root = root
        self._own = root + b"/" + areas.OWN_FOLDER
        self._domain = domain
        self._believe = criterion == "modtime"
        patterns = exclusion.scan_patterns(domain)
        self._ignore = _ignore(patterns)
        self._before = tree_index.load(self._own + b"/index")
        known = tree_index.repatterned(self._before, patterns, self._ignore)
        self._changed = known is not self._before
        self._known = known
        self._after = Index(patterns=patterns)
        self._moment_ns: int | None = None
        self._hashed: dict[bytes, Record] = {}  # in this scan, for walks that have to be done again
        self._problems: list[ScanProblem] = []
        self._unreadable: list[tuple[bytes, OSError]] = []

    def scan(self) -> Scan:
        found: dict[str, Area] = {}
        self._applications(found)
        for path in trees_of(self._domain):
            self._tree(path, found)
        if self._unreadable:
            raise _unreadable(self._unreadable)
        file = self._domain_yaml()
        if self._changed or len(self._after.folders) != len(self._before.folders):
            tree_index.save(self._own + b"/index", self._after)
        return Scan(
            areas=found,
            problems=tuple(self._problems),
            domain_yaml=file.digest.decode("ascii"),
            domain_file=file,
        )

    def _domain_yaml(self) -> Entry:
        try:
            with open(self._root + b"/" + areas.DEFINITION, "rb") as file:
                text, seen = file.read(), os.fstat(file.fileno())
            digest = sha256(text).hexdigest().encode("ascii")
            mode = stat.S_IMODE(seen.st_mode)
            return Entry(areas.DEFINITION, "f", mode, len(text), seen.st_mtime_ns, digest)
        except OSError as error:
            message = f"{printable(areas.DEFINITION)} cannot be read: {reason(error)}"
            raise RepositoryError(message) from error

    def _applications(self, found: dict[str, Area]) -> None:
        """The folder `applications` alone; what lies in it and is no folder is nobody's."""
        seen = self._folder(areas.APPLICATIONS)
        if seen is None:
            return
        line = b"d %o 0 %d - %s\0" % (stat.S_IMODE(seen.st_mode), seen.st_mtime_ns, areas.APPLICATIONS)
        found["applications"] = Area.of("applications", line)
        named = {areas.application(name) for name in self._domain.applications}
        try:
            with os.scandir(self._root + b"/" + areas.APPLICATIONS) as entries:
                files = sorted(entry.name for entry in entries if not entry.is_dir(follow_symlinks=False))
        except OSError as error:
            self._unreadable.append((areas.APPLICATIONS, error))
            return
        for name in files:
            path = areas.APPLICATIONS + b"/" + name
            if path not in named and not (self._ignore and self._ignore.matches(path, False)):
                self._problems.append(ScanProblem(path=path, message=areas.STRAY_APPLICATION))

    def _tree(self, path: bytes, found: dict[str, Area]) -> None:
        seen = self._folder(path)
        if seen is None:
            if areas.is_application(path):
                self._problems.append(ScanProblem(path=path, message=areas.NO_APPLICATION))
            return
        ignore = self._ignore_in(path)
        if path not in self._known.folders and ignore and ignore.matches(path, True):
            return
        lines = self._lines(path, seen)
        name = printable(path)
        found[name] = Area.of(name, b"".join(lines))

    def _ignore_in(self, area: bytes) -> Patterns | None:
        """No pattern leaves out archives of what was deployed: `*.war` is about what instances get."""
        return None if area == areas.INTERNAL else self._ignore

    def _folder(self, path: bytes) -> os.stat_result | None:
        """The stat of an area's folder, None where it is absent. Raises RepositoryError where it is none."""
        try:
            seen = os.lstat(self._root + b"/" + path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable([(path, error)]) from error
        if stat.S_ISLNK(seen.st_mode):
            raise RepositoryError(
                f"{printable(path)} is a symbolic link; an area of the repository must be a folder",
                hint=f"put a folder there, or mount what it points to: mount --bind TARGET {printable(path)}",
            )
        if not stat.S_ISDIR(seen.st_mode):
            raise RepositoryError(
                f"{printable(path)} is not a folder", hint="move it away, or put a folder there"
            )
        return seen

    def _lines(self, path: bytes, seen: os.stat_result) -> list[bytes]:
        """The area's lines; walked again when things go away meanwhile. What was hashed before is not hashed again."""
        known: dict[bytes, IndexedFolder] = self._known.folders
        believe = self._believe
        for _ in range(LOOKS):
            try:
                walked = Walk(self._root, known, self._ignore_in(path), believe=believe).over(path, seen)
                self._hash(walked)
            except Moved:
                again = self._folder(path)
                if again is None:
                    break
                seen = again
            else:
                self._take(walked)
                return walked.lines
        raise RepositoryError(
            f"{printable(path)} keeps changing while it is read",
            hint="wait until whoever writes there is done",
        )

    def _hash(self, walked: Walked) -> None:
        """Fill the gaps in the lines, and record what may be believed at the next scan."""
        if not walked.wanted:
            return
        if self._moment_ns is None:
            self._moment_ns = tree_index.file_system_time(self._own)
        places = {wanted.path: wanted.place for wanted in walked.wanted}
        for wanted in walked.wanted:
            record = self._hashed.get(wanted.path)
            if record is not None and holds(record, wanted.seen):
                self._fill(walked, places.pop(wanted.path), wanted.path, record)
        files = [(wanted.path, wanted.seen.st_size) for wanted in walked.wanted if wanted.path in places]
        for path, hashed in hash_files(self._root, files):
            if isinstance(hashed, OSError):
                walked.unreadable.append((path, hashed))
            else:
                self._fill(walked, places[path], path, record_of(path, hashed.digest, hashed.stat))

    def _fill(self, walked: Walked, place: int, path: bytes, record: Record) -> None:
        walked.lines[place] = record[-1]
        if not tree_index.is_racy(record, self._moment_ns or 0):
            folder, _, name = path.rpartition(b"/")
            walked.folders[folder].files[name] = record
            walked.changed = True
            self._hashed[path] = record

    def _take(self, walked: Walked) -> None:
        self._changed |= walked.changed
        self._after.folders.update(walked.folders)
        self._problems += walked.problems
        self._unreadable += walked.unreadable


def _ignore(patterns: list[str]) -> Patterns | None:
    if not patterns:
        return None
    from dasctl.core.patterns import Ignore  # only where there are patterns: the import costs

    return Ignore(patterns)


def _unreadable(found: list[tuple[bytes, OSError]]) -> RepositoryError:
    lines = [f"  {printable(path)}: {reason(error)}" for path, error in found[:NAMED]]
    if len(found) > NAMED:
        lines.append(f"  and {len(found) - NAMED} more")
    return RepositoryError(
        "\n".join([f"{len(found)} of the repository's files or folders cannot be read", *lines]),
        hint="make them readable, or exclude them under domain: exclude: in config/domain.yaml; "
        "left out silently they would be deleted on the nodes",
    )
