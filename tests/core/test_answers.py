"""What commands answered: exit codes as a shell says them, and answers of nodes that do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from dasctl.core.answers import Ran, largest, read_all
from dasctl.errors import OperationFailed, ProtocolError

GOOD: dict[str, Any] = {
    "name": "web1", "verdict": "done", "exit": {"status": 0}, "out": "", "err": "", "more": 0, "seconds": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("ran", "code", "good", "ending"),
    [
        (Ran(status=0), 0, True, "exit status 0"),
        (Ran(status=3), 3, False, "exit status 3"),
        (Ran(signal=9), 137, False, "killed by signal 9"),
        (Ran(signal=15, late=True), 124, False, "ended at its time limit"),
        (Ran(status=0, late=True), 124, False, "ended at its time limit"),
        (Ran(error=OperationFailed("no such instance")), None, False, "no such instance"),
    ],
)
def test_endings(ran: Ran, code: int | None, good: bool, ending: str) -> None:
    assert (ran.code, ran.good, ran.ending) == (code, good, ending)


def test_the_largest_stands_for_all() -> None:
    assert [largest(codes) for codes in ([], [0, 0], [0, 3, 1], [137, 255])] == [0, 0, 3, 255]


@pytest.mark.parametrize(
    "more",
    [
        {"exit": None}, {"exit": {}}, {"exit": {"status": 256}}, {"exit": {"status": True}}, {"exit": {"status": -1}},
        {"exit": {"status": 0, "signal": 1}}, {"exit": {"how": 0}}, {"out": None}, {"err": 7}, {"out": "\ud800"},
        {"seconds": "1"}, {"seconds": -1}, {"more": "1"}, {"verdict": "perhaps"}, {"name": "web2"},
    ],
)  # fmt: skip
def test_answers_that_do_not_fit(more: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        read_all({"instances": [{**GOOD, **more}]}, ["web1"], "n1")


def test_refusals_and_failures_are_errors_of_the_instance() -> None:
    rows = [
        {"name": "a", "verdict": "refused", "reason": "fenced", "message": "fenced: epoch 3", "at": None},
        {"name": "b", "verdict": "failed", "message": "there is no instance"},
        {**GOOD, "name": "c", "out": "\udcff"},
    ]
    ran = read_all({"instances": rows}, ["a", "b", "c"], "n1")
    assert "fenced" in ran["a"].ending
    assert "there is no instance" in ran["b"].ending
    assert ran["c"].good
