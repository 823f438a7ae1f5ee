"""Writing a file, a link or a whole tree as its entries say: contents, modes, and modtimes to the nanosecond.

What lives here: making what is not there yet. What must not: where it is put afterwards (`working.py`).
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH101, PTH102, PTH123, PTH211

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dasctl.remote.manifest import Entry

Content = Callable[[str], Iterable[bytes]]


def write_tree(at: Path, entries: Sequence[Entry], content: Content) -> None:
    """Make at `at` what `entries` say, the first of which is its top. Raises OSError, and what `content` raises."""
    top = entries[0].path
    base = os.fsencode(at)
    folders = []
    for entry in entries:
        path = base + entry.path[len(top) :]
        if entry.kind == "d":
            os.mkdir(path, 0o700)  # closed when all is in it
            folders.append((path, entry))
        elif entry.kind == "l":
            os.symlink(entry.digest, path)
            os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)
        else:
            _file(path, entry, content)
    for path, entry in reversed(folders):
        os.chmod(path, entry.mode)
        os.utime(path, ns=(entry.mtime, entry.mtime))


def _file(path: bytes, entry: Entry, content: Content) -> None:
    with open(path, "xb") as file:
        for piece in content(entry.digest.decode("ascii")):
            file.write(piece)
        file.flush()
        os.fchmod(file.fileno(), entry.mode)
    os.utime(path, ns=(entry.mtime, entry.mtime))
