"""Replacing a file: written beside it, then renamed over it, so that a reader sees the old one or the new one."""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH105, PTH108, PTH118, PTH123

from __future__ import annotations

import os

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_beside(path: bytes, data: bytes, *, mode: int) -> None:
    """Replace the file at `path`, whose folder exists. Survives a kill; not fsynced. Raises OSError."""
    folder, name = os.path.split(path)
    # As `tempfile` does, whose import takes 5 ms.
    beside = os.path.join(folder, b".%s-%s" % (name[:100], os.urandom(8).hex().encode()))
    handle = os.open(beside, _NEW, 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            os.fchmod(handle, mode)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
