"""A scan of the repository by a process of its own, while this one imports SSH and connects: on the second core.

What lives here: the fork, the way back of what was found. What must not: the scan itself (`tree.py`). Whatever goes wrong
over there leads to an ordinary scan here, which gives the result or the error itself.
"""

from __future__ import annotations

import gc
import marshal
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dasctl.core.slices import Scan

WORTH = 256 << 10  # bytes of an index (some 1,500 files) from which on a fork is cheaper than waiting
_PIECE = 1 << 20
_HANDLES = 4096  # more are not looked for; what is left open ends with the process


class ScanAhead:
    """One scan under way. `result` may be asked for once, in any thread; `drop` where nobody wants it any more."""

    def __init__(self, pid: int, handle: int) -> None:
        self._pid = pid
        self._handle = handle

    def result(self) -> Scan | None:
        """What was found; None: nothing came back."""
        try:
            with open(self._handle, "rb") as pipe:  # noqa: PTH123
                data = pipe.read()
        except OSError:
            data = b""
        ended = self._ended()
        return _unpacked(data) if ended and data else None

    def drop(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.close(self._handle)
        self._ended()

    def _ended(self) -> bool:
        try:
            return os.waitpid(self._pid, 0)[1] == 0
        except ChildProcessError:
            return False


def begin(index: bytes, scan: Callable[[], Scan]) -> ScanAhead | None:
    """Let a child do `scan`; None where that would gain nothing, or a fork is not safe because other threads run."""
    try:
        worth = os.stat(index).st_size >= WORTH and len(os.sched_getaffinity(0)) > 1  # noqa: PTH116
    except (OSError, AttributeError):
        return None
    if not worth or len(sys._current_frames()) > 1:
        return None
    ours, theirs = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(ours)
        os.close(theirs)
        return None
    if pid == 0:
        _child(theirs, scan)
    os.close(theirs)
    return ScanAhead(pid, ours)


def _child(handle: int, scan: Callable[[], Scan]) -> None:
    """Scan, tell, end. Nothing of the parent's is touched: neither its locks and sockets nor its unwritten output."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.closerange(3, handle)
        os.closerange(handle + 1, _HANDLES)
        # A parent that is killed must not seem to go on to whoever reads its output to the end.
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in {0, 1, 2} - {handle}:
            os.dup2(nothing, stream)
        gc.disable()
        data = memoryview(_packed(scan()))
        while data:
            data = data[os.write(handle, data[:_PIECE]) :]
        status = 0
    finally:
        os._exit(status)


def _packed(scan: Scan) -> bytes:
    areas = [(area.name, area.data, area.digest) for area in scan.areas.values()]
    problems = [(problem.path, problem.message, problem.refused) for problem in scan.problems]
    file: Any = tuple(scan.domain_file) if scan.domain_file is not None else None
    return marshal.dumps((list(scan.areas), areas, problems, scan.domain_yaml, file))


def _unpacked(data: bytes) -> Scan:
    from dasctl.core.slices import Area, Scan, ScanProblem
    from dasctl.remote.manifest import Entry

    names, areas, problems, digest, file = marshal.loads(data)
    found = [Area(name=name, data=lines, digest=own) for name, lines, own in areas]
    return Scan(
        areas=dict(zip(names, found, strict=True)),
        problems=tuple(ScanProblem(path=path, message=text, refused=bad) for path, text, bad in problems),
        domain_yaml=digest,
        domain_file=Entry(*file) if file is not None else None,
    )
