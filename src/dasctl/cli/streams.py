"""Output that may lose its reader, or its disk.

What lives here: what happens then. A command that did its work is not undone by a line that could not be printed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TextIO


def delivered(write: Callable[[], object], err: TextIO) -> bool:
    """Run `write`, and say whether its output arrived, or was not wanted any more.

    A reader that has gone away (`| head`) ends the output and nothing else; a full disk is told on `err`.
    """
    try:
        write()
    except BrokenPipeError:
        _give_up()
    except OSError as error:
        _give_up()
        complain(f"dasctl: the output could not be written: {error.strerror}\n", err)
        return False
    return True


def complain(words: str, err: TextIO) -> None:
    """Say something on `err` if that is still possible."""
    try:
        err.write(words)
        err.flush()
    except OSError:
        pass


def _give_up() -> None:
    """Send standard output nowhere: what is still buffered would raise again when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def standard(stream: TextIO | None) -> TextIO:
    """A standard stream, or nowhere if it was closed before we began (`>&-`)."""
    return stream if stream is not None else open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123


def flushed(out: TextIO, err: TextIO) -> bool:
    """Flush what is left at the end."""
    arrived = delivered(out.flush, err)
    complain("", err)
    return arrived
