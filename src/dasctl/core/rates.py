"""Rates as they are given to `--limit`: `10M`, `500K`, `2.5MiB/s`; a bare number is in bytes per second."""

from __future__ import annotations

import re

# As rsync has it: K and KiB are 1,024 bytes, KB is 1,000.
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_UNITS |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg]i?b?|b|)(?:/s)?\Z", re.IGNORECASE)
LEAST = 1 << 10  # bytes per second: below that, opening a link alone takes minutes; a slip of the pen


def bytes_per_second(text: str) -> float:
    """The rate in bytes per second. ValueError where it is not one, with what would be."""
    match = _RATE.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a rate: write 10M, 500K or 2.5MiB/s (bytes per second)")
    rate = float(match[1]) * _UNITS[match[2].lower()]
    if rate < LEAST:
        raise ValueError(f"{text!r} is too slow for anything to be done: write 1K or more")
    return rate
