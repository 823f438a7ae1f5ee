"""The form of a backup's file: a tar in the pax format, compressed with gzip, without compressing anything twice.

What lives here: headers, and joining what is compressed already into one file that `tar`, `gzip` and all others open. What
must not: what is in a backup.

    A gzip file may be several, one behind the other (RFC 1952, 2.2). A piece of an object is a zlib stream: the same deflate
    data between other heads and tails is a gzip file. What is in between, headers and zeros, is compressed here.
"""

from __future__ import annotations

import os
import zlib
from typing import IO

from dasctl.adapters import object_form
from dasctl.core.exchange import Piece

BLOCK = 512  # bytes
RECORD = 20 * BLOCK
MOST_PLAIN = 64 << 10  # bytes of headers that are gathered before they are compressed
LEVEL = 6  # headers are mostly zeros, and few
END = b"dasctl backup, complete"  # the comment of the last gzip member, which is empty

_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_NOTHING = zlib.compressobj(9, zlib.DEFLATED, -15).flush()
TRAILER = b"\x1f\x8b\x08\x10\x00\x00\x00\x00\x00\xff" + END + b"\0" + _NOTHING + bytes(8)
_OCTAL = 8**11  # the first number that has no room in eleven digits
_NAME = 100  # bytes of a name that needs no record of its own
_TYPES = {"f": b"0", "d": b"5", "l": b"2"}


def header(name: bytes, kind: str, *, mode: int, size: int, mtime: int, target: bytes = b"") -> bytes:
    """The header of one member, with its extended header where it needs one. `mtime` in ns; kinds as in manifests."""
    if kind == "d":
        name += b"/"
    seconds, ns = divmod(mtime, 10**9)
    records = []
    if len(name) > _NAME:
        records.append(_record(b"path", name))
    if len(target) > _NAME:
        records.append(_record(b"linkpath", target))
    if size >= _OCTAL:
        records.append(_record(b"size", b"%d" % size))
    if ns or not 0 <= seconds < _OCTAL:
        records.append(_record(b"mtime", _decimal(mtime)))
    extended = b"".join(records)
    before = b""
    if extended:
        before = _ustar(b"PaxHeaders/" + name[-80:].rstrip(b"/"), b"x", 0o600, len(extended), 0) + extended
        before += bytes(-len(extended) % BLOCK)
    fitting = seconds if 0 <= seconds < _OCTAL else 0
    return before + _ustar(
        name[:_NAME], _TYPES[kind], mode, size if size < _OCTAL else 0, fitting, target[:_NAME]
    )


def _ustar(name: bytes, kind: bytes, mode: int, size: int, seconds: int, target: bytes = b"") -> bytes:
    uid, gid = os.getuid(), os.getgid()
    text = b"".join((
        name.ljust(100, b"\0"), b"%07o\0" % mode, b"%07o\0" % (uid if uid < 8**7 else 0),
        b"%07o\0" % (gid if gid < 8**7 else 0), b"%011o\0" % size, b"%011o\0" % seconds, b" " * 8, kind,
        target.ljust(100, b"\0"), b"ustar\x0000", bytes(64), b"%07o\0" % 0, b"%07o\0" % 0, bytes(167),
    ))  # fmt: skip
    return text[:148] + b"%06o\0 " % sum(text) + text[156:]


def _record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where LENGTH counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _decimal(ns: int) -> bytes:
    sign, whole = (b"-", -ns) if ns < 0 else (b"", ns)
    return b"%s%d.%09d" % (sign, whole // 10**9, whole % 10**9)


class TarGz:
    """Writes members to `out`, one after the other. `written`: bytes of the file so far. Raises OSError."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._plain = bytearray()
        self._left = 0  # bytes that the current member still lacks
        self._size = 0
        self.written = 0

    def member(
        self, name: bytes, kind: str, *, mode: int, size: int = 0, mtime: int, target: bytes = b""
    ) -> None:
        """Begin a member; a file's bytes follow, `size` of them."""
        self._finish()
        self._gather(header(name, kind, mode=mode, size=size, mtime=mtime, target=target))
        self._left = self._size = size

    def data(self, raw: bytes) -> None:
        """Bytes that are compressed by this."""
        self._count(len(raw))
        self._flush()
        if object_form.shrinks(raw):
            packing = zlib.compressobj(object_form.LEVEL, zlib.DEFLATED, -15)
            self._add(packing.compress(raw) + packing.flush(), raw)
        else:
            self._stored(raw)

    def small(self, raw: bytes) -> None:
        """Bytes that are few: compressed with what is around them."""
        self._count(len(raw))
        self._gather(raw)

    def piece(self, piece: Piece, raw: bytes) -> None:
        """A piece of an object, `raw` when unpacked."""
        self._count(len(raw))
        if len(raw) <= BLOCK:
            self._gather(raw)  # it is shorter than what a gzip member takes besides
            return
        self._flush()
        if piece.packed and not piece.data[1] & 0x20:
            self._add(piece.data[2:-4], raw)
        else:
            self._stored(raw)

    def close(self) -> None:
        """The end of the archive."""
        self._finish()
        self._gather(bytes(RECORD))
        self._flush()
        self._write(TRAILER)

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueError("more bytes than the member has")

    def _finish(self) -> None:
        if self._left:
            raise ValueError("fewer bytes than the member has")
        self._gather(bytes(-self._size % BLOCK))
        self._size = 0

    def _gather(self, raw: bytes) -> None:
        self._plain += raw
        if len(self._plain) >= MOST_PLAIN:
            self._flush()

    def _flush(self) -> None:
        if self._plain:
            raw = bytes(self._plain)
            self._plain.clear()
            packing = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
            self._add(packing.compress(raw) + packing.flush(), raw)

    def _stored(self, raw: bytes) -> None:
        packing = zlib.compressobj(0, zlib.DEFLATED, -15)
        self._add(packing.compress(raw) + packing.flush(), raw)

    def _add(self, deflated: bytes, raw: bytes) -> None:
        tail = zlib.crc32(raw).to_bytes(4, "little") + (len(raw) & 0xFFFFFFFF).to_bytes(4, "little")
        self._write(b"".join((_HEAD, deflated, tail)))

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self.written += len(data)


def is_complete(file: IO[bytes]) -> bool:
    """Whether a backup's file ends as it should; nothing else of it is read."""
    file.seek(0, os.SEEK_END)
    if file.tell() < len(TRAILER):
        return False
    file.seek(-len(TRAILER), os.SEEK_END)
    return file.read() == TRAILER
