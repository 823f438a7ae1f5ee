"""What commands that take an archive ask about it: how much may come out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from dasctl.errors import UsageError

if TYPE_CHECKING:
    from dasctl.core.archives import Limits

MAX_SIZE = typer.Option(
    None,
    "--max-size",
    metavar="SIZE",
    help="How large an archive may become when it is unpacked. [default: 4G]",
)
MAX_FILES = typer.Option(
    None,
    "--max-files",
    metavar="N",
    min=1,
    help="How many files, folders and links it may hold. [default: 100000]",
)


def limits_from(size: str | None, files: int | None) -> Limits | None:
    """The limits; None where nothing was said. Raises UsageError."""
    if size is None and files is None:
        return None
    from dasctl.core.archives import MOST_BYTES, MOST_FILES, MOST_RATIO, Limits
    from dasctl.core.sizes import byte_count

    try:
        most = byte_count(size) if size is not None else MOST_BYTES
    except ValueError as error:
        raise UsageError(f"--max-size: {error}") from error
    # Who says how large it may become has thought about it.
    return Limits(bytes=most, files=files or MOST_FILES, ratio=MOST_RATIO if size is None else None)
