"""The live view: the board, its words, and that nothing of it stays."""

from __future__ import annotations

import io
import time

from dasctl.cli.live import Board, LiveView, Log, Row, describe
from dasctl.core.exchange import Event


def test_a_node_stands_for_its_instances_until_they_speak() -> None:
    board = Board()
    board.note(Event(phase="connecting", node="n1"))
    assert board.rows(10) == ([("node n1", "connecting", "")], "")
    board.note(Event(phase="comparing", node="n1", instance="web1"))
    board.note(Event(phase="comparing", node="n1", instance="web2"))
    assert [row[0] for row in board.rows(10)[0]] == ["web1", "web2"]


def test_sending_shows_bytes_and_rate() -> None:
    now = [100.0]
    board = Board(clock=lambda: now[0])
    board.note(Event(phase="sending", instance="web1", sent=1, total=4 << 20))
    now[0] = 102.0
    board.note(Event(phase="sending", instance="web1", sent=2 << 20, total=4 << 20))
    assert board.rows(10)[0] == [("web1", "sending", "2.0 MiB of 4.0 MiB, 1.0 MiB/s")]
    assert describe(Row("starting", words="\x1b[2J")) == r"\x1b[2J"


def test_a_thousand_instances_fit_on_a_screen() -> None:
    board = Board()
    for i in range(1000):
        board.note(Event(phase="done" if i % 2 else "sending", instance=f"web{i}"))
    rows, rest = board.rows(20)
    assert len(rows) == 20
    assert {phase for _, phase, _ in rows} == {"sending"}
    assert rest == "… and 980 more: 500 at work, 500 done"


def test_the_view_paints_and_leaves_the_terminal_as_it_was() -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    view = LiveView(stream, colours=True)
    view.on_event(Event(phase="starting", instance="web1"))
    deadline = time.monotonic() + 30
    while "web1" not in stream.getvalue() and time.monotonic() < deadline:
        time.sleep(0.05)
    view.stop()
    view.stop()
    assert "web1" in stream.getvalue()
    assert (
        stream.getvalue().endswith(("\033[2K", "\033[?25h\r\033[1A\033[2K"))
        or "\033[?25h" in stream.getvalue()
    )


def test_a_quick_command_is_not_painted_at_all() -> None:
    stream = io.StringIO()
    view = LiveView(stream, colours=True)
    view.on_event(Event(phase="starting", instance="web1"))
    view.stop()
    assert stream.getvalue() == ""


def test_the_log_has_one_line_per_phase() -> None:
    stream = io.StringIO()
    log = Log(stream)
    for sent in range(5):
        log.on_event(Event(phase="sending", instance="web1", sent=sent))
    log.on_event(Event(phase="done", instance="web1"))
    assert stream.getvalue().splitlines() == ["web1  sending", "web1  done"]
