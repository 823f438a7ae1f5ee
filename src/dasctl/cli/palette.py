"""Colours: few, and only where a terminal shows them.

What lives here: which stream takes colours, and what each word's colour is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

_CODES = {
    "green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1", "cyan": "36", "magenta": "35", "blue": "34",
}  # fmt: skip
NAME_COLOURS = (
    "cyan",
    "yellow",
    "green",
    "magenta",
    "blue",
)  # of names in turn; red says that something is wrong

_WORDS = {
    "running": "green",
    "synchronised": "green",
    "started": "green",
    "restarted": "green",
    "stopped": "green",
    "ready": "green",
    "ok": "green",
    "done": "green",
    "starting": "yellow",
    "stopping": "yellow",
    "partially running": "yellow",
    "requires restart": "yellow",
    "skipped": "yellow",
    "not running": "dim",
    "unchanged": "dim",
    "failed": "red",
    "refused": "red",
    "unreachable": "red",
    "unknown": "red",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """Paints text, or leaves it as it is."""

    colours: bool

    def paint(self, text: str, colour: str) -> str:
        if not self.colours or not text.strip():
            return text
        bare = text.rstrip(" ")
        return f"\033[{_CODES[colour]}m{bare}\033[0m{text[len(bare) :]}"

    def word(self, text: str) -> str:
        """A state or status in its colour, padding kept."""
        colour = _WORDS.get(text.strip())
        return self.paint(text, colour) if colour else text


def is_screen(stream: TextIO) -> bool:
    """Whether `stream` is a terminal."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def palette_for(stream: TextIO, environment: Mapping[str, str] = os.environ) -> Palette:
    """Colours on terminals that have some, unless NO_COLOR is set (no-color.org: to anything but nothing)."""
    dumb = environment.get("TERM", "") in ("", "dumb")
    return Palette(colours=is_screen(stream) and not dumb and not environment.get("NO_COLOR"))
