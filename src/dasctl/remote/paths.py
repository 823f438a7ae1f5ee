"""Paths from the wire: relative, below a root, and nothing else.

What lives here: the judgement over a path's bytes. What must not: the file system (see tree.py for walking by handles).
"""

from __future__ import annotations

MAX_PATH = 4096  # bytes, PATH_MAX of Linux
MAX_NAME = 255  # bytes, NAME_MAX


class PathError(Exception):
    """A path that is not allowed; the message names it."""


def check(path: bytes) -> bytes:
    """Return `path` (bytes) if it is relative, normal and below its root; raise PathError otherwise."""
    if not path:
        raise PathError("an empty path")
    if len(path) > MAX_PATH:
        raise PathError("a path of %d bytes" % len(path))
    if b"\0" in path:
        raise PathError("a path with a NUL byte: %r" % path)
    for name in path.split(b"/"):
        if name in (b"", b".", b".."):
            raise PathError("a path that is absolute, not normal or leads upwards: %r" % path)
        if len(name) > MAX_NAME:
            raise PathError("a name of %d bytes in %r" % (len(name), path[:80]))
    return path


def check_name(name: str) -> str:
    """Return `name` (str), the name of an instance's folder, if it is a single plain component."""
    check(name.encode("utf-8", "surrogateescape"))
    if "/" in name or name.startswith("."):
        raise PathError("not the name of an instance: %r" % name)
    return name


def link_stays_inside(path: bytes, target: bytes) -> bool:
    """Whether the symbolic link at `path` (bytes, below the root) to `target` (bytes) stays below the root.

    Decided by the words alone: an absolute target leads out, and so does one whose `..` climb above the root at any step.
    """
    if not target or target.startswith(b"/"):
        return False
    depth = path.count(b"/")
    for name in target.split(b"/"):
        if name in (b"", b"."):
            continue
        depth += -1 if name == b".." else 1
        if depth < 0:
            return False
    return True


def printable(path: bytes) -> str:
    """`path` (bytes) as str for JSON and people; bytes that are not UTF-8 come as surrogate escapes."""
    return path.decode("utf-8", "surrogateescape")


def from_printable(text: str) -> bytes:
    """The bytes of a path that `printable` made."""
    return text.encode("utf-8", "surrogateescape")
