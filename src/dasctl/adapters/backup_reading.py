"""Reading a backup: what it says about itself, whether all of it is right, and laying it out in a new folder.

What lives here: the judgement over an archive's members, which may be hostile, one after the other. What must not: where the
folder goes (`restored.py`).

    Paths are below the one folder of the domain, each once; a file is written only where nothing is, a link only when all
    files are written. What is not in the manifest, or in it and not there, ends the reading.
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH101, PTH102, PTH123, PTH211

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dasctl.adapters import backup_tar
from dasctl.core import backups
from dasctl.core.backups import FACTS, MANIFEST, OWN, Facts
from dasctl.errors import OperationFailed
from dasctl.remote import paths
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import PathError, printable

PIECE = 1 << 20  # bytes
MOST_MANIFEST = 256 << 20  # bytes: some two million files
ROOM = "make room on that disk, or restore to another one with --to"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

OnRead = Callable[[int, int], None]


class Wrong(Exception):
    """A member that is not as it should be."""


def facts(path: Path) -> Facts:
    """What a backup says about itself. Only its beginning and its end are read. Raises OperationFailed."""
    with _opened(path) as (file, tar):
        if not backup_tar.is_complete(file):
            raise Wrong("it is cut off, or was not written by dasctl")
        file.seek(0)
        members = _members(tar(file))
        _manifest(*_next(members))
        return _facts(path, *_next(members))


def read(path: Path, target: Path | None, on_read: OnRead) -> Facts:
    """Read all of a backup and verify it; with `target`, a new folder, lay the domain out there.

    `on_read` gets how many bytes of files are read, of how many of the tree. Raises OperationFailed; then nobody should
    believe what is in `target`.
    """
    with _opened(path) as (file, tar):
        if not backup_tar.is_complete(file):
            raise Wrong("it is cut off, or was not written by dasctl")
        file.seek(0)
        members = _members(tar(file))
        promised = _manifest(*_next(members))
        found = _facts(path, *_next(members), promised.pop(FACTS, ""))
        reading = _Reading(found, promised, os.fsencode(target) if target is not None else None)
        for member, data in members:
            reading.take(member, data)
            on_read(reading.bytes, found.size)
        reading.finish()
        return found


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], Callable[[IO[bytes]], tarfile.TarFile]]]:
    """The file, and how it is read as an archive; all that can be wrong with it is told in one way."""
    try:
        with open(path, "rb") as file:
            yield file, _archive
    except (Wrong, PathError, ValueError, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise OperationFailed(
            f"{path} is no backup of a domain, or is damaged: {error}",
            hint="take another one: dasctl list-backups",
        ) from error
    except OSError as error:
        where = printable(os.fsencode(error.filename)) if error.filename else str(path)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise OperationFailed(
            f"{where}: {error.strerror or error}; nothing has been changed", hint=ROOM if full else ""
        ) from error


def _archive(file: IO[bytes]) -> tarfile.TarFile:
    """tarfile's own way of reading a stream ends at the first of several gzip files."""
    raw = gzip.GzipFile(fileobj=file)
    return tarfile.open(fileobj=raw, mode="r|", encoding="utf-8", errors="surrogateescape")


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    while (member := tar.next()) is not None:
        vars(tar)["members"].clear()  # it would remember all of them
        if member.issparse():
            raise Wrong(f"{member.name} is no plain file")
        yield member, tar.extractfile(member) if member.isreg() else None


def _next(members: Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]) -> tuple[bytes, bytes]:
    """The next member, which is small and not the domain's: its name and all its bytes."""
    member, data = next(members, (None, None))
    if member is None or data is None or member.size > MOST_MANIFEST:
        raise Wrong("it does not begin as a backup does")
    return os.fsencode(member.name), data.read()


def _manifest(name: bytes, data: bytes) -> dict[bytes, str]:
    if name != MANIFEST:
        raise Wrong(f"it begins with {printable(name)}, not with {MANIFEST.decode()}")
    return backups.manifest_of(data)


def _facts(path: Path, name: bytes, data: bytes, digest: str | None = None) -> Facts:
    if name != FACTS or len(data) > backups.MOST_FACTS:
        raise Wrong(f"{FACTS.decode()} is missing")
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise Wrong(f"{FACTS.decode()} has another digest")
    return backups.facts_of(data, str(path))


