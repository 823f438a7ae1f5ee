"""Reading and writing .tar.gz: members and their contents as a stream, nothing believed.

What lives here: the tar's own words for names, kinds, modes and times, and the gzip around it. What must not: what is
allowed (`core/archives.py`), files that are written (`archive_tree.py`).
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, cast

from dasctl.core.archives import FILE, FOLDER, HARD_LINK, LINK, Judge, Member

PIECE = 1 << 18  # bytes
MOST_HEADER = 1 << 20  # bytes of one extended header, read as a whole: ours have a few hundred
GZIP = 31  # zlib's word for a gzip stream with its checks
MAGIC = b"\x1f\x8b"
_MODTIME = re.compile(r"(-?)(\d{1,12})(?:\.(\d*))?\Z")
_KINDS = {
    tarfile.REGTYPE: FILE, tarfile.AREGTYPE: FILE, tarfile.CONTTYPE: FILE, tarfile.GNUTYPE_SPARSE: FILE,
    tarfile.DIRTYPE: FOLDER, tarfile.SYMTYPE: LINK, tarfile.LNKTYPE: HARD_LINK,
    tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a named pipe",
}  # fmt: skip

Content = Callable[[], Iterator[bytes]]


def members(file: IO[bytes], judge: Judge) -> Iterator[tuple[Member, Content]]:
    """The members of the .tar.gz in `file`, in its order; each one's content is read before the next is asked for.

    Raises ArchiveRefused, OSError.
    """
    stream = _Unpacked(file, judge)
    with _told(judge):
        tar = tarfile.open(  # noqa: SIM115 (it holds nothing but `stream`)
            fileobj=cast(IO[bytes], stream), mode="r:", encoding="utf-8", errors="surrogateescape"
        )
    while True:
        with _told(judge):
            info = tar.next()
        if info is None:
            break
        tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
        yield _member(info, judge), partial(_content, tar, info, judge)
    if stream.last.strip(b"\0"):
        raise judge.damaged(f"it is damaged at byte {stream.position:,} of what is packed")
    stream.drain()


def _member(info: tarfile.TarInfo, judge: Judge) -> Member:
    name = _bytes(info.name)
    judge.at(name)
    return Member(
        name=name, kind=_KINDS.get(info.type, f"a member of the unknown type {info.type!r}"), mode=info.mode,
        mtime=_modtime(info, judge), size=info.size, target=_bytes(info.linkname),
    )  # fmt: skip


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo, judge: Judge) -> Iterator[bytes]:
    with _told(judge):
        content = tar.extractfile(info)
        assert content is not None  # a file
        left = info.size
        while left:
            piece = content.read(min(PIECE, left))
            if not piece:
                raise judge.damaged("it is cut off")
            left -= len(piece)
            yield piece


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _modtime(info: tarfile.TarInfo, judge: Judge) -> int:
    """In ns: tarfile makes a float of it, which cannot hold them."""
    text = info.pax_headers.get("mtime") or str(int(info.mtime))
    match = _MODTIME.match(text)
    if match is None:
        raise judge.refusal(f"its modtime is no time: {text[:40]!r}")
    sign, seconds, fraction = match.groups()
    moment = int(seconds) * 10**9 + int((fraction or "").ljust(9, "0")[:9])
    return -moment if sign else moment


def modtime_text(mtime: int) -> str:
    """A modtime in ns as pax has it: seconds, with a fraction."""
    seconds, rest = divmod(abs(mtime), 10**9)
    return f"{'-' if mtime < 0 else ''}{seconds}.{rest:09}"


@contextmanager
def _told(judge: Judge) -> Iterator[None]:
    """Turn what tarfile says of a broken archive into a refusal."""
    try:
        yield
    except (
        tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError, IndexError, KeyError, TypeError,
    ) as error:  # fmt: skip
        raise judge.damaged(f"it is no .tar.gz, or a damaged one ({str(error).rstrip('.')})") from error


class _Unpacked:
    """The gzip stream of `file`, unpacked, for tarfile: read once, forwards. `last` is what was read last."""

    def __init__(self, file: IO[bytes], judge: Judge) -> None:
        self._file = file
        self._judge = judge
        self._unpacker = zlib.decompressobj(GZIP)
        self._packed = b""
        self._ready = b""
        self._taken = 0  # bytes of it
        self._ended = False
        self.position = 0
        self.last = b""

    def read(self, size: int) -> bytes:
        if size > MOST_HEADER:
            raise self._judge.damaged(f"it has a header of {size:,} bytes")
        while len(self._ready) - self._taken < size and not self._ended:
            self._ready, self._taken = self._ready[self._taken :] + self._next(), 0
        self.last = self._ready[self._taken : self._taken + size]
        self._taken += len(self.last)
        self.position += len(self.last)
        return self.last

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> int:
        if position < self.position:
            raise self._judge.damaged("it leads backwards")
        while self.position < position and self.read(min(PIECE, position - self.position)):
            pass
        return self.position

    def close(self) -> None:
        """The file is the caller's."""

    def drain(self) -> None:
        """Read what is left: only then are the gzip's checks done."""
        while self.read(PIECE):
            pass

    def _next(self) -> bytes:
        """Some more bytes; none only where the stream has ended."""
        while True:
            if not self._packed:
                self._packed = self._file.read(PIECE)
            if self._unpacker.eof and not self._goes_on():
                self._ended = True
                return b""
            if not self._packed:
                raise self._judge.damaged("it is cut off")
            try:
                data = self._unpacker.decompress(self._packed, PIECE)
            except zlib.error as error:
                raise self._judge.damaged(f"it is no gzip, or a damaged one ({error})") from error
            self._packed = self._unpacker.unconsumed_tail or self._unpacker.unused_data
            if data:
                self._judge.streamed(len(data))
                return data

    def _goes_on(self) -> bool:
        """Behind the end of a gzip: another one, or zeros that fill up a tape's block, or nothing."""
        while self._packed and not self._packed.strip(b"\0"):
            self._packed = self._file.read(PIECE)
        if not self._packed:
            return False
        if not self._packed.startswith(MAGIC[: len(self._packed)]):
            raise self._judge.damaged("something else lies behind its end")
        self._unpacker = zlib.decompressobj(GZIP)
        return True
