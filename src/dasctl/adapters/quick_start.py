"""What shortens the start of a command that connects: measured, and without effect on what it does.

What lives here: the quick import of asyncssh. What must not: anything else.
"""

from __future__ import annotations

import ctypes.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib")


def import_asyncssh() -> None:
    """Import asyncssh without the two searches for optional libraries that run gcc and ldconfig: 30 ms."""
    if "asyncssh" in sys.modules:
        return
    with _libraries_found_by_name():
        import asyncssh  # noqa: F401


@contextmanager
def _libraries_found_by_name() -> Iterator[None]:
    thorough = ctypes.util.find_library

    def find(name: str) -> str | None:
        return thorough(name) if _may_be_installed(name) else None

    ctypes.util.find_library = find
    try:
        yield
    finally:
        ctypes.util.find_library = thorough


def _may_be_installed(name: str) -> bool:
    """Whether a file of that library lies where the linker looks; multiarch folders are one level below."""
    pattern = f"lib{name}.*"
    return any(
        next(folder.glob(pattern), None) is not None
        for root in map(Path, _LIBRARY_FOLDERS)
        for folder in (root, *root.glob("*-linux-gnu*"))
    )
