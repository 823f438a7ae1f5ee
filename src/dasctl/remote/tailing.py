"""`tail`: the last lines of log files, and what is written to them from then on.

What lives here: files that are read while servers write, rename, truncate and remove them. What must not: what lines are
looked for; the DAS.

The DAS asks for more when it has shown what it got: a slow terminal makes nobody wait here but the log's own file.
"""

from __future__ import annotations

import os
import re
import time

from dasctl.remote import handles as by_handle
from dasctl.remote import log_files, messages, paths, visiting, words
from dasctl.remote.wire import Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dasctl.remote import state
    from dasctl.remote.log_files import Chosen
    from dasctl.remote.wire import Link

    Reply = dict[str, Any]
    Line = list[Any]  # [instance, path, text, whether it is cut]

MOST_FOLLOWED = 200  # files of a request: each is held open
MOST_LINES = 1_000_000
MOST_REPLY = 512 << 10  # bytes of lines in one reply
SHARE = 64 << 10  # bytes that are read of one file before the others have their turn
WAIT_S = 20.0  # how long a reply may wait for something to tell
FIRST_LOOK_S, LOOK_S = 0.02, 0.25  # how often files are looked at: more often right after something came
SEARCH_S = 1.0  # how often it is looked for new files
PARTIAL_S = 1.0  # how long a line without an end is waited for
RETIRED_S = (
    60.0  # how long a file is read that another one has taken the place of: its server may not know yet
)
MOST_ZEROS = 64 << 20  # bytes at the beginning of a file that are read to find where its text begins
MARK = 64  # bytes before the place where we stand that tell whether it is still the same file
# What a file is called once its server writes to it no more.
_ROTATED = re.compile(rb"(\.\d+|[-.]\d{8,}|\.old|\.bak|~)(\.[a-z0-9]{2,4})?\Z")


def begin(link: Link, header: Reply) -> tuple[Reply, Tail]:
    """Answer a `tail`: the first lines, and what gives the others, where `more` is true."""
    common = messages.common(header)
    requests = messages.instances(header, _instance)
    follow = messages.optional(header, "follow", bool, False)
    found = visiting.each(common, requests, _opened)
    tail = Tail(link, [item for item in found if isinstance(item, Folder)], follow)
    try:
        tail.search(first=True)
        lines, more = tail.next(wait=False)
    except BaseException:
        tail.close()
        raise
    verdicts = [item.verdict() if isinstance(item, Folder) else item for item in found]
    return {"reply": words.TAIL, "instances": verdicts, "lines": lines, "more": more}, tail


def _instance(item: Reply) -> Reply:
    lines = messages.optional(item, "lines", int, 10)
    if not 0 <= lines <= MOST_LINES:
        raise messages.BadMessage("lines: %d" % lines)
    return {"name": item["name"], "files": messages.patterns(item, "files"), "lines": lines}


def _opened(node: str, place: state.Place, kept: state.Kept, request: Reply) -> Folder:
    return Folder(request, place.path, by_handle.Handles(os.dup(place.root)))


class Folder:
    """The logs of one instance."""

    def __init__(self, request: Reply, where: str, handles: by_handle.Handles) -> None:
        self.name: str = request["name"]
        self.lines: int = request["lines"]
        self.handles = handles
        self._where = where
        self.chosen = _chooser(request["files"])
        self.sources: dict[bytes, Source] = {}
        self.retired: list[Source] = []
        self.passed: set[bytes] = set()  # names of files that we have read under another name
        self.problems: list[Reply] = []
        self._told: set[str] = set()

    def verdict(self) -> Reply:
        found = [paths.printable(path) for path in sorted(self.sources)]
        return {"name": self.name, "verdict": words.DONE, "files": found, "problems": self.problems}

    def trouble(self, problem: Reply) -> None:
        """Tell it, once."""
        if problem["path"] not in self._told:
            self._told.add(problem["path"])
            self.problems.append(problem)

    def reopen(self) -> None:
        """Where the instance was removed and made anew, its logs are in another folder."""
        try:
            there, here = os.lstat(self._where), os.fstat(self.handles.root)
            if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                return
            root = os.open(self._where, by_handle.FOLDER)
        except OSError:
            return
        self.handles.forget()
        os.close(self.handles.root)
        self.handles = by_handle.Handles(root)

    def renew(self) -> None:
        """Begin files that have taken the place of others; let those go that nobody writes to any more."""
        for path, source in list(self.sources.items()):
            later = source.follower()
            if later is not None:
                self.sources[path] = later
                self.retired.append(source)
        for source in self.retired[:]:
            if source.is_silent():
                self.retired.remove(source)
                source.close()

    def close(self) -> None:
        for source in (*self.sources.values(), *self.retired):
            source.close()
        self.handles.forget()
        os.close(self.handles.root)


