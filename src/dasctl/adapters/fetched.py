"""Files that a command elsewhere made, as they come back to this machine.

What lives here: where they are written until they are whole, and putting them in their places by a rename.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dasctl.adapters.carrying import Receiving
from dasctl.adapters.durable import sync_path
from dasctl.core.elsewhere import CURRENT, CarriedFile
from dasctl.errors import OperationFailed, UsageError


def check(files: Sequence[CarriedFile]) -> None:
    """See, before anything is done, that what is sent is there, and what comes back can be written. Raises UsageError."""
    for file in files:
        path = Path(file.path)
        if file.way == "up":
            if not os.path.exists(path):  # noqa: PTH110 (any name)
                raise UsageError(
                    f"there is no {file.words} on this machine, from which it would be sent to the DAS"
                )
        else:
            folder = _folder_of(file)
            if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
                raise UsageError(
                    f"{folder} is no folder that can be written to, and {file.words} comes back to this machine"
                )


def _folder_of(file: CarriedFile) -> Path:
    path = Path(file.path)
    return path if file.way in ("folder", CURRENT) else path.parent


class Coming:
    """What comes next, beside the place where it will be; which of `files` it is, is known at its end."""

    def __init__(self, files: Sequence[CarriedFile]) -> None:
        self._beside: Path | None = None
        self._receiving: Receiving | None = None
        self._files = [file for file in files if file.way != "up"]

    def take(self, header: Mapping[str, Any], body: bytes) -> None:
        """One frame. Raises OperationFailed where it cannot be written, ValueError where it is none."""
        try:
            if self._receiving is None:
                folder = _folder_of(self._files[0])
                self._beside = Path(tempfile.mkdtemp(prefix=".dasctl-", dir=folder))
                self._receiving = Receiving(os.fsencode(self._beside / "it"), durable=True)
            self._receiving.take(header, body)
        except OSError as error:
            raise self._failed(error) from error

    def put_in_place(self, file: CarriedFile) -> None:
        """It is whole: rename it into its place, or all that is in it into the folder."""
        assert self._receiving is not None
        assert self._beside is not None
        try:
            self._receiving.finish()
            whole = self._beside / "it"
            if file.way in ("folder", CURRENT):
                for inner in sorted(whole.iterdir()):
                    inner.replace(Path(file.path) / inner.name)
            else:
                whole.replace(file.path)
            sync_path(os.fsencode(_folder_of(file)))
        except OSError as error:
            raise self._failed(error) from error
        finally:
            self.give_up()

    def give_up(self) -> None:
        """Leave nothing half."""
        if self._receiving is not None:
            self._receiving.close()
        if self._beside is not None:
            shutil.rmtree(self._beside, ignore_errors=True)

    def _failed(self, error: OSError) -> OperationFailed:
        names = ", ".join(file.words for file in self._files)
        return OperationFailed(
            f"the command has run, and what it made cannot be written on this machine ({names}): {error.strerror}",
            hint="make room, or name another place, and run it again",
        )
