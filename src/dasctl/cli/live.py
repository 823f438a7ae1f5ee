"""The live view: what each instance is at, while a command works.

What lives here: the last event of each, as rows; the thread that paints them; the plain lines of `--verbose`. Rich is
imported by that thread, and only when a command takes long enough to be watched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from dasctl.cli import text
from dasctl.core.exchange import PHASES

if TYPE_CHECKING:
    from dasctl.core.exchange import Event

# A command that is done sooner is not worth a flicker. In the order of what an eye takes for "at once" (0.1 s), doubled.
PATIENCE_S = 0.25
FRAMES_PER_S = 8
PHASE_COLUMNS = max(len(phase) for phase in PHASES)
NAME_COLUMNS = 24  # longer names are cut where there is no room
ENDED = ("ready", "done", "failed")


@dataclass(slots=True)
class Row:
    """One instance or node as it was last heard of; `began` is the moment its bytes began to move."""

    phase: str
    sent: int = 0
    total: int = 0
    words: str = ""
    began: float = 0.0
    heard: float = 0.0


class Board:
    """The last word of each instance or node. A node's events stand for it until its instances speak."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: dict[str, Row] = {}
        self._nodes_of: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def note(self, event: Event) -> None:
        """Take in one event."""
        name = event.instance or (f"node {event.node}" if event.node else "")
        if not name:
            return
        now = self._clock()
        with self._lock:
            if event.instance and event.node:
                self._rows.pop(f"node {event.node}", None)
            row = self._rows.setdefault(name, Row(phase=event.phase))
            if event.phase == "sending" and (row.phase != "sending" or not row.began):
                row.began = now
            row.phase, row.sent, row.total = event.phase, event.sent or row.sent, event.total or row.total
            row.words, row.heard = event.text, now

    def rows(self, room: int) -> tuple[list[tuple[str, str, str]], str]:
        """At most `room` rows (name, phase, what), those at work first, and a line about all others."""
        with self._lock:
            items = [(name, _copy(row)) for name, row in self._rows.items()]
        busy = [item for item in items if item[1].phase not in ENDED]
        ended = [item for item in items if item[1].phase in ENDED]
        shown = (busy + ended)[: max(room, 1)] if len(items) > room else items
        left = len(items) - len(shown)
        rest = f"… and {left} more: {len(busy)} at work, {len(ended)} done" if left else ""
        return [(text.plain(name), row.phase, describe(row)) for name, row in shown], rest


def _copy(row: Row) -> Row:
    return Row(row.phase, row.sent, row.total, row.words, row.began, row.heard)


def describe(row: Row) -> str:
    """`1.2 MiB of 4.0 MiB, 800 KiB/s` while sending; the event's own words otherwise."""
    if row.phase != "sending" or not row.sent:
        return text.plain(row.words)
    words = text.size(row.sent)
    if row.total:
        words += f" of {text.size(row.total)}"
    passed = row.heard - row.began
    return f"{words}, {text.size(row.sent / passed)}/s" if passed > 0.2 else words


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
            get_renderable=lambda: self._renderable(console.size.height - 2),
            console=console,
            transient=True,
            refresh_per_second=FRAMES_PER_S,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            stop.wait()

    def _renderable(self, room: int) -> Any:
        from rich.table import Table
        from rich.text import Text

        rows, rest = self.board.rows(room)
        grid = Table.grid(padding=(0, 2))
        # On a narrow screen the words of the last column give way, never who and what.
        for least in (max((text.width(row[0]) for row in rows), default=1), PHASE_COLUMNS, 1):
            grid.add_column(no_wrap=True, overflow="ellipsis", min_width=min(least, NAME_COLUMNS))
        for name, phase, what in rows:
            grid.add_row(Text(name), Text(phase, style=_STYLES.get(phase, "")), Text(what, style="dim"))
        if rest:
            grid.add_row(Text(""), Text(""), Text(rest, style="dim"))
        return grid


_STYLES = {"ready": "green", "done": "green", "failed": "red", "sending": "yellow", "starting": "yellow"}


class Log:
    """The plain lines of `--verbose`: one per phase, not one per piece that was sent."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: dict[str, str] = {}

    def on_event(self, event: Event) -> None:
        name = event.instance or event.node or ""
        line = f"{event.phase}  {event.text}".rstrip()
        if self._last.get(name) == line:
            return
        self._last[name] = line
        self._stream.write(f"{text.plain(name)}  {text.plain(line)}\n")
        self._stream.flush()
