"""Deltas between objects, made once for each pair and kept: `.dasctl/deltas/<base>-<digest>`, a zlib stream each.

What lives here: which are kept, and how large contents are looked at without being in memory. What must not: how a delta is
found (`core/delta.py`). A file that is empty says that the delta is not worth it. The folder is a cache: it may be deleted.
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH103, PTH108, PTH116, PTH123, PTH208

from __future__ import annotations

import mmap
import os
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from dasctl.adapters.beside import write_beside

SMALLEST = 4 << 10  # bytes of a content: below, the whole is as good
LARGEST = 1 << 30
IN_MEMORY = 16 << 20  # bytes of a content; larger ones are unpacked into a file and mapped
KEPT = 256 << 20  # bytes of deltas; beyond, the oldest go

Content = Callable[[str], Iterable[bytes]]
AsItIs = Callable[[str], bytes | None]


class DeltaFolder:
    """The deltas in `folder`, which is made when the first one is kept."""

    def __init__(self, folder: bytes) -> None:
        self._folder = folder
        self._size: int | None = None  # bytes that are kept, counted when the first one is added
        self._lock = threading.Lock()

    def fits(self, old: int, new: int) -> bool:
        """Whether contents of these sizes (bytes) are worth a look."""
        return SMALLEST <= old <= LARGEST and SMALLEST <= new <= LARGEST

    def of(
        self,
        base: str,
        digest: str,
        sizes: tuple[int, int],
        *,
        worth: Callable[[int], bool],
        content: Content,
        as_it_is: AsItIs,
    ) -> bytes | None:
        """The delta, zlib-compressed; None where so many bytes are not `worth` it. Raises OSError, ObjectLost.

        `content` gives the bytes of a content, and raises ObjectLost, at the end at the latest, where they are others.
        """
        name = b"%s/%s-%s" % (self._folder, base.encode("ascii"), digest.encode("ascii"))
        kept = _read(name)
        if kept is None:
            kept = self._made(base, digest, sizes, content, as_it_is)
            if not worth(len(kept)):
                kept = b""
            with suppress(OSError):  # a cache: a full disk, or one that cannot be written to, is no obstacle
                self._keep(name, kept)
        return kept or None

    def collect(self, wanted: frozenset[str]) -> int:
        """Remove deltas of which one side is not wanted any more; how many."""
        gone = 0
        for name in self._names():
            base, _, digest = name.decode("ascii", "replace").partition("-")
            if base not in wanted or digest not in wanted:
                with suppress(OSError):
                    os.unlink(self._folder + b"/" + name)
                    gone += 1
        return gone

    def _made(
        self, base: str, digest: str, sizes: tuple[int, int], content: Content, as_it_is: AsItIs
    ) -> bytes:
        from dasctl.core.delta import delta  # most commands make none
        from dasctl.core.packing import packed_delta

        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        with (
            self._whole(base, sizes[0], content, as_it_is) as old,
            self._whole(digest, sizes[1], content, as_it_is) as new,
        ):
            return packed_delta(delta(old, new))

    @contextmanager
    def _whole(
        self, digest: str, size: int, content: Content, as_it_is: AsItIs
    ) -> Iterator[bytes | mmap.mmap]:
        """The whole content: in memory, or mapped."""
        if size <= IN_MEMORY:
            yield b"".join(content(digest))
            return
        place = as_it_is(digest)
        with open(place, "rb") if place else tempfile.TemporaryFile(dir=self._folder) as file:
            if not place:
                for raw in content(digest):
                    file.write(raw)
                file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                yield mapped

    def _keep(self, name: bytes, data: bytes) -> None:
        write_beside(name, data, mode=0o600)
        with self._lock:
            if self._size is None:
                self._size = sum(size for _, size, _ in self._ages())
            self._size += len(data)
            if self._size > KEPT:
                self._size = self._pruned()

    def _pruned(self) -> int:
        """Remove the oldest until half of the room is free; what is left, in bytes."""
        ages = sorted(self._ages())
        left = sum(size for _, size, _ in ages)
        for _, size, name in ages:
            if left <= KEPT // 2:
                break
            os.unlink(self._folder + b"/" + name)
            left -= size
        return left

    def _ages(self) -> list[tuple[int, int, bytes]]:
        """(modtime, size, name) of all that is kept."""
        ages = []
        for name in self._names():
            with suppress(FileNotFoundError):  # another command may be writing beside
                seen = os.stat(self._folder + b"/" + name)
                ages.append((seen.st_mtime_ns, seen.st_size, name))
        return ages

    def _names(self) -> list[bytes]:
        try:
            return os.listdir(self._folder)
        except FileNotFoundError:
            return []


def _read(name: bytes) -> bytes | None:
    """What is kept under this name; None where there is nothing, or something damaged."""
    try:
        with open(name, "rb") as file:
            data = file.read()
        unpacking = zlib.decompressobj()
        left = data
        while left and not unpacking.eof:  # the checksum tells; what it says is not kept in memory
            unpacking.decompress(left, 1 << 20)
            left = unpacking.unconsumed_tail
        return data if not data or unpacking.eof else None
    except (OSError, zlib.error):
        return None
