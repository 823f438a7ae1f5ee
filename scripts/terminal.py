"""Running a command as a person would see it: in a terminal of its own, or plainly where there is none.

What lives here: the pseudo-terminal, and the screen that is left after a program has drawn on it.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROWS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A command that has ended: its exit code (negative: a signal; None: out of time), and its output."""

    code: int | None
    output: str
    seconds: float


def run_in_terminal(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, columns: int, show: bool, timeout_s: float
) -> Ran:
    """Run `command` in a pseudo-terminal; with `show`, pass on what it prints as it comes."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    started = time.monotonic()
    with subprocess.Popen(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        try:
            output = _read_until_end(ours, process, show=show, deadline=started + timeout_s)
        except BaseException:
            process.kill()
            raise
        finally:
            os.close(ours)
        in_time = process.poll() is not None or time.monotonic() < started + timeout_s
        if not in_time:
            process.kill()
        code = process.wait()
    return Ran(
        code=code if in_time else None,
        output=output.decode("utf-8", "replace").replace("\r\n", "\n"),
        seconds=time.monotonic() - started,
    )


def _read_until_end(terminal: int, process: subprocess.Popen[bytes], *, show: bool, deadline: float) -> bytes:
    output = bytearray()
    while time.monotonic() < deadline:
        readable, _, _ = select.select([terminal], [], [], 0.05)
        if not readable:
            if process.poll() is not None:
                break
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux says EIO when the last writer has gone
            break
        if not data:
            break
        output += data
        if show:
            os.write(sys.stdout.fileno(), data)
    return bytes(output)


def run_plainly(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, show: bool, timeout_s: float
) -> Ran:
    """Run `command` without a terminal; with `show`, print what it printed when it has ended."""
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=timeout_s, check=False,
        )  # fmt: skip
        code, raw = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        code, raw = None, error.stdout or b""
    output = raw.decode("utf-8", "replace")
    if show:
        sys.stdout.write(output)
        sys.stdout.flush()
    return Ran(code=code, output=output, seconds=time.monotonic() - started)


_TOKEN = re.compile(
    r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|([\x00-\x1f])|([^\x1b\x00-\x1f]+)"
)


def last_screen(output: str) -> str:
    """What a terminal shows in the end: lines redrawn in place count once, colours (SGR sequences) are kept.

    Knows what live displays use: carriage return, cursor up and down, erase line and erase below.
    """
    lines: list[list[tuple[str, str]]] = [[]]  # cells: the colour in force, and a character
    row, column, colour = 0, 0, ""
    for match in _TOKEN.finditer(output):
        numbers, letter, control, text = match.groups()
        if letter == "m":
            colour = "" if numbers in ("", "0") else colour + match.group()
        elif letter == "A":
            row = max(0, row - int(numbers or 1))
        elif letter == "B":
            row += int(numbers or 1)
        elif letter == "K":
            lines[row] = [] if numbers == "2" else lines[row][:column]
        elif letter == "J":
            lines[row:] = [lines[row][:column]]
        elif control == "\r":
            column = 0
        elif control == "\n":
            row, column = row + 1, 0
        elif text:
            line = lines[row]
            line.extend([("", " ")] * (column - len(line)))
            line[column : column + len(text)] = [(colour, character) for character in text]
            column += len(text)
        lines.extend([] for _ in range(row + 1 - len(lines)))
    return "\n".join(_coloured(line) for line in lines).rstrip("\n") + "\n"


def _coloured(cells: Sequence[tuple[str, str]]) -> str:
    written, now = [], ""
    for colour, character in cells:
        if colour != now:
            written.append("\x1b[0m" + colour)
            now = colour
        written.append(character)
    return "".join(written) + ("\x1b[0m" if now else "")
