"""Moments as people give them: `2h` (ago), `2026-01-02`, `2026-01-02 03:04`, `2026-01-02T03:04:05Z`, `14:30` (today's)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_AGO = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|d|w)\Z")
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_OF_DAY = re.compile(r"[0-2]?[0-9]:[0-5][0-9](:[0-5][0-9])?\Z")


def moment(text: str, now: float) -> float:
    """Seconds since the epoch; without a zone it is this machine's. ValueError where it is none, with what would be."""
    words = text.strip()
    ago = _AGO.match(words)
    if ago is not None:
        return now - float(ago[1]) * _UNITS_S[ago[2]]
    try:
        if _OF_DAY.match(words):
            return _last(datetime.fromtimestamp(now), words).timestamp()
        return datetime.fromisoformat(words).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text!r} is no moment: write 2h, 30m, 3d, 14:30, 2026-01-31 or '2026-01-31 14:30'"
        ) from None


def _last(now: datetime, words: str) -> datetime:
    """The last time that a clock showed this."""
    hour, minute, *second = (int(word) for word in words.split(":"))
    found = now.replace(hour=hour, minute=minute, second=second[0] if second else 0, microsecond=0)
    return found if found <= now else found - timedelta(days=1)
