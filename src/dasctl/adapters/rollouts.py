"""An unfinished change (a rolling one, switches of releases) as a file of the domain's folder, and in memory. Fits
ports.Rollouts."""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH108

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from dasctl.adapters.beside import write_beside
from dasctl.adapters.durable import sync_path
from dasctl.errors import OperationFailed

ROLLING = "rolling"
UPGRADING = "upgrading"  # which servers upgrade-node has stopped, and must start


class FolderRollouts:
    """`.dasctl/NAME` of the domain at `root`."""

    def __init__(self, root: Path, name: str = ROLLING) -> None:
        self._path = root / ".dasctl" / name

    def read(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OperationFailed(f"{self._path} cannot be read: {error.strerror}") from error

    def write(self, data: bytes) -> None:
        try:
            self._path.parent.mkdir(exist_ok=True)
            write_beside(os.fsencode(self._path), data, mode=0o600)
            for path in (self._path, self._path.parent):
                sync_path(os.fsencode(path))
        except OSError as error:
            raise OperationFailed(
                f"{self._path} cannot be written: {error.strerror}",
                hint="without it what is interrupted could not be resumed: free some space, then go on with --resume",
            ) from error

    def clear(self) -> None:
        try:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
        except OSError as error:
            raise OperationFailed(f"{self._path} cannot be removed: {error.strerror}") from error


class MemoryRollouts:
    """The same without a disk."""

    def __init__(self) -> None:
        self.data: bytes | None = None

    def read(self) -> bytes | None:
        return self.data

    def write(self, data: bytes) -> None:
        self.data = data

    def clear(self) -> None:
        self.data = None
