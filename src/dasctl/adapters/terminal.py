"""The terminal on which a command line was typed, lent to a command that runs elsewhere.

What lives here: which standard streams are a terminal, its size, and passing on what is typed, unread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Terminal:
    """The standard streams of this process."""

    def __init__(self) -> None:
        self.streams = tuple(_is_terminal(number) for number in (0, 1, 2))

    @property
    def shown_on(self) -> int:
        """The stream that shows what a command writes on its terminal."""
        return 1 if self.streams[1] else 2

    def window(self) -> list[int] | None:
        """Rows and columns; None where there is no terminal."""
        for number in (1, 2, 0):
            if self.streams[number]:
                with contextlib.suppress(OSError):
                    size = os.get_terminal_size(number)
                    return [size.lines or 24, size.columns or 80]  # zeros: nobody has said
        return None

    @contextmanager
    def shared(
        self, *, typed: Callable[[bytes], None], resized: Callable[[list[int]], None]
    ) -> Iterator[None]:
        """Here what is typed goes to `typed` as it comes, Ctrl-C too, and the window's size to `resized` when it changes."""
        loop = asyncio.get_running_loop()

        def measured() -> None:
            window = self.window()
            if window is not None:
                resized(window)

        if any(self.streams):
            loop.add_signal_handler(signal.SIGWINCH, measured)
        try:
            with _raw(0, typed) if self.streams[0] and _in_front() else contextlib.nullcontext():
                yield
        finally:
            if any(self.streams):
                loop.remove_signal_handler(signal.SIGWINCH)


@contextmanager
def _raw(handle: int, typed: Callable[[bytes], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def read() -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = os.read(handle, 4096)
        if data:
            typed(data)
        else:
            loop.remove_reader(handle)  # the terminal has gone

    before = termios.tcgetattr(handle)
    tty.setraw(handle, termios.TCSADRAIN)
    loop.add_reader(handle, read)
    try:
        yield
    finally:
        loop.remove_reader(handle)
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def _in_front() -> bool:
    """Whether what is typed is for us: who reads in the background is stopped."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False
