"""Bytes on their way, as numbers that are true: how many of how many, how fast of late, how long still.

What lives here: counting. What must not: words for people (`board.py`), clocks: `now` is an argument, in seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WINDOW_S = 4.0  # "of late": short enough to follow a line that changes, long enough for the eye
LEAST_S = 0.4  # a rate over less than that is noise


@dataclass(slots=True)
class Pace:
    """How fast a number has grown over the last seconds. Where news is rare, over the time between two of them."""

    samples: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, count: int, now: float) -> None:
        self.samples.append((now, count))
        self._forget(now)

    def rate(self, now: float) -> float | None:
        """Per second; None where it cannot be told yet."""
        self._forget(now)
        if len(self.samples) < 2 or now - self.samples[0][0] < LEAST_S:
            return None
        since, before = self.samples[0]
        return (self.samples[-1][1] - before) / (now - since)

    def _forget(self, now: float) -> None:
        while len(self.samples) > 2 and self.samples[1][0] <= now - WINDOW_S:
            self.samples.popleft()


@dataclass(slots=True)
class Flow:
    """What goes to one node: one stream after the other, each of which begins at 0 and says its total at once."""

    sent: int = 0
    total: int = 0
    files: int = 0
    files_total: int = 0
    pace: Pace = field(default_factory=Pace)
    _before: tuple[int, int, int, int] = (0, 0, 0, 0)  # of the streams that are over

    def note(self, sent: int, total: int, files: int, files_total: int, now: float) -> None:
        """The stream has come so far. A lower count, or another total, is that of a new one."""
        last_sent, last_total = self.sent - self._before[0], self.total - self._before[1]
        if sent < last_sent or (total != last_total and last_total):
            self._before = (self.sent, self.sent, self.files, self.files)
        over = self._before
        self.sent, self.total = over[0] + sent, over[1] + max(sent, total)
        self.files, self.files_total = over[2] + files, over[3] + max(files, files_total)
        self.pace.note(self.sent, now)


def left_s(sent: int, total: int, rate: float | None) -> float | None:
    """Seconds until all is sent, at this rate; None where nothing is left, or it cannot be told."""
    if not rate or sent >= total:
        return None
    return (total - sent) / rate
