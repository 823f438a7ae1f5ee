"""What was ordered of a rolling change: batches, and words that are none."""

from __future__ import annotations

import pytest

from dasctl.core.rolling import Rolling

SIX = ("web1", "web2", "web3", "web4", "web5", "web6")


@pytest.mark.parametrize(
    ("batch", "sizes"),
    [
        (None, [1, 1, 1, 1, 1, 1]),
        ("2", [2, 2, 2]),
        ("4", [4, 2]),
        ("99", [6]),
        ("50%", [3, 3]),
        ("34%", [2, 2, 2]),
        ("1%", [1, 1, 1, 1, 1, 1]),
        ("100%", [6]),
    ],
)
def test_batches_keep_the_order_and_their_size(batch, sizes):
    batches = Rolling(batch=batch).batches(SIX)
    assert [len(names) for names in batches] == sizes
    assert [name for names in batches for name in names] == list(SIX)


def test_nobody_makes_no_batch():
    assert Rolling(batch="10%").batches(()) == ()


@pytest.mark.parametrize("batch", ["0", "0%", "101%", "-1", "two", "1.5", "", "%"])
def test_a_size_that_is_none(batch):
    with pytest.raises(ValueError, match="not the size of a batch"):
        Rolling(batch=batch).size(10)


def test_no_failure_is_put_up_with_unless_it_is_said():
    assert Rolling().tolerance.exceeded(1, 100)
    assert not Rolling(max_failures="10%").tolerance.exceeded(1, 10)
