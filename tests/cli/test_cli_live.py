"""The live view: the board, its words, and that nothing of it stays."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from dasctl.cli.board import Board
from dasctl.cli.flow import WINDOW_S, Flow, Pace
from dasctl.cli.live import LiveView, Log
from dasctl.cli.text import width
from dasctl.core.exchange import Event


def test_a_node_stands_for_its_instances_until_they_speak() -> None:
    board = Board()
    board.note(Event(phase="connecting", node="n1"))
    assert board.rows(10) == ([("node n1", "connecting", "")], "")
    board.note(Event(phase="comparing", node="n1", instance="web1"))
    board.note(Event(phase="comparing", node="n1", instance="web2"))
    assert [row[0] for row in board.rows(10)[0]] == ["web1", "web2"]


def test_the_das_tells_what_it_is_at_until_the_first_node_speaks() -> None:
    watch = Watch()
    watch.board.note(Event(phase="copying", text="shop.war", sent=0, total=4 * MIB))
    assert watch.board.rows(10)[0] == [("the DAS", "copying", "shop.war  0 B of 4.0 MiB")]
    watch.now = 102.0
    watch.board.note(Event(phase="copying", text="shop.war", sent=2 * MIB, total=4 * MIB))
    assert watch.row() == "shop.war  2.0 MiB of 4.0 MiB, 1.0 MiB/s, 2 s left"
    watch.board.note(Event(phase="unpacking", text="shop.war", sent=0))
    assert watch.row() == "shop.war  0 B"
    watch.now = 103.0
    watch.board.note(Event(phase="unpacking", text="shop.war", sent=3 * MIB))
    assert watch.row() == "shop.war  3.0 MiB, 3.0 MiB/s"
    assert watch.board.total() == ""
    watch.board.note(Event(phase="waiting", node="n1", instance="web1"))
    assert watch.board.rows(10)[0] == [("web1", "waiting", "")]


def test_the_das_is_named_in_the_log_too() -> None:
    out = io.StringIO()
    log = Log(out)
    for sent in range(3):
        log.on_event(Event(phase="unpacking", text="shop.war", sent=sent))
    assert out.getvalue() == "the DAS  unpacking  shop.war\n"


class Watch:
    """A board with a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0
        self.board = Board(clock=lambda: self.now)

    def sending(
        self, name: str, sent: int, total: int, *, node: str = "n1", files: int = 0, of: int = 0
    ) -> None:
        self.board.note(
            Event(
                phase="sending", node=node, instance=name, sent=sent, total=total, files=files, files_total=of
            )
        )

    def row(self, number: int = 0) -> str:
        return self.board.rows(10)[0][number][2]


MIB = 1 << 20


def test_sending_shows_bytes_rate_time_left_and_files() -> None:
    watch = Watch()
    watch.sending("web1", 0, 4 * MIB, of=20)
    assert watch.row() == "0 B of 4.0 MiB, 0 of 20 files"
    watch.now = 102.0
    watch.sending("web1", 2 * MIB, 4 * MIB, files=7, of=20)
    assert watch.row() == "2.0 MiB of 4.0 MiB, 1.0 MiB/s, 2 s left, 7 of 20 files"
    watch.now = 103.0
    watch.sending("web1", 4 * MIB, 4 * MIB, files=20, of=20)
    assert watch.row() == "4.0 MiB sent, 20 of 20 files"


def test_what_a_node_says_is_harmless() -> None:
    board = Board()
    board.note(Event(phase="starting", instance="web1", text="\x1b[2J"))
    assert board.rows(10)[0] == [("web1", "starting", r"\x1b[2J")]


def test_the_rate_is_that_of_the_last_seconds() -> None:
    pace = Pace()
    for second in range(20):
        pace.note(second * 1000, float(second))
    assert pace.rate(19.0) == pytest.approx(1000)
    for second in range(20, 40):
        pace.note(19_000, float(second))
    assert pace.rate(39.0) == 0.0


def test_a_rate_is_told_where_news_is_rare() -> None:
    """A slow line: a block each 13 seconds is still so many bytes a second, and not nothing and then a flood."""
    pace = Pace()
    for number in range(6):
        pace.note(number * 13_000, number * 13.0)
    assert WINDOW_S < 13
    assert pace.rate(65.0) == pytest.approx(1000)
    assert 480 < (pace.rate(77.9) or 0) < 1000


