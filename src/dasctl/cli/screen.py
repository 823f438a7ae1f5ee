"""Where one outcome is printed: streams, width, colours.

What lives here: how a line and a message look. What must not: which ones are printed (`show.py`, `messages.py`).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TextIO

from dasctl.cli import text
from dasctl.cli.call import Settings
from dasctl.cli.palette import Palette, is_screen, palette_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Where to print, and how wide and colourful. `columns` None: as wide as it gets."""

    out: TextIO
    err: TextIO
    settings: Settings
    palette: Palette
    err_palette: Palette
    columns: int | None
    now: float

    def line(self, words: str = "") -> None:
        self.out.write(words + "\n")

    def message(self, words: str, *, mark: str = "", colour: str = "red") -> None:
        """A message with its lines: the first behind `dasctl: `, the others below it."""
        first, *others = text.lines(words)
        prefix = self.err_palette.paint("dasctl:", colour)
        self.err.write(f"{prefix} {mark}{first}\n")
        for other in others:
            self.err.write(f"  {other}\n")

    def hint(self, words: str) -> None:
        """What to do now. Further lines have no mark of their own: a command of several lines can be copied."""
        if not words:
            return
        first, *further = text.lines(words)
        self.err.write(f"  {self.err_palette.paint('hint:', 'dim')} {first}\n")
        for line in further:
            self.err.write(f"  {line}\n")


def screen_for(out: TextIO, err: TextIO, settings: Settings, *, now: float) -> Screen:
    """The screen for these streams: only a terminal has a width and colours."""
    columns = shutil.get_terminal_size((80, 24)).columns if is_screen(out) else None
    return Screen(
        out=out, err=err, settings=settings, palette=palette_for(out), err_palette=palette_for(err),
        columns=columns, now=now,
    )  # fmt: skip
