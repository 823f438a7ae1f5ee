"""`logs`: which log files there are, and their contents, piece by piece as the DAS asks for them.

What lives here: reading files that go on changing, and looking for lines in them, compressed ones too. What must not: which
files are worth it, and how much of them; the DAS knows what all nodes have.
"""

from __future__ import annotations

import os
import re
import zlib

from dasctl.remote import handles as by_handle
from dasctl.remote import log_files, messages, paths, visiting, words
from dasctl.remote.beats import Beating
from dasctl.remote.state import Failure
from dasctl.remote.wire import Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    from dasctl.remote import state
    from dasctl.remote.log_files import Found
    from dasctl.remote.wire import Link

    Reply = dict[str, Any]

PIECE = 2 << 20  # bytes of a file in one answer, before they are packed
LEVEL = 1  # zlib: logs shrink well, and the link is as fast as the others are slow
MOST_UNPACKED = 16 << 30  # bytes: a compressed file that goes on longer is looked through no further


def begin(link: Link, header: Reply) -> tuple[Reply, Collection]:
    """Answer a `logs`: the files; their contents are asked for with `more`."""
    common = messages.common(header)
    requests = messages.instances(header, _instance)
    with Beating(link):
        found = visiting.each(common, requests, _opened)
    verdicts = [item.verdict() if isinstance(item, Folder) else item for item in found]
    folders = {item.name: item for item in found if isinstance(item, Folder)}
    return {"reply": words.LOGS, "instances": verdicts}, Collection(link, folders)


def _instance(item: Reply) -> Reply:
    since = messages.optional(item, "since", (int, float))
    return {"name": item["name"], "files": messages.patterns(item, "files"), "since": since}


def _opened(node: str, place: state.Place, kept: state.Kept, request: Reply) -> Folder:
    return Folder(request, by_handle.Handles(os.dup(place.root)))


class Folder:
    """The logs of one instance, as they were when they were looked at."""

    def __init__(self, request: Reply, handles: by_handle.Handles) -> None:
        self.name: str = request["name"]
        self.handles = handles
        patterns = [re.compile(pattern) for pattern in request["files"] or [""]]
        since = request["since"]

        def chosen(path: bytes) -> bool:
            return any(pattern.search(path.decode("latin-1")) for pattern in patterns)

        found, self.problems = log_files.files(handles, chosen)
        self.files: dict[bytes, Found] = {
            one.path: one for one in found if since is None or one.status.st_mtime >= since
        }

    def verdict(self) -> Reply:
        files = [
            [paths.printable(one.path), one.status.st_size, one.status.st_mtime_ns, one.status.st_mode & 0o7777]
            for one in self.files.values()
        ]  # fmt: skip
        return {"name": self.name, "verdict": words.DONE, "logs": files, "problems": self.problems}

    def open(self, path: bytes) -> tuple[int, int]:
        """A handle of the file that was found at `path`, under whatever name it has now, and its size then."""
        known = self.files.get(path)
        if known is None:
            raise messages.BadMessage("path: %r is not among the files that were found" % path)
        for candidate in (path, *self._others()):
            try:
                handle = by_handle.open_file(self.handles, candidate)
            except OSError as error:
                if candidate == path and not by_handle.absent(error):
                    raise Failure(error.strerror or str(error)) from None
                continue
            status = os.fstat(handle)
            if (status.st_dev, status.st_ino) == (known.status.st_dev, known.status.st_ino):
                return handle, known.status.st_size
            os.close(handle)
        raise Failure("is not there any more")

    def _others(self) -> Iterator[bytes]:
        """Where else in `logs/` a file may be that was rotated meanwhile."""
        found, _problems = log_files.files(self.handles, lambda path: True)
        return (one.path for one in found)

    def close(self) -> None:
        self.handles.forget()
        os.close(self.handles.root)


