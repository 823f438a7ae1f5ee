"""Writing archives of logs: one .tar.gz, filled from many nodes side by side, always in the same order.

What lives here: the file, and what lies beside it until it is whole. What must not: what goes into it.

Each instance has a part of its own, a piece of tar in a gzip stream of its own. Gzip streams one after the other are one
gzip file, so the parts are joined as they lie, and nothing is held in memory.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dasctl.errors import OperationFailed, UsageError

SPOOL = 1 << 20  # bytes of a member that are kept in memory before they go to the disk
LEVEL = 6
PIECE = 1 << 20


class TarLogArchives:
    """operations.collecting_ports.LogArchives."""

    @contextmanager
    def writing(self, file: Path, *, force: bool) -> Iterator[TarLogArchive]:
        """See the port."""
        if os.path.lexists(file) and not force:
            raise UsageError(f"{file} exists already", hint="--force replaces it; --to names another file")
        with _told(file):
            folder = Path(tempfile.mkdtemp(prefix=f".{file.name[:100]}-", dir=file.parent))
        try:
            yield TarLogArchive(file=file, folder=folder, force=force)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class TarLogArchive:
    """One archive on its way."""

    def __init__(self, *, file: Path, folder: Path, force: bool) -> None:
        self._file, self._folder, self._force = file, folder, force
        self._parts: dict[int, Path] = {}

    @contextmanager
    def part(self, number: int) -> Iterator[TarPart]:
        """See the port."""
        path = self._folder / f"{number:08}"
        with (
            _told(self._file),
            path.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=LEVEL, mtime=0) as packed,
        ):
            yield TarPart(packed, self._file, self._folder)
        self._parts[number] = path

    def finish(self) -> int:
        """See the port."""
        with _told(self._file):
            beside = self._folder / "whole"
            with beside.open("xb") as whole:
                for number in sorted(self._parts):
                    with self._parts[number].open("rb") as part:
                        shutil.copyfileobj(part, whole, PIECE)
                    self._parts[number].unlink()
                whole.write(gzip.compress(bytes(2 * tarfile.BLOCKSIZE), LEVEL, mtime=0))
                whole.flush()
                os.fsync(whole.fileno())
                size = whole.tell()
            self._name(beside)
            return size

    def _name(self, beside: Path) -> None:
        if self._force:
            beside.replace(self._file)
            return
        try:
            os.link(beside, self._file)
        except FileExistsError:
            raise UsageError(f"{self._file} exists already", hint="--force replaces it") from None
        except OSError:  # a file system without hard links
            beside.replace(self._file)


class TarPart:
    """One instance's members, one after the other."""

    def __init__(self, packed: gzip.GzipFile, file: Path, folder: Path) -> None:
        self._packed, self._file, self._folder = packed, file, folder

    @contextmanager
    def spool(self) -> Iterator[IO[bytes]]:
        """See the port."""
        with tempfile.SpooledTemporaryFile(max_size=SPOOL, dir=str(self._folder)) as spooled:
            yield spooled

    def add(self, name: str, content: IO[bytes], *, mode: int, mtime: int) -> None:
        """See the port."""
        info = tarfile.TarInfo(name)
        with _told(self._file):
            info.size = content.seek(0, os.SEEK_END)
            content.seek(0)
            info.mode = mode
            info.mtime = mtime // 1_000_000_000
            if mtime % 1_000_000_000:
                info.pax_headers = {"mtime": f"{info.mtime}.{mtime % 1_000_000_000:09}"}
            header = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
            self._packed.write(header)
            shutil.copyfileobj(content, self._packed, PIECE)
            self._packed.write(bytes(-info.size % tarfile.BLOCKSIZE))


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperationFailed(
            f"{file} cannot be written: {error.strerror or error}",
            hint="name another file with --to, or make room on that disk",
        ) from error
