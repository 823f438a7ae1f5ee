"""Files and folders as frames, from one machine to another: for commands that run elsewhere.

What lives here: reading what is sent, writing what comes. What must not: connections, which files these are.

    {"entry": PATH, "kind": "f", "mode": M, "mtime": NS}   a file, folder ("d") or link ("l", with "target"); PATH below
                                                           what is carried, empty for that itself
    {"data": true} BYTES                                   what is in the file that was named last
    {"carried": N}                                         the N-th is complete
"""

# Names are bytes here, and Path is text.
# ruff: noqa: PTH101, PTH102, PTH115, PTH116, PTH208, PTH211

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from dasctl.errors import OperationFailed
from dasctl.remote import frames, paths
from dasctl.remote.paths import printable

PIECE = 256 << 10  # bytes of one frame
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def sent(path: bytes, number: int) -> Iterator[bytes]:
    """The frames of the file or folder at `path`; a link there is followed, those below are sent as links.

    Raises OperationFailed for what cannot be read or is no file, folder or link.
    """
    try:
        yield from _entry(path, b"", os.stat(path))
    except OSError as error:
        where = printable(os.fsencode(error.filename)) if error.filename else printable(path)
        raise OperationFailed(f"{where} cannot be read: {error.strerror}") from error
    yield frames.encode({"carried": number})


def _entry(path: bytes, name: bytes, seen: os.stat_result) -> Iterator[bytes]:
    header: dict[str, Any] = {
        "entry": os.fsdecode(name), "mode": stat.S_IMODE(seen.st_mode) & 0o777, "mtime": seen.st_mtime_ns,
    }  # fmt: skip
    if stat.S_ISREG(seen.st_mode):
        yield frames.encode({**header, "kind": "f"})
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            while data := file.read(PIECE):
                yield frames.encode({"data": True}, data)
    elif stat.S_ISLNK(seen.st_mode):
        yield frames.encode({**header, "kind": "l", "target": os.fsdecode(os.readlink(path))})
    elif stat.S_ISDIR(seen.st_mode):
        yield frames.encode({**header, "kind": "d"})
        for inner in sorted(os.listdir(path)):
            below = path + b"/" + inner
            yield from _entry(below, name + b"/" + inner if name else inner, os.lstat(below))
    else:
        raise OperationFailed(
            f"{printable(path)} is no file, folder or link: it cannot be sent",
            hint="remove it from the folder first",
        )


class Receiving:
    """Writes what comes to `place`, which does not exist yet, in a folder that nobody else writes to.

    `durable`: files survive a power cut when they are finished.
    """

    def __init__(self, place: bytes, *, durable: bool = False) -> None:
        self._place = place
        self._durable = durable
        self._handle: int | None = None
        self._file: tuple[bytes, int, int] | None = None  # path, mode and modtime of the one that is open
        self._folders: list[tuple[bytes, int, int]] = []
        self._links: list[tuple[bytes, bytes, int]] = []
        self.arrived = False

    def take(self, header: Mapping[str, Any], body: bytes) -> None:
        """One frame. Raises OSError, and ValueError for what is none of these."""
        if "data" in header:
            self._write(body)
            return
        self._finish_file()
        name = os.fsencode(_text(header["entry"]))
        path = self._place + b"/" + paths.check(name) if name else self._place
        mode, mtime = _number(header["mode"]) & 0o777, _number(header["mtime"])
        self.arrived = True
        match header.get("kind"):
            case "f":
                self._handle, self._file = os.open(path, _NEW, 0o600), (path, mode, mtime)
            case "d":
                os.mkdir(path, 0o700)
                self._folders.append((path, mode, mtime))
            case "l" if name:
                self._links.append((path, os.fsencode(_text(header["target"])), mtime))
            case other:
                raise ValueError(f"an entry of kind {other!r:.20}")

    def finish(self) -> None:
        """All is there: links last, so that nothing was written through one; folders get their modtimes from within."""
        self._finish_file()
        for path, target, mtime in self._links:
            os.symlink(target, path)
            os.utime(path, ns=(mtime, mtime), follow_symlinks=False)
        for path, mode, mtime in reversed(self._folders):
            os.chmod(path, mode | 0o700)
            os.utime(path, ns=(mtime, mtime))

    def close(self) -> None:
        """Give up."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _write(self, data: bytes) -> None:
        if self._handle is None:
            raise ValueError("contents of no file")
        view = memoryview(data)
        while view:
            view = view[os.write(self._handle, view) :]

    def _finish_file(self) -> None:
        if self._handle is None or self._file is None:
            return
        handle, (path, mode, mtime) = self._handle, self._file
        os.fchmod(handle, mode)
        if self._durable:
            os.fsync(handle)
        self.close()
        os.utime(path, ns=(mtime, mtime), follow_symlinks=False)


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"not a name: {value!r:.80}")
    return value


def _number(value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError(f"not a number: {value!r:.80}")
    return value
