"""The live view: what each instance is at, while a command works.

What lives here: the thread that paints it; the plain lines of `--verbose`. What must not: what is told (`board.py`). Rich is
imported by that thread, and only when a command takes long enough to be watched.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TextIO

from dasctl.cli import text
from dasctl.cli.board import DAS, WAITING, Board
from dasctl.core.exchange import PHASES

if TYPE_CHECKING:
    from dasctl.core.exchange import Event

# A command that is done sooner is not worth a flicker. In the order of what an eye takes for "at once" (0.1 s), doubled.
PATIENCE_S = 0.25
FRAMES_PER_S = 8
PHASE_COLUMNS = max(len(phase) for phase in PHASES)
OTHER_LINES = 3  # below the rows: about those that are not shown, about all, and where the cursor stands
NAME_COLUMNS = 24  # so many, or half of the screen: longer names are cut


class LiveView:
    """Paints the board on a terminal until it is stopped; nothing of it stays on the screen."""

    def __init__(self, stream: TextIO, *, colours: bool) -> None:
        self.board = Board()
        self._stream = stream
        self._colours = colours
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._paused = False

    def on_event(self, event: Event) -> None:
        self.board.note(event)
        if self._thread is None and not self._paused:
            self.start()

    def start(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._paint, args=(self._stop,), name="live", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Leave the terminal as it was. May be called twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The terminal belongs to somebody else meanwhile, whatever happens: a question."""
        self._paused = True
        try:
            self.stop()
            yield
        finally:
            self._paused = False

    def _paint(self, stop: threading.Event) -> None:
        if stop.wait(PATIENCE_S):
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, no_color=not self._colours, highlight=False)
        with Live(
            get_renderable=lambda: self._renderable(console.size.width, console.size.height - OTHER_LINES),
            console=console,
            transient=True,
            refresh_per_second=FRAMES_PER_S,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            stop.wait()

    def _renderable(self, columns: int, room: int) -> Any:
        from rich.console import Group
        from rich.text import Text

        rows, rest = self.board.rows(room)
        names = name_columns((text.width(name) for name, _, _ in rows), columns)
        lines = []
        for name, phase, what in rows:
            line = Text(name)
            line.truncate(names, overflow="ellipsis", pad=True)
            line.append(f"  {phase:<{PHASE_COLUMNS}}", style=_STYLES.get(phase, ""))
            line.append(f"  {what}", style="dim")
            lines.append(line)
        lines += [Text(line, style="dim") for line in (rest, self.board.total()) if line]
        for line in lines:  # what there is no room for is at the end of a line
            line.truncate(columns, overflow="ellipsis")
        return Group(*lines)


def name_columns(widths: Iterable[int], columns: int) -> int:
    """How many of a screen's columns the names get: all they want, as long as it can be seen what they are at."""
    widest = max(widths, default=1)
    return max(1, min(widest, max(NAME_COLUMNS, columns // 2), columns - PHASE_COLUMNS - 2))


_STYLES = {
    "waiting": "dim", "ready": "green", "done": "green", "failed": "red", "skipped": "yellow", "sending": "yellow",
    "starting": "yellow",
}  # fmt: skip


class Log:
    """The plain lines of `--verbose`: one per phase, not one per piece that was sent."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: dict[str, str] = {}

    def on_event(self, event: Event) -> None:
        if event.phase == WAITING:
            return
        name = event.instance or event.node or DAS
        line = f"{event.phase}  {event.text}".rstrip()
        if self._last.get(name) == line:
            return
        self._last[name] = line
        self._stream.write(f"{text.plain(name)}  {text.plain(line)}\n")
        self._stream.flush()

    def paused(self) -> AbstractContextManager[None]:
        """As with `LiveView`; lines are in nobody's way."""
        return nullcontext()

    def stop(self) -> None:
        """As with `LiveView`."""