def test_no_rate_is_made_of_nothing() -> None:
    pace = Pace()
    assert pace.rate(1.0) is None
    pace.note(0, 1.0)
    assert pace.rate(9.0) is None
    pace.note(5000, 1.1)
    assert pace.rate(1.1) is None


def test_a_second_stream_to_a_node_adds_to_the_first() -> None:
    flow = Flow()
    flow.note(0, 1000, 0, 3, 0.0)
    flow.note(1000, 1000, 3, 3, 1.0)
    flow.note(0, 500, 0, 2, 2.0)
    assert (flow.sent, flow.total, flow.files, flow.files_total) == (1000, 1500, 3, 5)
    flow.note(500, 500, 2, 2, 3.0)
    assert (flow.sent, flow.total, flow.files, flow.files_total) == (1500, 1500, 5, 5)


def test_a_stream_that_was_given_up_does_not_leave_a_total_that_is_never_reached() -> None:
    flow = Flow()
    flow.note(300, 1000, 1, 3, 0.0)
    flow.note(0, 500, 0, 2, 2.0)
    assert (flow.sent, flow.total, flow.files, flow.files_total) == (300, 800, 1, 3)


def test_the_line_about_all_counts_nodes_and_each_nodes_bytes_once() -> None:
    watch = Watch()
    board = watch.board
    for node, name in (("n1", "web1"), ("n1", "web2"), ("n2", "web3"), ("n3", "web4"), ("n4", "web5")):
        board.note(Event(phase="waiting", node=node, instance=name))
    assert board.total() == "0 of 4 nodes done"
    for name in ("web1", "web2"):
        watch.sending(name, 0, 3 * MIB)
    watch.now = 102.0
    for name in ("web1", "web2"):
        watch.sending(name, 2 * MIB, 3 * MIB)
    assert board.total() == "0 of 4 nodes done, 2.0 MiB of 3.0 MiB, 1.0 MiB/s, more than 1 s left"
    for phase, node, name in (("done", "n2", "web3"), ("failed", "n3", "web4"), ("skipped", "n4", "web5")):
        board.note(Event(phase=phase, node=node, instance=name))
    assert board.total() == "1 of 4 nodes done, 2 failed, 2.0 MiB of 3.0 MiB, 1.0 MiB/s, 1 s left"
    for name in ("web1", "web2"):
        watch.sending(name, 3 * MIB, 3 * MIB)
        board.note(Event(phase="done", node="n1", instance=name))
    assert board.total() == "2 of 4 nodes done, 2 failed, 3.0 MiB sent"


def test_one_node_needs_no_line_about_all() -> None:
    watch = Watch()
    watch.sending("web1", 1, 2)
    watch.board.note(Event(phase="comparing", instance="web1"))
    assert watch.board.total() == ""


def test_a_thousand_instances_fit_on_a_screen() -> None:
    board = Board()
    for i in range(1000):
        board.note(Event(phase=("done", "sending", "waiting", "ready")[i % 4], instance=f"web{i}"))
    rows, rest = board.rows(20)
    assert len(rows) == 20
    assert {phase for _, phase, _ in rows} == {"sending", "ready"}
    assert rest == "… and 980 more: 500 at work, 250 waiting, 250 done"


@pytest.mark.parametrize(("columns", "lines"), [(40, 24), (80, 24), (20, 8), (200, 5)])
def test_the_view_fits_on_any_screen(columns: int, lines: int) -> None:
    watch = Watch()
    for number in range(100):
        watch.sending(f"日本語のサーバー{number}", 10 * MIB, 40 * MIB, node=f"n{number}", files=3, of=12_000)
    view = LiveView(io.StringIO(), colours=False)
    view.board = watch.board
    shown = io.StringIO()
    console = Console(file=shown, width=columns, height=lines, force_terminal=True, no_color=True)
    console.print(view._renderable(columns, max(lines - 3, 1)))
    painted = re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue()).splitlines()
    assert len(painted) < lines
    assert "… and" in painted[-2]
    assert painted[-1].startswith("0 of 100 nodes")
    assert all(width(line) <= columns for line in painted)
    assert painted[0].startswith("日本")
    assert "send" in painted[0]
    if columns < 80:
        assert painted[0].endswith("…")


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
    log.on_event(Event(phase="waiting", instance="web1"))
    for sent in range(5):
        log.on_event(Event(phase="sending", instance="web1", sent=sent))
    log.on_event(Event(phase="done", instance="web1"))
    assert stream.getvalue().splitlines() == ["web1  sending", "web1  done"]