class _Reading:
    """The members of the domain, one after the other; laid out in `target`, unless that is None."""

    def __init__(self, found: Facts, promised: dict[bytes, str], target: bytes | None) -> None:
        self._top = found.domain.encode("ascii")
        self._facts = found
        self._promised = promised
        self._target = target
        self._seen: set[bytes] = set()
        self._entries: list[Entry] = []
        self._folders: list[tuple[bytes, int, int]] = []
        self._links: list[tuple[bytes, bytes, int]] = []
        self.bytes = 0

    def take(self, member: tarfile.TarInfo, data: IO[bytes] | None) -> None:
        name = os.fsencode(member.name)
        if name == self._top and member.isdir():
            return
        top, _, path = name.partition(b"/")
        if top != self._top:
            raise Wrong(f"{printable(name)} is not in the domain's folder")
        paths.check(path)
        if path in self._seen:
            raise Wrong(f"{printable(path)} is there twice")
        self._seen.add(path)
        mode, mtime = member.mode & 0o7777, _modtime(member)
        if data is not None:
            entry = Entry(
                path, "f", mode, member.size, mtime, self._file(path, mode, mtime, data, member.size)
            )
        elif member.isdir():
            self._folder(path, mode, mtime)
            entry = Entry(path, "d", mode, 0, mtime, b"-")
        elif member.issym() and not _is_own(path):
            target = os.fsencode(member.linkname)
            self._links.append((path, target, mtime))
            entry = Entry(path, "l", 0o777, 0, mtime, target)
        else:
            raise Wrong(f"{printable(path)} is no file, folder or link")
        if not _is_own(path):
            self._entries.append(entry)

    def finish(self) -> None:
        """All is read: compare with what was promised, then do what had to wait."""
        if self._promised:
            raise Wrong(f"{printable(next(iter(self._promised)))} is missing")
        if backups.tree_digest(self._entries) != self._facts.tree:
            raise Wrong("modes, modtimes, folders or links are not those of the revision")
        if self._target is None:
            return
        for path, link, mtime in self._links:
            os.symlink(link, self._place(path))
            os.utime(self._place(path), ns=(mtime, mtime), follow_symlinks=False)
        for path, mode, mtime in reversed(self._folders):
            os.chmod(self._place(path), mode)
            os.utime(self._place(path), ns=(mtime, mtime))

    def _place(self, path: bytes) -> bytes:
        assert self._target is not None
        return self._target + b"/" + path

    def _folder(self, path: bytes, mode: int, mtime: int) -> None:
        if self._target is not None:
            if path != OWN or not os.path.isdir(self._place(path)):  # noqa: PTH112
                os.mkdir(self._place(path), 0o700)
            self._folders.append((path, mode, mtime))

    def _file(self, path: bytes, mode: int, mtime: int, data: IO[bytes], size: int) -> bytes:
        """Hash, and write; the digest in hex, which is the promised one."""
        promised = self._promised.pop(self._top + b"/" + path, None)
        if promised is None:
            raise Wrong(f"{printable(path)} is not in {MANIFEST.decode()}")
        seen, read = hashlib.sha256(), 0
        handle = os.open(self._place(path), _NEW, 0o600) if self._target is not None else None
        try:
            while piece := data.read(PIECE):
                seen.update(piece)
                read += len(piece)
                self.bytes += len(piece)
                if handle is not None:
                    _write(handle, piece)
            if handle is not None:
                os.fchmod(handle, mode)
                os.utime(handle, ns=(mtime, mtime))
        finally:
            if handle is not None:
                os.close(handle)
        if seen.hexdigest() != promised or read != size:
            raise Wrong(f"{printable(path)} has another digest than {MANIFEST.decode()} says")
        return promised.encode("ascii")


def _is_own(path: bytes) -> bool:
    return path == OWN or path.startswith(OWN + b"/")


def _modtime(member: tarfile.TarInfo) -> int:
    """In ns, as it is written: tarfile makes a float of it."""
    text = member.pax_headers.get("mtime")
    if text is None:
        return int(member.mtime) * 10**9
    sign = -1 if text.startswith("-") else 1
    whole, _, part = text.lstrip("-").partition(".")
    if not (whole + part).isdigit():
        raise Wrong(f"a modtime that is none: {text[:40]!r}")
    return sign * (int(whole) * 10**9 + int(part.ljust(9, "0")[:9]))


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
