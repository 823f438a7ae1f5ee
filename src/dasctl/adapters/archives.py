"""Archives: unpacking them into a folder, looking at what is in them, packing a folder, copying a file with its digest.

What lives here: ports.Archives. What must not: what is allowed (`core/archives.py`), the two kinds of archive
(`archive_zip.py`, `archive_tar.py`), the folder's side (`archive_tree.py`).

Nothing of what is unpacked is of use before all of it is: the caller unpacks into a folder that nobody sees, and drops it
where an exception comes.
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import errno
import gzip
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO

from dasctl.adapters import archive_tar, archive_zip
from dasctl.adapters.archive_tree import Found, Growing, walked
from dasctl.core import areas
from dasctl.core.archives import (
    FILE,
    FOLDER,
    HARD_LINK,
    LINK,
    Judge,
    Limits,
    Member,
    file_mode,
    folder_mode,
    is_zip,
)
from dasctl.core.exchange import Kept, Unpacked
from dasctl.errors import ArchiveRefused, DasctlError, OperationFailed
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import printable

PIECE = 1 << 18  # bytes
LEVEL = 6  # zlib: packed once, kept for long
ROOM = "make room on that disk, then run the command again; nothing was changed"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NAMES = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EEXIST)

Content = Callable[[], Iterator[bytes]]


def _heedless(size: int) -> None:
    pass


class FileArchives:
    """ports.Archives."""

    def unpack(
        self, archive: Path, into: Path, limits: Limits, *, on_bytes: Callable[[int], None] = _heedless
    ) -> Unpacked:
        """See `ports.Archives`."""
        with _written(into), archive.open("rb") as file:
            into.mkdir(parents=True, exist_ok=True)
            if os.listdir(into):
                raise OperationFailed(f"{into} is not empty: nothing is unpacked there")
            judge = _judge(archive, file, limits)
            tree = Growing(root=os.fsencode(into))
            for member, content in _members(archive, file, judge):
                place = judge.admitted(member)
                with _made(archive, member.name, judge):
                    pieces = tree.read(place.same_as) if member.kind == HARD_LINK else content()
                    _make(tree, member, place.path, _counted(pieces, judge, on_bytes))
            tree.finish()
        return Unpacked(files=judge.count, bytes=judge.total)

    def entries(self, archive: Path, limits: Limits) -> Iterator[Entry]:
        """See `ports.Archives`."""
        with _read(archive), archive.open("rb") as file:
            judge = _judge(archive, file, limits)
            digests: dict[bytes, tuple[int, bytes]] = {}
            for member, content in _members(archive, file, judge):
                place = judge.admitted(member)
                if member.kind == FILE:
                    digests[place.path] = _digest(_counted(content(), judge, _heedless))
                if member.kind in (FILE, HARD_LINK):
                    digests.setdefault(place.path, digests.get(place.same_as, (0, b"")))
                yield _entry(member, place.path, *digests.get(place.path, (0, member.target or b"-")))

    def pack(self, folder: Path, archive: Path, *, on_bytes: Callable[[int], None] = _heedless) -> None:
        """See `ports.Archives`."""
        root = os.path.realpath(os.fsencode(folder))  # the folder itself may be named by a link
        judge = Judge(archive=str(folder), packed=0, limits=Limits(bytes=1 << 62, files=1 << 62, ratio=None))
        with _written(archive), archive.open("xb") as file:
            # Neither name nor time in the gzip: the same folder makes the same archive.
            with gzip.GzipFile("", "wb", LEVEL, file, mtime=0) as packed:
                _pack(root, packed, judge, on_bytes)
            file.flush()
            os.fsync(file.fileno())

    def keep(self, source: Path, to: Path, *, on_bytes: Callable[[int], None] = _heedless) -> Kept:
        """See `ports.Archives`."""
        with _read(source), source.open("rb") as file, _written(to), to.open("xb") as copy:
            before = os.fstat(file.fileno())
            digest, size = sha256(), 0
            while piece := file.read(PIECE):
                copy.write(piece)
                digest.update(piece)
                size += len(piece)
                on_bytes(len(piece))
            if _changed(before, os.fstat(file.fileno())) or size != before.st_size:
                raise OperationFailed(f"{source} changed while it was read", hint="wait until it is written")
            copy.flush()
            os.utime(copy.fileno(), ns=(before.st_mtime_ns, before.st_mtime_ns))
            os.fsync(copy.fileno())
        return Kept(sha256=digest.hexdigest(), size=size)


def _judge(archive: Path, file: IO[bytes], limits: Limits) -> Judge:
    return Judge(archive=archive.name, packed=os.fstat(file.fileno()).st_size, limits=limits)


def _members(archive: Path, file: IO[bytes], judge: Judge) -> Iterator[tuple[Member, Content]]:
    members = archive_zip.members if is_zip(archive.name) else archive_tar.members
    return members(file, judge)


def _counted(pieces: Iterator[bytes], judge: Judge, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        judge.unpacked(len(piece))
        on_bytes(len(piece))
        yield piece


def _make(tree: Growing, member: Member, path: bytes, content: Iterator[bytes]) -> None:
    if member.kind == FOLDER:
        tree.folder(path, member.mode, member.mtime)
    elif member.kind == LINK:
        tree.link(path, member.target, member.mtime)
    else:  # hard links too are files of their own, as everywhere: an edit of one leaves the other
        tree.file(path, content, member.mode, member.mtime)


def _entry(member: Member, path: bytes, size: int, digest: bytes) -> Entry:
    if member.kind == FOLDER:
        return Entry(path, "d", folder_mode(member.mode), 0, member.mtime, b"-")
    if member.kind == LINK:
        return Entry(path, "l", 0o777, 0, member.mtime, member.target)
    return Entry(path, "f", file_mode(member.mode), size, member.mtime, digest)


def _digest(pieces: Iterator[bytes]) -> tuple[int, bytes]:
    size, digest = 0, sha256()
    for piece in pieces:
        size += len(piece)
        digest.update(piece)
    return size, digest.hexdigest().encode("ascii")


@contextmanager
def _made(archive: Path, name: bytes, judge: Judge) -> Iterator[None]:
    """What the file system says of one member: it cannot have such a name or time, or it is full."""
    try:
        yield
    except OverflowError as error:
        raise judge.refusal("its modtime is out of all bounds") from error
    except OSError as error:
        if error.errno in _NAMES:
            raise judge.refusal(f"the file system here has no such name or time: {error.strerror}") from error
        raise OperationFailed(
            f"{archive.name} cannot be unpacked: {printable(name)}: {error.strerror}", hint=_hint(error)
        ) from error


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperationFailed(f"{path} cannot be written: {error.strerror}", hint=_hint(error)) from error


@contextmanager
def _read(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperationFailed(f"{path} cannot be read: {error.strerror}") from error


def _hint(error: OSError) -> str:
    return ROOM if error.errno in _FULL else ""


def _changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)


def _pack(root: bytes, packed: gzip.GzipFile, judge: Judge, on_bytes: Callable[[int], None]) -> None:
    with tarfile.open(
        fileobj=packed, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        for found in _seen(root):
            member = _member_of(found)
            try:
                judge.admitted(member)
            except ArchiveRefused as error:
                raise _no_folder(root, error) from error
            info = _info(member)
            if member.kind == FILE:
                with _Unchanged(root + b"/" + found.path, found.seen, on_bytes) as content:
                    tar.addfile(info, content)  # type: ignore[arg-type]
            else:
                tar.addfile(info)
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them


def _seen(root: bytes) -> Iterator[Found]:
    """All that is in the folder. What cannot be read is not left out: it ends the packing."""
    found = walked(root)
    while True:
        with _readable(root):
            one = next(found, None)
        if one is None:
            return
        yield one


@contextmanager
def _readable(path: bytes) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = os.fsencode(error.filename) if error.filename else path
        raise OperationFailed(
            f"{printable(where)} cannot be read: {error.strerror}",
            hint="make it readable; nothing was changed",
        ) from error


def _no_folder(root: bytes, error: DasctlError) -> OperationFailed:
    return OperationFailed(error.message, hint=f"nothing was deployed; take it out of {printable(root)}")


def _member_of(found: Found) -> Member:
    mode = found.seen.st_mode
    kinds = {"f": FILE, "d": FOLDER, "l": LINK}
    return Member(
        name=found.path or b".", kind=kinds.get(areas.kind_of_mode(mode), areas.special_name(mode)),
        mode=stat.S_IMODE(mode), mtime=found.seen.st_mtime_ns, size=found.seen.st_size if stat.S_ISREG(mode) else 0,
        target=found.target,
    )  # fmt: skip


def _info(member: Member) -> tarfile.TarInfo:
    """The header: nobody's own, with a modtime to the nanosecond."""
    info = tarfile.TarInfo(printable(member.name))
    info.type = {FILE: tarfile.REGTYPE, FOLDER: tarfile.DIRTYPE, LINK: tarfile.SYMTYPE}[member.kind]
    info.mode = member.mode & 0o777
    info.size = member.size
    info.mtime = max(0, member.mtime // 10**9)
    info.linkname = printable(member.target)
    if member.mtime % 10**9 or member.mtime < 0:
        info.pax_headers = {"mtime": archive_tar.modtime_text(member.mtime)}
    return info


class _Unchanged:
    """A file that is packed; one that is not as it was seen ends the packing."""

    def __init__(self, path: bytes, seen: os.stat_result, on_bytes: Callable[[int], None]) -> None:
        self._path = path
        self._seen = seen
        self._on_bytes = on_bytes

    def __enter__(self) -> _Unchanged:
        with _readable(self._path):
            handle = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._file = open(handle, "rb", buffering=0)
        self._check()
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            self._check()
        finally:
            self._file.close()

    def read(self, size: int) -> bytes:
        with _readable(self._path):
            data = self._file.read(size)
        self._on_bytes(len(data))
        return data

    def _check(self) -> None:
        if _changed(self._seen, os.fstat(self._file.fileno())):
            raise OperationFailed(
                f"{printable(self._path)} changed while it was read",
                hint="wait until whoever writes there is done, then run the command again",
            )
