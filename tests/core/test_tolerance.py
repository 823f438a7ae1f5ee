"""`--max-failures`: how it is written, and when it is exceeded."""

from __future__ import annotations

import pytest

from dasctl.core.tolerance import Tolerance

CASES = [
    ("0", 0, 10, False),
    ("0", 1, 10, True),
    ("2", 2, 3, False),
    ("2", 3, 3, True),
    ("0%", 1, 1000, True),
    ("10%", 1, 10, False),
    ("10%", 2, 10, True),
    ("10%", 1, 9, True),
    ("50%", 1, 3, False),
    ("50%", 2, 3, True),
    ("100%", 3, 3, False),
]


@pytest.mark.parametrize(("text", "failures", "instances", "exceeded"), CASES)
def test_more_than_that_is_too_much(text: str, failures: int, instances: int, exceeded: bool) -> None:
    tolerance = Tolerance.parse(text)
    assert tolerance.exceeded(failures, instances) is exceeded
    assert str(tolerance) == text


@pytest.mark.parametrize("text", ["", "-1", "1.5", "101%", "few", "%", "1%%", "9" * 20])
def test_what_is_no_number_of_failures_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 3, or 10%"):
        Tolerance.parse(text)
