"""Lines of logs on a screen, in a pipe, as JSON: whose they are is seen, and nothing that a terminal obeys comes through."""

from __future__ import annotations

import io
import json
import os
from typing import Any

import pytest
from tests.cli.conftest import Terminal

from dasctl.cli.call import Settings
from dasctl.cli.log_screen import LogScreen
from dasctl.core.log_lines import Line, folded
from dasctl.core.outcome import Problem
from dasctl.operations.gathering import Batch

ORDER = {"web1": 0, "web2": 1, "web3": 2}


def shown(
    *lines: tuple[str, str], stream: Any = None, with_files: bool = False, cut: bool = False, **settings: Any
) -> str:
    made = [Line(instance=name, node="n1", file="logs/a\nb.log", text=text, cut=cut) for name, text in lines]
    out = stream or io.StringIO()
    screen = LogScreen(out, io.StringIO(), Settings(**settings), with_files=with_files)
    assert screen.show(Batch(lines=made, said=folded(made, ORDER)))
    return str(out.getvalue())


def test_equal_lines_stand_behind_folded_names() -> None:
    text = shown(("web1", "up"), ("web2", "up"), ("web3", "other"))
    assert text == "web[1-2] | up\nweb3     | other\n"


def test_a_file_is_named_where_there_may_be_several() -> None:
    assert shown(("web1", "up"), with_files=True) == "web1 a\\nb.log | up\n"


def test_what_a_terminal_could_obey_is_escaped_and_colours_are_left_out() -> None:
    text = shown(("web1", "\033[32mgreen\033[0m\tx\033]0;t\007\033[2J\r\udcff\u202e"))
    assert text == "web1 | green\tx\\x1b]0;t\\x07\\x1b[2J\\r\\xff\\u202e\n"


def test_a_line_that_is_cut_says_so() -> None:
    assert shown(("web1", "aaa"), cut=True) == "web1 | aaa [cut]\n"


def test_colours_on_terminals_only_and_the_same_for_each_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = shown(("web1", "a"), ("web1", "b"), ("web2", "c"), stream=Terminal())
    first, second, third = (line.split("web")[0] for line in text.splitlines())
    assert first == second != third
    assert first.startswith("\033[")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in shown(("web1", "a"), stream=Terminal())


def test_json_has_each_line_as_it_is() -> None:
    text = shown(("web1", "up\033\udcff"), ("web2", "up\033\udcff"), json=True)
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["instance"] for row in rows] == ["web1", "web2"]
    assert {row["line"] for row in rows} == {"up\033\udcff"}
    assert {row["file"] for row in rows} == {"logs/a\nb.log"}


def test_terse_rows() -> None:
    assert shown(("web1", "a\tb\\"), terse=True) == "web1\tn1\tlogs/a\\nb.log\ta\\tb\\\\\n"


def test_trouble_is_told_at_once() -> None:
    out, err = io.StringIO(), io.StringIO()
    screen = LogScreen(out, err, Settings(), with_files=False)
    screen.show(Batch(troubles=[("web1", Problem(message="node n1: gone\033"))]))
    assert (out.getvalue(), err.getvalue()) == ("", "dasctl: web1: node n1: gone\\x1b\n")


def test_a_pipe_that_nobody_reads_is_noticed_before_the_next_line() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as out:
        screen = LogScreen(out, io.StringIO(), Settings(), with_files=False)
        assert screen.show(Batch())
        os.close(reader)
        assert not screen.show(Batch())


def test_a_full_disk_ends_it_and_is_told() -> None:
    class Closed(io.StringIO):
        def writelines(self, lines: Any) -> None:
            raise OSError(28, "No space left on device")

    err = io.StringIO()
    screen = LogScreen(Closed(), err, Settings(), with_files=False)
    line = Line(instance="web1", node="n1", file="logs/x", text="a")
    saved = os.dup(1)  # given up then
    try:
        assert screen.show(Batch(lines=[line], said=folded([line], ORDER))) is False
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    assert not screen.arrived
    assert "could not be written" in err.getvalue()