def _chooser(patterns: list[str] | None) -> Chosen:
    if patterns is None:
        return lambda path: path == b"server.log"
    known = [re.compile(pattern) for pattern in patterns]
    return lambda path: any(pattern.search(path.decode("latin-1")) for pattern in known)


class Source:
    """One file that is read as it grows, whatever its name becomes."""

    def __init__(self, folder: Folder, path: bytes, handle: int) -> None:
        self.folder, self.path = folder, path
        status = os.fstat(handle)
        self.identity = (status.st_dev, status.st_ino)
        self._handle = handle
        self._lines = log_files.Lines()
        self._heard = time.monotonic()
        self._at, self._mark = 0, b""
        self._end: int | None = None

    def go_to_last(self, lines: int, *, stay: bool) -> None:
        """Begin `lines` lines before the end. `stay`: what is written from now on does not count."""
        size = os.fstat(self._handle).st_size
        self._at = log_files.start_of_last(self._handle, size, lines)
        self._end = size if stay else None
        self._remember()

    def read(self, most: int) -> tuple[list[Line], int]:
        """Lines that came, of at most `most` bytes; and how many bytes were read."""
        most = min(most, SHARE)
        if self._end is not None:
            most = min(most, self._end - self._at)
        elif os.fstat(self._handle).st_size < self._at or not self._is_same():
            self._start_again()
        data = os.pread(self._handle, most, self._at)
        if not data:
            self._end = None if self._end is None else self._at  # it has become shorter
            return [], 0
        self._at += len(data)
        self._heard = time.monotonic()
        self._remember(data)
        return self._shown(self._lines.taken(data)), len(data)

    def _is_same(self) -> bool:
        """Whether what is before our place is what we have read: a file that was emptied may have grown past us."""
        return (
            not self._mark
            or os.pread(self._handle, len(self._mark), self._at - len(self._mark)) == self._mark
        )

    def _start_again(self) -> None:
        """The file was emptied. A server that goes on where it was leaves a hole at the beginning."""
        self._at, self._mark = 0, b""
        self._lines = log_files.Lines()
        try:
            self._at = os.lseek(self._handle, 0, os.SEEK_DATA)
        except OSError:
            pass  # there is nothing yet, or the file system knows of no holes
        self._skip_zeros()

    def _skip_zeros(self) -> None:
        most = self._at + MOST_ZEROS
        while self._at < most:
            block = os.pread(self._handle, SHARE, self._at)
            rest = block.lstrip(b"\0")
            self._at += len(block) - len(rest)
            if rest or not block:
                return
        self._at = os.fstat(self._handle).st_size

    def _remember(self, data: bytes = b"") -> None:
        if len(data) >= MARK:
            self._mark = data[-MARK:]
        else:
            start = max(0, self._at - MARK)
            self._mark = os.pread(self._handle, self._at - start, start)

    @property
    def goes_on(self) -> bool:
        """Whether there is more of what was there at the beginning."""
        return self._end is not None and self._at < self._end

    def late(self) -> list[Line]:
        """What there is of a line that nobody has ended for a while."""
        if self._lines.holds and time.monotonic() - self._heard >= PARTIAL_S:
            return self.rest()
        return []

    def rest(self) -> list[Line]:
        """What there is of a line that has not ended."""
        return self._shown(self._lines.rest())

    def _shown(self, lines: list[tuple[bytes, bool]]) -> list[Line]:
        name, path = self.folder.name, paths.printable(self.path)
        return [[name, path, log_files.text(line), cut] for line, cut in lines]

    def follower(self) -> Source | None:
        """The file that has our name by now, where that is another one."""
        try:
            status = by_handle.lstat(self.folder.handles, self.path)
            if status is None or (status.st_dev, status.st_ino) == self.identity:
                return None
            later = Source(self.folder, self.path, by_handle.open_file(self.folder.handles, self.path))
        except OSError:
            return None  # it is being replaced: the next look finds out
        self._heard = time.monotonic()
        return later

    def is_silent(self) -> bool:
        """Whether nothing was written for so long that nothing more will be."""
        return time.monotonic() - self._heard > RETIRED_S

    def close(self) -> None:
        os.close(self._handle)


