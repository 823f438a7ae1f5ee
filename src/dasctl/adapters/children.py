"""A process of ours at the other end of a socket, which is its standard input and output.

What lives here: starting it, learning its end and its last words, ending it by its id. What must not: what it is for.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from dasctl.adapters.streams import OtherEnd

_TAIL = 4 << 10  # bytes of standard error that are shown, as link.STDERR_TAIL
_ROOM = 1 << 20  # bytes that the kernel is asked to hold under way; it may give less
_POLL_S = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process that was started here. `stderr` is the file of its standard error, closed when it was ended."""

    process: subprocess.Popen[bytes]
    stderr: BinaryIO

    @classmethod
    def started(
        cls,
        command: Sequence[str],
        theirs: socket.socket,
        stderr: BinaryIO,
        *,
        folder: str,
        environment: Mapping[str, str],
    ) -> Child:
        """Start `command` in `folder`, in a session of its own: Ctrl-C is for us, and it ends with its input.

        `theirs` stays the caller's, `stderr` where it raises OSError.
        """
        process = subprocess.Popen(
            command,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=stderr.fileno(),
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        return cls(process=process, stderr=stderr)

    def other_end(self, *, patience_s: float) -> OtherEnd:
        """For streams. When the stream is closed, the process has `patience_s` to end by itself."""
        from dasctl.adapters.streams import OtherEnd

        return OtherEnd(
            exit_status=self.ended, stderr_tail=self.stderr_tail, end=lambda: self.end(patience_s)
        )

    async def ended(self) -> int | None:
        """Its exit status (negative: a signal), as soon as there is one."""
        import asyncio

        while self.process.poll() is None:  # noqa: ASYNC110 (a child watcher for some milliseconds costs more)
            await asyncio.sleep(_POLL_S)
        return self.process.returncode

    async def end(self, patience_s: float) -> None:
        """Returns when it is gone. May be called twice."""
        import asyncio

        try:
            async with asyncio.timeout(patience_s):
                await self.ended()
        except TimeoutError:
            self.process.kill()
            await self.ended()  # killed: it takes no time, but that is others' time
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once. May be called twice."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()  # killed: it takes no time
        self.stderr.close()

    def stderr_tail(self) -> str:
        """The last that it wrote to standard error; empty when it was ended."""
        return tail_of(self.stderr)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Ours and theirs, with room for much on the way, so that neither waits for the other at each piece."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
    return ours, theirs


def tail_of(file: BinaryIO) -> str:
    """The end of a file that somebody else writes to; empty where it is closed."""
    if file.closed:
        return ""
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), _TAIL, max(0, size - _TAIL)).decode("utf-8", "replace")
