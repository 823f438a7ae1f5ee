"""Rates: how they are written, and that a bucket lets no more through than they say, and no less."""

from __future__ import annotations

import random

import pytest

from dasctl.core.rates import BURST_S, Bucket, bytes_per_second

WRITTEN = [
    ("10M", 10 << 20),
    ("500K", 500 << 10),
    ("2.5MiB/s", 2.5 * (1 << 20)),
    ("1g", 1 << 30),
    ("3 MB/s", 3_000_000),
    ("20kb", 20_000),
    ("4096", 4096),
    ("4096B/s", 4096),
]
WRONG = ["", "M", "-1M", "10X", "10 MM", "1e9", "0", "1023", "1.2.3M", "inf", "9" * 400, "٣M"]


@pytest.mark.parametrize(("text", "rate"), WRITTEN)
def test_a_rate_is_read(text: str, rate: float) -> None:
    assert bytes_per_second(text) == rate


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write 1"):
        bytes_per_second(text)


def sent(bucket: Bucket, pieces: list[int], *, pauses: list[float] | None = None) -> list[tuple[float, int]]:
    """(moment, size) of each piece that one link sends as soon as it may, with a pause of its own before it asks."""
    now = 100.0
    log = []
    for number, size in enumerate(pieces):
        now += pauses[number] if pauses else 0.0
        bucket, wait = bucket.taken(size, now)
        now += wait
        log.append((now, size))
    return log


def test_who_always_has_something_to_send_gets_the_whole_rate() -> None:
    log = sent(Bucket(rate=1000.0), [100] * 200)
    assert log[-1][0] - log[0][0] == pytest.approx((199 * 100) / 1000 - BURST_S, abs=0.01)


def test_nobody_ever_gets_more_than_the_rate_over_any_span() -> None:
    chance = random.Random(7)
    for _ in range(50):
        rate = chance.uniform(1_000, 1_000_000)
        largest = max(1, int(rate * 0.05))
        pieces = [chance.randint(1, largest) for _ in range(200)]
        pauses = [chance.choice((0.0, 0.0, 0.0, 0.01, 0.5)) for _ in pieces]
        log = sent(Bucket(rate=rate), pieces, pauses=pauses)
        for first in range(0, 200, 7):
            total = 0
            for moment, size in log[first:]:
                total += size
                assert total <= rate * (moment - log[first][0] + BURST_S) + largest + 1


def test_a_pause_is_not_saved_up() -> None:
    bucket = Bucket(rate=1000.0)
    bucket, _ = bucket.taken(1000, 0.0)
    bucket, wait = bucket.taken(1000, 3600.0)
    assert wait == 0.0
    _, wait = bucket.taken(1000, 3600.0)
    assert wait == pytest.approx(1.0 - BURST_S)


def test_all_who_ask_are_served_in_turn() -> None:
    """Eight links that ask without end: each gets an eighth, but for the burst at the beginning."""
    bucket, now = Bucket(rate=8000.0), 0.0
    ready = dict.fromkeys(range(8), 0.0)  # when each has sent its piece, and asks for the next
    counts = dict.fromkeys(ready, 0)
    while now < 60.0:
        link = min(ready, key=lambda name: ready[name])
        now = ready[link]
        bucket, wait = bucket.taken(400, now)
        ready[link] = now + wait
        counts[link] += 400
    assert max(counts.values()) - min(counts.values()) <= 8000 * BURST_S + 2 * 400
    assert sum(counts.values()) == pytest.approx(8000 * 60, rel=0.02)
