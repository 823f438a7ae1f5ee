"""Lines of logs as they come, each behind the names of those who said it.

What lives here: how a line looks on a terminal, in a pipe, as JSON. What must not: which lines come, and when.

Called in a thread of its own, never twice at a time.
"""

from __future__ import annotations

import json
import re
import select
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from dasctl.cli import text
from dasctl.cli.call import Settings
from dasctl.cli.palette import NAME_COLOURS, palette_for
from dasctl.cli.streams import delivered

if TYPE_CHECKING:
    from dasctl.core.log_lines import Line, Said
    from dasctl.operations.gathering import Batch

WIDEST = 24  # columns of names; longer ones push their lines to the right
CUT = " [cut]"
# Colours that servers put into their logs: harmless, and hard to read as escapes.
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


class LogScreen:
    """Prints batches of lines. `with_files`: lines may be of several files, and say which."""

    def __init__(self, out: TextIO, err: TextIO, settings: Settings, *, with_files: bool) -> None:
        self._out, self._err, self._settings = out, err, settings
        self._with_files = with_files
        self._palette, self._err_palette = palette_for(out), palette_for(err)
        self._colours: dict[str, str] = {}
        self._width = 0
        self.arrived = True

    def show(self, batch: Batch) -> bool:
        """Print a batch; False where the reader has gone away, or the disk is full."""
        self._tell(batch.troubles)
        if not batch.lines:
            return not _is_left(self._out)
        reads = [True]

        def write() -> None:
            try:
                self._out.writelines(self._lines(batch))
                self._out.flush()
            except OSError:
                reads[0] = False
                raise

        self.arrived = delivered(write, self._err) and self.arrived
        return reads[0]

    def _tell(self, troubles: Sequence[tuple[str, object]]) -> None:
        for whose, problem in troubles:
            message, hint = str(getattr(problem, "message", "")), str(getattr(problem, "hint", ""))
            if self._settings.json:
                self._out.write(json.dumps({"of": whose, "error": {"message": message, "hint": hint}}) + "\n")
                continue
            first, *others = text.lines(message)
            mark = "" if first.startswith(f"{text.plain(whose)}:") else f"{text.plain(whose)}: "
            self._err.write(f"{self._err_palette.paint('dasctl:', 'red')} {mark}{first}\n")
            self._err.writelines(f"  {line}\n" for line in others)
        self._err.flush()

    def _lines(self, batch: Batch) -> Iterable[str]:
        if self._settings.json:
            return [_document(line) for line in batch.lines]
        if self._settings.terse:
            return [_terse(line) for line in batch.lines]
        prefixes = [self._prefix(said) for said in batch.said]
        self._width = min(WIDEST, max([self._width, *(text.width(prefix) for prefix in prefixes)]))
        return [self._line(prefix, said) for prefix, said in zip(prefixes, batch.said, strict=True)]

    def _prefix(self, said: Said) -> str:
        names = text.folded(said.instances)
        file = text.path_text(said.line.file.removeprefix("logs/"))
        return f"{names} {file}" if self._with_files else names

    def _line(self, prefix: str, said: Said) -> str:
        pad = " " * (self._width - text.width(prefix))
        painted = self._palette.paint(prefix, self._colour(said.instances))
        bar = self._palette.paint("|", "dim")
        return f"{painted}{pad} {bar} {_shown(said.line)}".rstrip() + "\n"

    def _colour(self, names: Sequence[str]) -> str:
        """An instance's own colour, the same for all of its lines; several together are bold."""
        if len(names) > 1:
            return "bold"
        return self._colours.setdefault(names[0], NAME_COLOURS[len(self._colours) % len(NAME_COLOURS)])


def _is_left(stream: TextIO) -> bool:
    """Whether `stream` is a pipe that nobody reads any more: `| grep -m1` ends, and we would learn it with the next line."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False  # no descriptor, or no poll on this system


def _shown(line: Line) -> str:
    bare = _COLOURS.sub("", line.text)
    return "\t".join(text.plain(piece) for piece in bare.split("\t")) + (CUT if line.cut else "")


def _document(line: Line) -> str:
    row: dict[str, object] = {
        "instance": line.instance, "node": line.node, "file": line.file, "line": line.text,
    }  # fmt: skip
    if line.cut:
        row["cut"] = True
    return json.dumps(row, ensure_ascii=True) + "\n"


def _terse(line: Line) -> str:
    cells = (line.instance, line.node, line.file, line.text + (CUT if line.cut else ""))
    return "\t".join(text.path_text(cell) for cell in cells) + "\n"
