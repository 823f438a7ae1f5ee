"""Where something is mounted below a folder: somebody else's files, and the border of a file system.

What lives here: reading the system's table. What must not: what follows from it.
"""

from __future__ import annotations

import sys

TABLE = "/proc/self/mountinfo"


def below(folder: str | bytes, table: str = TABLE) -> list[bytes]:
    """The mount points in `folder` (absolute, without symbolic links) and below it, as absolute paths in their order; none
    where the system does not tell."""
    try:
        with open(table, "rb") as file:
            points = [unescaped(line.split(b" ")[4]) for line in file if line.count(b" ") > 4]
    except OSError:
        return []
    inside = (_bytes(folder) if isinstance(folder, str) else folder) + b"/"
    return sorted({point for point in points if (point + b"/").startswith(inside)})


def _bytes(path: str) -> bytes:
    """As `os.fsencode`."""
    return path.encode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def unescaped(point: bytes) -> bytes:
    """A path of the table, in which space, tab, newline and backslash stand as three octal digits."""
    head, *rest = point.split(b"\\")
    return head + b"".join(bytes([int(text[:3], 8)]) + text[3:] for text in rest)
