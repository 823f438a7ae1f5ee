"""Rates: as they are given to `--limit` (`10M`, `500K`, `2.5MiB/s`; a bare number is in bytes per second), and kept.

What must not live here: clocks, waiting (`adapters/throttle.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

# As rsync has it: K and KiB are 1,024 bytes, KB is 1,000.
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_UNITS |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg]i?b?|b|)(?:/s)?\Z", re.IGNORECASE)
LEAST = 1 << 10  # bytes per second: below that, opening a link alone takes minutes; a slip of the pen
MOST = 1 << 50
BURST_S = 0.2  # what was not sent for so long is made good: timers come late on a busy machine


def bytes_per_second(text: str) -> float:
    """The rate in bytes per second. ValueError where it is not one, with what would be."""
    match = _RATE.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a rate: write 10M, 500K or 2.5MiB/s (bytes per second)")
    rate = float(match[1]) * _UNITS[match[2].lower()]
    if not LEAST <= rate <= MOST:
        raise ValueError(f"{text!r} is no rate to work at: write 1K or more, 1000000G or less")
    return rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Leave to send at `rate` bytes per second, given out in the order in which it is asked for.

    It fills with time, to what may be sent in BURST_S; it may be overdrawn, and whoever overdraws it waits. `free_at` is
    the moment (seconds of any clock that only grows) at which all that was given out has been earned.
    """

    rate: float
    free_at: float = float("-inf")

    def taken(self, size: int, now: float) -> tuple[Bucket, float]:
        """The bucket after `size` bytes were asked for at `now`, and for how many seconds they have to wait.

        Between any two moments `s` seconds apart, no more than `rate * (s + BURST_S)` bytes and one piece are let go.
        """
        begins = max(self.free_at, now - BURST_S)
        return replace(self, free_at=begins + size / self.rate), max(0.0, begins - now)
