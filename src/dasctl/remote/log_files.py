"""The files in an instance's `logs/`: which there are, and lines of them, however odd.

What lives here: looking, reading backwards, cutting lines. What must not: requests, following (`tailing.py`).
"""

from __future__ import annotations

import os
import stat
from collections import namedtuple

from dasctl.remote import handles as by_handle
from dasctl.remote import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NamedTuple

    Problem = dict[str, Any]
    Chosen = Callable[[bytes], bool]

    class Found(NamedTuple):
        """A file that is there: its path below the instance's folder, and what the file system says of it."""

        path: bytes
        status: os.stat_result

else:
    Found = namedtuple("Found", "path status")

ROOT = b"logs"
MOST_FILES = 10_000  # of an instance
MOST_DEPTH = 16
MOST_LINE = 32 << 10  # bytes: what goes on without an end is cut
BLOCK = 64 << 10  # bytes read at a time
COMPRESSED = (b".gz", b".xz", b".bz2", b".zst", b".lz4", b".zip")


def files(handles: by_handle.Handles, chosen: Chosen) -> tuple[list[Found], list[Problem]]:
    """The regular files below `logs/` whose paths below it are `chosen`, by path; and what could not be looked at."""
    found: list[Found] = []
    problems: list[Problem] = []
    handles.forget()  # folders may have been replaced
    for path, status in _walked(handles, ROOT, problems, MOST_DEPTH):
        if not chosen(path[len(ROOT) + 1 :]):
            continue
        if stat.S_ISREG(status.st_mode):
            found.append(Found(path, status))
        elif stat.S_ISLNK(status.st_mode):
            problems.append(problem(path, "is a symbolic link, and is not followed"))
        if len(found) == MOST_FILES:
            problems.append(problem(ROOT, "has more than %d files; the others are left out" % MOST_FILES))
            break
    return sorted(found, key=lambda one: one.path), problems


def problem(path: bytes, message: str) -> Problem:
    return {"path": paths.printable(path), "message": message}


def _walked(
    handles: by_handle.Handles, folder: bytes, problems: list[Problem], depth: int
) -> Iterator[tuple[bytes, os.stat_result]]:
    try:
        handle = handles.folder(folder)
        names = sorted(os.fsencode(name) for name in os.listdir(handle))
    except OSError as error:
        if folder != ROOT or not by_handle.absent(error):
            problems.append(problem(folder, error.strerror or str(error)))
        return
    for name in names:
        path = folder + b"/" + name
        try:
            status = by_handle.lstat(handles, path)
        except OSError as error:
            problems.append(problem(path, error.strerror or str(error)))
            continue
        if status is None:
            continue
        if not stat.S_ISDIR(status.st_mode):
            yield path, status
        elif depth:
            yield from _walked(handles, path, problems, depth - 1)


def start_of_last(handle: int, size: int, lines: int) -> int:
    """Where the last `lines` lines of the first `size` bytes of a file begin."""
    if lines <= 0:
        return size
    end, left = size, lines
    if size and os.pread(handle, 1, size - 1) == b"\n":
        end -= 1  # it ends the last line, and begins none
    while end > 0:
        start = max(0, end - BLOCK)
        block = os.pread(handle, end - start, start)
        count = block.count(b"\n")
        if count >= left:
            at = len(block)
            for _ in range(left):
                at = block.rfind(b"\n", 0, at)
            return start + at + 1
        left -= count
        end = start
    return 0


class Lines:
    """Bytes cut into lines; of one that is too long only the beginning is given, marked."""

    def __init__(self) -> None:
        self._held = b""  # the beginning of a line that has not ended
        self._dropping = False

    def taken(self, data: bytes) -> list[tuple[bytes, bool]]:
        """The lines that have ended with `data`, without their ends, and whether they are cut."""
        done: list[tuple[bytes, bool]] = []
        pieces = data.split(b"\n")
        for number, piece in enumerate(pieces):
            ends = number < len(pieces) - 1
            if self._dropping:
                self._dropping = not ends
                continue
            line = self._held + piece if self._held else piece
            self._held = b""
            if len(line) > MOST_LINE:
                done.append((line[:MOST_LINE], True))
                self._dropping = not ends
            elif ends:
                done.append((line[:-1] if line.endswith(b"\r") else line, False))
            else:
                self._held = line
        return done

    def rest(self) -> list[tuple[bytes, bool]]:
        """What there is of a line that has not ended."""
        held, self._held = self._held, b""
        return [(held, False)] if held else []

    @property
    def holds(self) -> bool:
        return bool(self._held)


def text(line: bytes) -> str:
    """A line for JSON; bytes that are not UTF-8 as surrogate escapes."""
    return line.decode("utf-8", "surrogateescape")
