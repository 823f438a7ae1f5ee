"""Letting files survive a power cut: one by one, or a whole file system at once."""

from __future__ import annotations

import os


def sync_path(path: bytes) -> None:
    """Let a file or a folder survive a power cut. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file_system(folder: bytes) -> None:
    """The same for all that was written on the file system of `folder`. Raises OSError."""
    import ctypes  # of use only where much was written

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if sync is None:
            os.sync()
        elif sync(handle):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(handle)