class Tail:
    """The files of a request, and their lines as they come."""

    def __init__(self, link: Link, folders: list[Folder], follow: bool) -> None:
        self._link, self._folders, self._follow = link, folders, follow
        self._searched = 0.0
        self._turn = 0

    def _sources(self) -> list[Source]:
        return [source for folder in self._folders for source in (*folder.retired, *folder.sources.values())]

    def search(self, *, first: bool) -> None:
        """Find files: at first those that are there; later those that came, and those that others took the place of."""
        self._searched = time.monotonic()
        for folder in self._folders:
            if not first:
                folder.reopen()
            found, problems = log_files.files(folder.handles, folder.chosen)
            for problem in problems:
                folder.trouble(problem)
            folder.renew()
            known = {source.identity for source in (*folder.sources.values(), *folder.retired)}
            for path, status in found:
                if path in folder.sources or path in folder.passed:
                    continue
                if (status.st_dev, status.st_ino) in known:
                    folder.passed.add(path)
                elif first or not _ROTATED.search(path):
                    self._add(folder, path, first=first)

    def _add(self, folder: Folder, path: bytes, *, first: bool) -> None:
        if path.endswith(log_files.COMPRESSED):
            return folder.trouble(log_files.problem(path, "is compressed, and has no lines to follow"))
        if len(self._sources()) >= MOST_FOLLOWED:
            return folder.trouble(
                log_files.problem(path, "is left out: more than %d files on this node" % MOST_FOLLOWED)
            )
        try:
            source = Source(folder, path, by_handle.open_file(folder.handles, path))
        except OSError as error:
            return folder.trouble(log_files.problem(path, error.strerror or str(error)))
        folder.sources[path] = source
        if first:
            source.go_to_last(folder.lines, stay=not self._follow)
        return None

    def next(self, *, wait: bool = True) -> tuple[list[Line], bool]:
        """Lines that came, and whether there may be more. Without any it waits, where files are followed."""
        lines = self._read()
        if not self._follow:
            more = any(source.goes_on for source in self._sources())
            return lines if more else lines + self._rest(), more
        return lines or (self._awaited() if wait else []), True

    def _rest(self) -> list[Line]:
        return [line for source in self._sources() for line in source.rest()]

    def _read(self) -> list[Line]:
        """What there is to read now, each file in its turn."""
        lines: list[Line] = []
        left = MOST_REPLY
        sources = self._sources()
        pending = sources[self._turn :] + sources[: self._turn]
        while pending and left > 0:
            again = []
            for number, source in enumerate(pending):
                came, size = source.read(left)
                lines += came
                left -= size
                if size:
                    again.append(source)
                if left <= 0:
                    self._turn = (self._turn + number + 1) % max(1, len(sources))
                    break
            pending = again
        return lines

    def _awaited(self) -> list[Line]:
        """What comes in the next WAIT_S seconds; beats go out meanwhile. Raises Gone when nobody waits for it any more."""
        until = time.monotonic() + WAIT_S
        beat = time.monotonic() + words.BEAT_S
        pause = FIRST_LOOK_S
        while True:
            now = time.monotonic()
            if now - self._searched >= SEARCH_S:
                self.search(first=False)
            lines = self._read() or [line for source in self._sources() for line in source.late()]
            if lines or now >= until:
                return lines
            if self._link.gone():
                raise Gone
            if now >= beat:
                self._link.send({"event": "beat"})
                beat = now + words.BEAT_S
            time.sleep(pause)
            pause = min(2 * pause, LOOK_S)

    def answer(self, header: Reply) -> Reply:
        """Answer a `more`: further lines, and what could not be looked at meanwhile."""
        told = [len(folder.problems) for folder in self._folders]
        lines, more = self.next()
        problems = [
            dict(problem, name=folder.name)
            for folder, number in zip(self._folders, told)
            for problem in folder.problems[number:]
        ]
        return {"reply": words.MORE, "lines": lines, "more": more, "problems": problems}

    def close(self) -> None:
        for folder in self._folders:
            folder.close()
