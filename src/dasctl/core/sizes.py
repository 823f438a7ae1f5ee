"""Sizes as people give them to options: `100M`, `1.5GiB`; a bare number is in bytes."""

from __future__ import annotations

import re

# As rsync has it: K and KiB are 1,024 bytes, KB is 1,000.
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_UNITS |= {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]i?b?|b|)\Z", re.IGNORECASE)
MOST = 1 << 60


def byte_count(text: str) -> int:
    """The size in bytes. ValueError where it is not one, with what would be."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size: write 100M, 500K or 1.5GiB")
    size = round(float(match[1]) * _UNITS[match[2].lower()])
    if not 0 < size <= MOST:
        raise ValueError(f"{text!r} is no size to work with: write 1K or more")
    return size


def size_text(count: int) -> str:
    """Bytes for people: `512 B`, `20 MiB`, `1.2 GiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1000 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if size >= 99.95 or size == int(size) else f"{size:.1f} {unit}"
