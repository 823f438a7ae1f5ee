"""The index of the repository: what is known of each file, so that an unchanged one is not read again.

What lives here: the index's form, reading and replacing it. What must not: walking the tree, hashing.

    .dasctl/index    MAGIC, 8 bytes xxh3 of what follows, msgpack

The index is a cache: damaged, older or newer, it is as good as absent.
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH103, PTH108, PTH123

from __future__ import annotations

import os
from typing import Protocol

import msgspec
import xxhash

from dasctl.adapters.beside import write_beside

MAGIC = b"dasctl index 1\n"
_CHECK = 8  # bytes

# How far the times of a file system may lag behind each other. Linux stamps files with the clock of its last tick
# (at most 10 ms); where a time has no fraction, the file system may count in steps of two seconds (FAT).
TICK_NS = 10_000_000
COARSE_NS = 2_000_000_000
SECOND_NS = 1_000_000_000

# modtime and ctime in ns, size, inode, mode as stat gives it, and the line of the manifest with its NUL.
Record = tuple[int, int, int, int, int, bytes]


class Patterns(Protocol):
    """What is excluded; see core/patterns.py."""

    def matches(self, path: bytes, is_folder: bool) -> bool: ...


class IndexedFolder(msgspec.Struct, array_like=True):
    """One folder: its files by name, and the names left out by the domain's `exclude` (folders end with `/`)."""

    files: dict[bytes, Record] = msgspec.field(default_factory=dict)
    left_out: list[bytes] = msgspec.field(default_factory=list)


class Index(msgspec.Struct, array_like=True):
    """All folders by path, and the patterns that were in force."""

    patterns: list[str] = msgspec.field(default_factory=list)
    folders: dict[bytes, IndexedFolder] = msgspec.field(default_factory=dict)


def load(path: bytes) -> Index:
    """The index at `path`; an empty one where it is absent or damaged."""
    try:
        with open(path, "rb") as file:
            data = memoryview(file.read())
    except OSError:
        return Index()
    start = len(MAGIC) + _CHECK
    if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : start] != xxhash.xxh3_64_digest(data[start:]):
        return Index()
    try:
        return msgspec.msgpack.decode(data[start:], type=Index)
    except (msgspec.MsgspecError, ValueError):
        return Index()


def save(path: bytes, index: Index) -> None:
    """Replace the index at `path`; where that cannot be, the next scan is slower and nothing else."""
    payload = msgspec.msgpack.encode(index)
    try:
        write_beside(path, b"".join((MAGIC, xxhash.xxh3_64_digest(payload), payload)), mode=0o600)
    except OSError:
        return


def repatterned(index: Index, patterns: list[str], ignore: Patterns | None) -> Index:
    """The same index as if it had been made under other patterns: what it lists is excluded by none of them."""
    if index.patterns == patterns:
        return index
    folders = {}
    for path, folder in index.folders.items():
        if ignore is None or not ignore.matches(path, True):
            files = {
                name: record
                for name, record in folder.files.items()
                if ignore is None or not ignore.matches(path + b"/" + name, False)
            }
            folders[path] = IndexedFolder(files=files)
    return Index(patterns=patterns, folders=folders)


def is_racy(record: Record, moment_ns: int) -> bool:
    """Whether a change after `moment_ns` (the file system's time, before hashing) could leave its times as they are.

    Such a record must not be kept: the next scan would believe it (git's "racy" entries).
    """
    newest = max(record[0], record[1])
    step = COARSE_NS if record[1] % SECOND_NS == 0 else TICK_NS
    return newest >= moment_ns - step


def file_system_time(folder: bytes) -> int:
    """The time, in ns, that the file system gives to a file written now; 0 where none can be written."""
    probe = b"%s/.now-%d" % (folder, os.getpid())
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return 0
    try:
        os.write(handle, b".")
        return os.fstat(handle).st_mtime_ns
    except OSError:
        return 0
    finally:
        os.close(handle)
        os.unlink(probe)
