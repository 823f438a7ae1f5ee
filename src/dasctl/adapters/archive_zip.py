"""Reading zip-like archives (.war, .ear, .jar, .zip): members and their contents, nothing believed.

What lives here: the zip's own words for names, kinds, modes and times. What must not: what is allowed (`core/archives.py`),
files that are written (`archive_tree.py`).
"""

from __future__ import annotations

import stat
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Any, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, LargeZipFile, ZipFile, ZipInfo

from dasctl.core.archives import FILE, FOLDER, LINK, MOST_TARGET, Judge, Member

PIECE = 1 << 18  # bytes
DIRECTORY_PER_FILE = (
    256  # bytes that the list of members may have for each that is allowed: it is read as a whole
)
LEAST_DIRECTORY = 1 << 20
ENCRYPTED, STRONGLY_ENCRYPTED, UTF8 = 0x1, 0x40, 0x800  # flags
DOS = 0  # and Windows
UNIX, OSX = 3, 19  # systems whose modes are in the upper half of the attributes
EXTENDED_TIMESTAMP, NTFS = 0x5455, 0x000A  # extra fields
EPOCH_OF_NTFS_S = 11_644_473_600  # from 1601 to 1970
_BROKEN = (
    BadZipFile,
    LargeZipFile,
    EOFError,
    zlib.error,
    RuntimeError,
    ValueError,
    OverflowError,
    struct.error,
)
_BROKEN_TOO = (IndexError, KeyError, TypeError)  # of zipfile's, over fields that no packer writes

Content = Callable[[], Iterator[bytes]]


def members(file: IO[bytes], judge: Judge) -> Iterator[tuple[Member, Content]]:
    """The members of the zip in `file`, each with what gives its content. Raises ArchiveRefused, OSError."""
    with _told(judge, "it is no zip, or a damaged one"):
        zipped = ZipFile(cast(IO[bytes], _Bounded(file, judge)))
    with zipped:
        for info in zipped.infolist():
            name = _name(info)
            kind, mode = _kind(info, name)
            yield (
                Member(
                    name=name, kind=kind, mode=mode, mtime=_modtime(info), size=info.file_size,
                    target=_target(zipped, info, name, judge) if kind == LINK else b"",
                ),
                partial(_content, zipped, info, judge),
            )  # fmt: skip


def _content(zipped: ZipFile, info: ZipInfo, judge: Judge) -> Iterator[bytes]:
    if info.flag_bits & (ENCRYPTED | STRONGLY_ENCRYPTED):
        raise judge.refusal(
            "it is encrypted", hint="nothing was unpacked; make the archive without a password"
        )
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise judge.refusal(
            f"it is packed with method {info.compress_type}",
            hint="nothing was unpacked; make the archive with deflate, as jar and zip do",
        )
    size = 0
    with _told(judge, "it is damaged"), zipped.open(info) as content:
        while piece := content.read(PIECE):
            size += len(piece)
            yield piece
    if size != info.file_size:
        raise judge.damaged(f"it is cut off: {size:,} bytes where {info.file_size:,} should be")


def _target(zipped: ZipFile, info: ZipInfo, name: bytes, judge: Judge) -> bytes:
    judge.at(name)
    if info.file_size > MOST_TARGET:
        raise judge.refusal("a link whose target is no path")
    return b"".join(_content(zipped, info, judge))


@contextmanager
def _told(judge: Judge, why: str) -> Iterator[None]:
    """Turn what zipfile says of a broken archive into a refusal."""
    try:
        yield
    except (*_BROKEN, *_BROKEN_TOO) as error:
        said = str(error).rstrip(".")
        raise judge.damaged(f"{why} ({said})" if said else why) from error


def _name(info: ZipInfo) -> bytes:
    """The bytes that stand in the archive: zipfile cuts names at a NUL, and takes what is not UTF-8 for code page 437.

    Some packers on Windows part folders by backslashes, which no name can have there; `unzip` reads them so, too. In code
    pages of two bytes a backslash may be the half of a letter.
    """
    is_utf8 = bool(info.flag_bits & UTF8)
    name = info.orig_filename.encode("utf-8" if is_utf8 else "cp437")
    if info.create_system == DOS and b"/" not in name and (is_utf8 or name.isascii()):
        return name.replace(b"\\", b"/")
    return name


def _kind(info: ZipInfo, name: bytes) -> tuple[str, int]:
    """The kind of a member, and its permissions."""
    mode = info.external_attr >> 16
    if name.endswith(b"/") or stat.S_ISDIR(mode):
        return FOLDER, stat.S_IMODE(mode) or 0o755
    if stat.S_ISLNK(mode):
        return LINK, 0o777
    if info.create_system in (UNIX, OSX) and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "a device, a pipe or a socket", 0
    return FILE, stat.S_IMODE(mode) or 0o644


def _modtime(info: ZipInfo) -> int:
    """In ns: NTFS' 100 ns or the extended timestamp where they are there, else local time in steps of two seconds."""
    fields = dict(_extra_fields(info.extra))
    ntfs = fields.get(NTFS, b"")
    if len(ntfs) >= 16 and ntfs[4:6] == b"\1\0":
        (ticks,) = struct.unpack("<Q", ntfs[8:16])
        return int(ticks) * 100 - EPOCH_OF_NTFS_S * 10**9
    extended = fields.get(EXTENDED_TIMESTAMP, b"")
    if len(extended) >= 5 and extended[0] & 1:
        (seconds,) = struct.unpack("<i", extended[1:5])
        return int(seconds) * 10**9
    year, month, day, *clock = info.date_time
    try:
        return int(time.mktime((year, max(month, 1), max(day, 1), *clock, 0, 0, -1))) * 10**9  # type: ignore[arg-type]
    except (OverflowError, ValueError):
        return 0


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        yield kind, extra[4 : 4 + size]
        extra = extra[4 + size :]


class _Bounded:
    """A file of which zipfile reads no list of members that is out of all proportion to how many may be in it."""

    def __init__(self, file: IO[bytes], judge: Judge) -> None:
        self._file = file
        self._judge = judge
        self._most = max(LEAST_DIRECTORY, DIRECTORY_PER_FILE * judge.limits.files)

    def read(self, size: int = -1) -> bytes:
        if size > self._most:
            raise self._judge.damaged(
                f"its list of members has {size:,} bytes: too many for {self._judge.limits.files:,} members"
            )
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
