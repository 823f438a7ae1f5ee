"""How far two contents are equal from two places on, forwards and backwards.

What lives here: the comparison, exact to the byte. What must not: which places are compared (`delta.py`).

Comparing is done with slices, which are copied and compared at the speed of memory; a loop over bytes would be a thousand
times slower.
"""

from __future__ import annotations

import mmap

FIRST_STEP = 256  # bytes: what a comparison begins with, and doubles …
LARGEST_STEP = 256 << 10  # … up to: both slices stay in the processor's cache
EXACT = 64  # bytes: from here on the first difference is found by arithmetic

Content = bytes | mmap.mmap


def equal_from(old: Content, i: int, new: Content, j: int, most: int) -> int:
    """How many bytes are equal from (i, j) on; at most `most`."""
    size, step = 0, FIRST_STEP
    while size < most:
        step = min(step, most - size)
        if old[i + size : i + size + step] != new[j + size : j + size + step]:
            break
        size += step
        step = min(2 * step, LARGEST_STEP)
    else:
        return most
    while step > EXACT:
        half = step // 2
        if old[i + size : i + size + half] == new[j + size : j + size + half]:
            size += half
            step -= half
        else:
            step = half
    a, b = old[i + size : i + size + step], new[j + size : j + size + step]
    differs = int.from_bytes(a, "little") ^ int.from_bytes(b, "little")
    return size + ((differs & -differs).bit_length() - 1) // 8


def equal_before(old: Content, i: int, new: Content, j: int, most: int) -> int:
    """How many bytes are equal before (i, j); at most `most`."""
    size, step = 0, FIRST_STEP
    while size < most:
        step = min(step, most - size)
        if old[i - size - step : i - size] != new[j - size - step : j - size]:
            break
        size += step
        step = min(2 * step, LARGEST_STEP)
    else:
        return most
    while step > EXACT:
        half = step // 2
        if old[i - size - half : i - size] == new[j - size - half : j - size]:
            size += half
            step -= half
        else:
            step = half
    a, b = old[i - size - step : i - size], new[j - size - step : j - size]
    differs = int.from_bytes(a, "big") ^ int.from_bytes(b, "big")
    return size + ((differs & -differs).bit_length() - 1) // 8
