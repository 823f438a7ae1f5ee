"""A command on a terminal of its own, with somebody who types."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

LIMIT_S = 120.0
CTRL_C = "\x03"


def on_terminal(
    command: Sequence[str], answers: Sequence[tuple[str, str]], *, env: Mapping[str, str], cwd: Path
) -> tuple[int, str]:
    """Run `command`; after each prompt type its answer, and Return behind it
    unless it is Ctrl-C. Returns the exit code and all that the terminal showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command], stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cwd
    )
    os.close(theirs)
    shown, place, left = "", 0, list(answers)
    deadline = time.monotonic() + LIMIT_S
    try:
        while data := _read(ours, deadline):
            shown += data
            if left and left[0][0] in shown[place:]:
                place = len(shown)
                answer = left.pop(0)[1]
                os.write(ours, answer.encode() if answer == CTRL_C else f"{answer}\n".encode())
        return process.wait(timeout=LIMIT_S), shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read(terminal: int, deadline: float) -> str:
    """What came next; empty at the end."""
    waiting = select.poll()  # select() knows no handle above 1,023
    waiting.register(terminal, select.POLLIN)
    assert waiting.poll(max(0.0, deadline - time.monotonic()) * 1000), "the command hangs"
    try:
        return os.read(terminal, 65536).decode("utf-8", "replace")
    except OSError:  # so Linux tells the end of a terminal
        return ""
