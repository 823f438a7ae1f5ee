"""Durations as they are written in `domain.yaml`: `30s`, `2m`, `1h`, `500ms`; a bare number is in seconds."""

from __future__ import annotations

import re

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|)\Z")
MAX_S = 30 * 24 * 3600.0  # longer waits are slips of the pen


def seconds(text: str | int | float) -> float:
    """The seconds of a duration. ValueError where it is not one, with what would be."""
    match = _DURATION.match(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write 30s, 2m, 1h or 500ms")
    value = round(float(match[1]) * _UNITS_S[match[2]], 3)
    if value > MAX_S:
        raise ValueError(f"{text!r} is longer than 30 days")
    return value