class Collection:
    """The files of a request, and the one whose contents are under way."""

    def __init__(self, link: Link, folders: dict[str, Folder]) -> None:
        self._link, self._folders = link, folders
        self._handle = -1
        self._pieces: Iterator[bytes] = iter(())
        self._skipped = 0

    def answer(self, header: Reply) -> tuple[Reply, bytes] | Reply:
        """Answer a `more`: the next piece, of another file where one is named."""
        with Beating(self._link):
            try:
                if header.get("path") is not None:
                    self._begin(header)
                piece = next(self._pieces, None)
            except Failure as failure:
                self._end()
                return {"reply": words.MORE, "more": False, "problem": failure.message}
            except (Gone, messages.BadMessage):
                raise
            except Exception as error:  # a file that is damaged says so in its form's own words
                self._end()
                return {"reply": words.MORE, "more": False, "problem": str(error) or type(error).__name__}
            if piece is None:
                self._end()
                return {"reply": words.MORE, "more": False, "skipped": self._skipped}
            told = {"reply": words.MORE, "more": True, "skipped": self._skipped, "raw": len(piece)}
            return told, zlib.compress(piece, LEVEL)

    def _begin(self, header: Reply) -> None:
        self._end()
        folder = self._folders.get(messages.name(header, "name"))
        if folder is None:
            raise messages.BadMessage("name: %r has no logs here" % header["name"])
        path = paths.from_printable(messages.need(header, "path", str))
        most = messages.need(header, "most", int)
        pattern = messages.optional(header, "grep", str)
        self._skipped = 0
        self._handle, size = folder.open(path)
        if pattern is None:
            self._pieces = self._plain(size, most)
        else:
            self._pieces = _matching(_whole(self._handle, path, size), Matcher(pattern))

    def _plain(self, size: int, most: int) -> Iterator[bytes]:
        """The last `most` bytes of the first `size`, from the beginning of a line on."""
        at = max(0, size - most)
        if at:
            at = self._line_after(at, size)
        self._skipped = at
        while at < size:
            piece = os.pread(self._handle, min(PIECE, size - at), at)
            if not piece:
                return  # it has become shorter
            at += len(piece)
            yield piece

    def _line_after(self, at: int, size: int) -> int:
        end = os.pread(self._handle, min(log_files.BLOCK, size - at), at - 1).find(b"\n")
        return at + end if end >= 0 else at

    def _end(self) -> None:
        self._pieces = iter(())
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def close(self) -> None:
        self._end()
        for folder in self._folders.values():
            folder.close()


class Matcher:
    """Finds lines. Of many at once it is asked first whether any of them matches: most of the time none does."""

    def __init__(self, pattern: str) -> None:
        try:
            self._matches = re.compile(os.fsencode(pattern)).search
            self._anywhere = re.compile(os.fsencode(pattern), re.MULTILINE).search
        except (re.error, RecursionError, OverflowError, UnicodeError):
            raise messages.BadMessage("grep: %r is not a pattern" % pattern) from None
        # What looks around itself, or for the ends of the text, sees other things in many lines than in one.
        self._plain = not any(word in pattern for word in ("\\A", "\\Z", "(?"))

    def of(self, block: bytes) -> list[bytes]:
        """The lines of a block that match."""
        if self._plain and self._anywhere(block) is None:
            return []
        return [line for line in block.split(b"\n") if self._matches(line[: log_files.MOST_LINE])]


def _whole(handle: int, path: bytes, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file; of a compressed one what is in it."""
    if not path.endswith(log_files.COMPRESSED):
        at = 0
        while at < size:
            piece = os.pread(handle, min(log_files.BLOCK, size - at), at)
            if not piece:
                return
            at += len(piece)
            yield piece
        return
    with os.fdopen(os.dup(handle), "rb") as packed:
        stream = _unpacking(packed, path)
        taken = 0
        while taken < MOST_UNPACKED:
            piece = stream.read(log_files.BLOCK)
            if not piece:
                return
            taken += len(piece)
            yield piece
    raise Failure("holds more than %d GiB: it was not looked through to its end" % (MOST_UNPACKED >> 30))


def _unpacking(packed: BinaryIO, path: bytes) -> Any:
    """What is in a compressed file. Raises Failure for a form that this python does not read."""
    form = path.rpartition(b".")[2].decode("ascii")
    module = {"gz": "gzip", "bz2": "bz2", "xz": "lzma"}.get(form)
    try:
        if module is None:
            raise ImportError
        from importlib import import_module

        opened = import_module(module)
    except ImportError:
        raise Failure("is compressed as .%s, which python3 on the node does not read" % form) from None
    return opened.open(packed, "rb")


def _matching(data: Iterator[bytes], matcher: Matcher) -> Iterator[bytes]:
    """The lines that match, as they stand, some at a time."""
    found: list[bytes] = []
    size = 0
    for block in _blocks(data):
        came = matcher.of(block)
        found += came
        size += sum(len(line) + 1 for line in came)
        if size >= PIECE:
            yield b"\n".join(found) + b"\n"
            found, size = [], 0
    if found:
        yield b"\n".join(found) + b"\n"


def _blocks(data: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines, many at a time, without the last one's end; a line that is too long loses its rest."""
    held, dropping = b"", False
    for piece in data:
        if dropping:
            at = piece.find(b"\n")
            if at < 0:
                continue
            piece, dropping = piece[at:], False
        held += piece
        end = held.rfind(b"\n")
        if end >= 0:
            yield held[:end]
            held = held[end + 1 :]
        if len(held) > log_files.MOST_LINE:
            held, dropping = held[: log_files.MOST_LINE], True
    if held:
        yield held
