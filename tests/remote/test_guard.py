"""The guard's table, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from dasctl.remote import guard

AT = {
    "domain": "D",
    "epoch": 3,
    "config_id": 7,
    "revision": 5,
    "digest": "five",
    "who": "ann",
    "host": "das2",
}
FIVE, FOUR = [5, "five"], [4, "four"]
LEAD_FIVE = {"revision": 5, "digest": "five", "config_id": 7}
LEAD_SIX = {"revision": 6, "digest": "six", "config_id": 8}

ROWS: list[tuple[str, Any, dict[str, Any], tuple[str | None, str]]] = [
    ("newer format wins over all", AT, {"newer": "too new", "domain": "X"}, ("refused", "newer format")),
    ("another domain", AT, {"domain": "X", "epoch": 9}, ("refused", "another domain")),
    ("a lower epoch", AT, {"epoch": 2}, ("refused", "fenced")),
    ("a lower epoch, even if it leads to where it stands", AT, {"epoch": 2, "lead": LEAD_FIVE}, ("refused", "fenced")),
    ("a higher epoch", AT, {"epoch": 4}, (None, "")),
    ("leads to where it stands, whatever it expects", AT, {"lead": LEAD_FIVE, "expect": FOUR}, (None, "")),
    ("expects where it stands", AT, {"lead": LEAD_SIX, "config_id": 8}, (None, "")),
    ("expects something else", AT, {"lead": LEAD_SIX, "expect": FOUR}, ("stands", "")),
    ("expects the number with another digest", AT, {"expect": [5, "other"]}, ("stands", "")),
    ("expects nothing where something stands", AT, {"expect": None}, ("stands", "")),
    ("another membership that leads nowhere", AT, {"config_id": 8}, ("refused", "membership")),
    ("the membership does not matter", AT, {"config_id": None}, (None, "")),
    ("nothing stands there and nothing is expected", None, {"expect": None, "lead": LEAD_SIX}, (None, "")),
    ("nothing stands there and something is expected", None, {}, ("stands", "")),
    ("the node's own operator", AT, {"domain": "X", "epoch": 0, "expect": None, "local": True}, (None, "")),
    ("the node's own operator, newer format", AT, {"newer": "n", "local": True}, ("refused", "newer format")),
]  # fmt: skip


@pytest.mark.parametrize("at, request_, expected", [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_table(at: Any, request_: dict[str, Any], expected: tuple[str | None, str]) -> None:
    usual: dict[str, Any] = {
        "newer": "", "domain": "D", "epoch": 3, "expect": FIVE, "lead": None, "config_id": 7, "local": False,
    }  # fmt: skip
    judged = guard.judge(at, **{**usual, **request_})
    assert (judged.verdict, judged.reason) == expected


def test_a_fenced_das_is_told_who_took_over() -> None:
    judged = guard.judge(AT, newer="", domain="D", epoch=2, expect=FIVE, lead=None, config_id=7, local=False)
    assert judged.message == "fenced: epoch 3 has taken over (ann on das2), this request is of epoch 2"
