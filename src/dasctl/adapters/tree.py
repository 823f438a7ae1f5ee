"""The repository as a folder on this machine.

What lives here: reading files, the instances' own parts of domain.yaml, who scans. What must not: the scan (`tree_look.py`).
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH100, PTH103, PTH108, PTH119, PTH123, PTH208

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from dasctl.adapters import tree_ahead
from dasctl.adapters.beside import write_beside
from dasctl.adapters.tree_ahead import ScanAhead
from dasctl.core import areas
from dasctl.core.domain import Criterion, Domain
from dasctl.errors import RepositoryError
from dasctl.remote import paths, words
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import printable

if TYPE_CHECKING:
    from dasctl.core.slices import Scan

DEFINITION_MODE = 0o644
READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class FolderRepository:
    """The domain's folder `root`. Holds nothing open but a scan ahead; the index in `.dasctl/index` is a cache."""

    def __init__(self, root: Path | str) -> None:
        self._root = os.path.abspath(os.fsencode(root))
        self._own = self._root + b"/" + areas.OWN_FOLDER
        self._ahead: tuple[Domain, Criterion, ScanAhead] | None = None

    def scan_ahead(self, domain: Domain, *, criterion: Criterion) -> None:
        """See `ports.Repository`."""
        if self._ahead is not None and self._ahead[0] is domain and self._ahead[1] == criterion:
            return
        self.drop_ahead()
        ahead = tree_ahead.begin(self._own + b"/index", lambda: self._scan(domain, criterion))
        self._ahead = (domain, criterion, ahead) if ahead is not None else None

    def scan(self, domain: Domain, *, criterion: Criterion) -> Scan:
        """See `ports.Repository`."""
        if self._ahead is not None and self._ahead[0] is domain and self._ahead[1] == criterion:
            ahead, self._ahead = self._ahead[2], None
            found = ahead.result()
            if found is not None:
                return found
        self.drop_ahead()
        return self._scan(domain, criterion)

    def _scan(self, domain: Domain, criterion: Criterion) -> Scan:
        from dasctl.adapters.tree_look import Look  # mostly by a process of its own

        return Look(self._root, domain, criterion).scan()

    def drop_ahead(self) -> None:
        """End a scan ahead that nobody has asked for. May be called twice."""
        if self._ahead is not None:
            self._ahead[2].drop()
            self._ahead = None

    def read(self, path: bytes, *, piece: int) -> Iterator[bytes]:
        """See `ports.Repository`. Walked by directory handles: no link is followed, wherever it leads."""
        try:
            handle = self._open(paths.check(path))
            try:
                while data := os.read(handle, piece):
                    yield data
            finally:
                os.close(handle)
        except (OSError, paths.PathError) as error:
            raise RepositoryError(f"{printable(path)} cannot be read: {reason(error)}") from error

    def kind_of(self, path: bytes) -> str | None:
        """See `ports.Repository`."""
        *folders, _ = path.split(b"/")
        above = [b"/".join((self._root, *folders[: end + 1])) for end in range(len(folders))]
        try:
            if not all(stat.S_ISDIR(os.lstat(folder).st_mode) for folder in above):
                return None
            return areas.kind_of_mode(os.lstat(self._root + b"/" + path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RepositoryError(f"{printable(path)} cannot be read: {reason(error)}") from error

    def names(self) -> Iterator[tuple[bytes, bool]]:
        """See `ports.Repository`."""
        for area in words.AREAS:
            top = self._root + b"/" + area.encode()
            if self.kind_of(area.encode()) == "d":
                yield area.encode(), True
                for folder, folders, files in os.walk(top):
                    base = folder[len(self._root) + 1 :] + b"/"
                    yield from ((base + name, True) for name in folders)
                    yield from ((base + name, False) for name in files)

    def publish(self, definitions: Mapping[str, bytes], *, write: bool = True) -> dict[str, Entry]:
        """See `ports.Repository`."""
        if not write:
            return {name: self._thought_of(name, data) for name, data in definitions.items()}
        folder = self._root + b"/" + areas.DEFINITIONS
        try:
            os.makedirs(self._own, mode=0o700, exist_ok=True)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            published = {name: self._publish(name, data) for name, data in definitions.items()}
            kept = {os.path.basename(entry.path) for entry in published.values()}
            for name in os.listdir(folder):
                if name not in kept and not name.startswith(b"."):  # another command may be writing beside
                    os.unlink(folder + b"/" + name)
        except OSError as error:
            raise RepositoryError(
                f"the instances' parts of domain.yaml cannot be written to {printable(folder)}: {reason(error)}",
                hint="make the folder .dasctl of the domain writable, and check the space on its disk",
            ) from error
        return published

    def _publish(self, instance: str, data: bytes) -> Entry:
        """Leave the file alone where its content is the same: its modtime travels with it."""
        path = _published(instance)
        file = self._root + b"/" + path
        if _content(file) != data:
            write_beside(file, data, mode=DEFINITION_MODE)
        return _entry(path, data, os.lstat(file).st_mtime_ns)

    def _thought_of(self, instance: str, data: bytes) -> Entry:
        """The entry that would be published; a file to be made anew is taken for as old as domain.yaml."""
        path = _published(instance)
        file = self._root + b"/" + path
        try:
            like = file if _content(file) == data else self._root + b"/" + areas.DEFINITION
            return _entry(path, data, os.lstat(like).st_mtime_ns)
        except OSError as error:
            raise RepositoryError(f"{printable(path)} cannot be read: {reason(error)}") from error

    def _open(self, path: bytes) -> int:
        """A handle of the file at `path`; the caller closes it."""
        *folders, name = path.split(b"/")
        here = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                there = os.open(folder, READING | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here = there
            handle = os.open(name, READING, dir_fd=here)
        finally:
            os.close(here)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(0, "it is not a file")
        return handle


def _published(instance: str) -> bytes:
    """Where an instance's own part of domain.yaml is kept, below the domain's folder."""
    return areas.DEFINITIONS + b"/" + paths.from_printable(paths.check_name(instance)) + b".json"


def _entry(path: bytes, data: bytes, mtime: int) -> Entry:
    return Entry(path, "f", DEFINITION_MODE, len(data), mtime, sha256(data).hexdigest().encode("ascii"))


def _content(file: bytes) -> bytes | None:
    try:
        handle = os.open(file, READING)
    except FileNotFoundError:
        return None
    with open(handle, "rb") as content:
        return content.read() if stat.S_ISREG(os.fstat(handle).st_mode) else None


def reason(error: Exception) -> str:
    """Why a file could not be read, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or "it went away"
