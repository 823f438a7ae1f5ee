"""Output that may lose its reader."""

from __future__ import annotations

import os
from collections.abc import Callable


def quietly(write: Callable[[], object]) -> None:
    """Run `write`; a reader that has gone away (`| head`) ends the output and nothing else."""
    try:
        write()
    except BrokenPipeError:
        # What is still buffered would raise again when the interpreter ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
