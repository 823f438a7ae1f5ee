"""What operations need of the outside world that concern backups. The other ports are in `ports.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from dasctl.core.backups import BackupFile, Before, Beside, Facts
from dasctl.core.exchange import Who

OnBytes = Callable[[int, int], None]  # how many of how many


class Backups(Protocol):
    """Backups as files."""

    def folder(self, root: Path) -> Path:
        """Where backups of the domain at `root` lie, unless another folder is named."""

    def write(
        self,
        root: Path,
        folder: Path,
        *,
        who: Who,
        now: float,
        history: bool,
        extra: Mapping[str, bytes],
        on_written: OnBytes,
    ) -> BackupFile:
        """Write the last revision of the domain at `root` into a new file in `folder`. No lock is needed.

        `history`: with the history and the contents of older revisions. `extra`: parts (digest to canonical bytes) of that
        revision that the history does not keep. Raises OperationFailed with nothing left behind, ObjectLost, HistoryError.
        """

    def listed(self, folder: Path) -> list[BackupFile]:
        """The backups in `folder`, by name; of each only the beginning and the end are read. Raises OperationFailed."""

    def prune(self, folder: Path, id: str, keep: int) -> list[Path]:
        """Remove all but the `keep` youngest backups of the domain `id`, and nothing else; returns those removed."""

    def verify(self, path: Path, on_read: OnBytes) -> Facts:
        """Read all of a backup. Raises OperationFailed where anything in it is not as its manifest says."""


class Restoring(Protocol):
    """Putting a backup in the place of a domain."""

    def before(self, root: Path) -> Before | None:
        """The domain at `root`; None where nothing is, or an empty folder. Raises UsageError for what is no domain."""

    def laid_out(self, file: Path, root: Path, on_read: OnBytes) -> AbstractContextManager[Beside]:
        """The backup as a folder beside `root`, verified again on the way, and on the disk. Gone at the end, unless swapped.

        Raises OperationFailed with nothing changed.
        """

    def prepare(self, beside: Beside, *, epoch: int, above: int) -> None:
        """Give the history in it this epoch, and numbers above `above`."""

    def swap(self, beside: Beside, root: Path, *, command: str, wait_s: float, now: float) -> Path | None:
        """Let it be the domain at `root`, in one step; returns where the one that was there is now. Raises DomainLocked,
        OperationFailed with nothing changed.
        """

    def find(self, explicit: Path | None) -> Path:
        """The domain's folder that is meant, which need not exist where it is named. Raises DomainNotFound."""
