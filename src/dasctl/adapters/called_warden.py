"""Who ends a command of somebody elsewhere when `serve-caller` itself is gone, however it went.

What lives here: a small process beside the command, and how it is told. What must not: the relay (`called_command.py`).

`kill -9` leaves nobody time to end a child, and a signal at a parent's death is Linux's alone and gives no grace. So a
process of its own, in a session of its own, reads a pipe that only `serve-caller` holds open. The command names itself
there before it begins, so that it cannot be missed; where the pipe ends without the word that all is over, the
command's process group gets SIGTERM, time to end in order, and SIGKILL.

The process runs this file alone, without the packages of the DAS.
"""

from __future__ import annotations

import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

GRACE_S = 60.0  # how long a command may take to end after its caller has gone
_LOOK_S = 0.1
_OVER = b"over\n"


class Warden:
    """The process, as it is seen from `serve-caller`."""

    def __init__(self) -> None:
        self._told = -1
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to watch. Raises OSError where no process can be made."""
        import subprocess

        hears, self._told = os.pipe()
        nowhere = subprocess.DEVNULL  # sshd waits for all who hold the streams that it made
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__], stdin=hears, stdout=nowhere, stderr=nowhere,
                cwd="/", start_new_session=True,
            )  # fmt: skip
        except OSError:
            os.close(self._told)
            raise
        finally:
            os.close(hears)

    def watch_me(self) -> None:
        """In the child, the leader of its group, before it becomes the command."""
        self._tell(b"%d\n" % os.getpid())

    def stop(self) -> None:
        """The command has ended: there is nobody left to watch."""
        if self._process is None:
            return
        self._tell(_OVER)
        os.close(self._told)
        self._process.wait()
        self._process = None

    def _tell(self, words: bytes) -> None:
        try:
            os.write(self._told, words)
        except OSError:
            pass  # somebody ended the warden; the command goes on as it would without one


def main() -> None:
    """Wait until standard input ends; then end what is still to be ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # what ends a whole login at once must not end this one first
    said = b""
    while data := os.read(0, 512):
        said += data
    if said.endswith(_OVER) or not said:
        return
    end_group(int(said), GRACE_S)


def end_group(group: int, grace_s: float) -> None:
    """End the process group: SIGTERM, and SIGKILL for those who are still there after `grace_s` seconds."""
    try:
        os.killpg(group, signal.SIGTERM)
        until = time.monotonic() + grace_s
        while time.monotonic() < until:
            time.sleep(_LOOK_S)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass  # nobody is left of it


if __name__ == "__main__":
    main()
