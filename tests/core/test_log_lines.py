"""Lines of logs: equal ones said once, everyone's own in their order; answers that do not fit."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dasctl.core.log_lines import Line, folded, read
from dasctl.errors import ProtocolError


def line(name: str, text: str, file: str = "logs/server.log") -> Line:
    return Line(instance=name, node="n", file=file, text=text)


def said(*lines: Line, names: str = "abc") -> list[tuple[str, str]]:
    order = {name: number for number, name in enumerate(names)}
    return [("".join(one.instances), one.line.text) for one in folded(lines, order)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], []),
        ([line("b", "1"), line("a", "1"), line("c", "1")], [("abc", "1")]),
        ([line("b", "1"), line("a", "2")], [("a", "2"), ("b", "1")]),
        ([line("a", "1"), line("a", "1"), line("b", "1")], [("ab", "1"), ("a", "1")]),
        ([line("a", "x"), line("a", "1"), line("b", "1")], [("a", "x"), ("ab", "1")]),
        ([line("a", "1"), line("a", "2"), line("b", "2"), line("b", "1")], [("a", "1"), ("ab", "2"), ("b", "1")]),
        ([line("a", "1"), line("b", "1", file="logs/x")], [("a", "1"), ("b", "1")]),
    ],
    ids=["none", "all", "order", "twice", "later", "crossed", "files"],
)  # fmt: skip
def test_equal_lines_are_said_once(lines: list[Line], expected: list[tuple[str, str]]) -> None:
    assert said(*lines) == expected


def test_everyone_says_all_lines_in_their_order() -> None:
    chance = random.Random(7)
    lines = [line(chance.choice("abc"), chance.choice("xyz")) for _ in range(500)]
    found = said(*lines)
    for name in "abc":
        own = [one.text for one in lines if one.instance == name]
        assert [text for names, text in found if name in names] == own


@pytest.mark.parametrize(
    "rows",
    [
        None,
        {},
        [1],
        [["a", "logs/x", "text"]],
        [["b", "logs/x", "text", False]],
        [["a", "logs/x", 7, False]],
        [["a", None, "text", False]],
        [["a", "logs/x", "text", 0]],
    ],
)
def test_answers_that_do_not_fit(rows: Any) -> None:
    with pytest.raises(ProtocolError):
        read(rows, "n1", ["a"])
