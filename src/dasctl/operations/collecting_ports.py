"""What collecting logs needs of the outside world: an archive that is filled from many nodes side by side."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol


class LogPart(Protocol):
    """One instance's members. Used by one thread at a time."""

    def spool(self) -> AbstractContextManager[IO[bytes]]:
        """A file for a content whose size is not known yet, gone at the end; a large one is on the disk."""

    def add(self, name: str, content: IO[bytes], *, mode: int, mtime: int) -> None:
        """A member with all that is in `content`; `mtime` in ns. Raises OperationFailed where it cannot be written."""


class LogArchive(Protocol):
    """An archive on its way: nothing is where it shall be before `finish`."""

    def part(self, number: int) -> AbstractContextManager[LogPart]:
        """A part of its own; in the archive they stand in the order of their numbers, whenever they were filled."""

    def finish(self) -> int:
        """Put all parts together under the archive's name; its size in bytes. Raises OperationFailed, UsageError."""


class LogArchives(Protocol):
    """Makes archives of logs."""

    def writing(self, file: Path, *, force: bool) -> AbstractContextManager[LogArchive]:
        """An archive that shall be `file`. Raises UsageError where that exists, unless `force`; without `finish` nothing
        is left.
        """
