"""Replacing a file: written beside it, then renamed over it, so that a reader sees the old one or the new one."""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH105, PTH108, PTH123

from __future__ import annotations

import os
import tempfile


def write_beside(path: bytes, data: bytes, *, mode: int) -> None:
    """Replace the file at `path`, whose folder exists. Survives a kill; not fsynced. Raises OSError."""
    folder, name = os.path.split(path)
    handle, beside = tempfile.mkstemp(prefix=b"." + name[:100] + b"-", dir=folder)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            os.fchmod(handle, mode)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
