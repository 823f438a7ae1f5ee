"""One rate for all links of this process: whoever has something to send asks here, piece by piece.

Fair, because each link asks for one small piece at a time and they are served in turn: none can take the line for itself,
and one whose far side takes nothing does not ask. Nothing is buffered here.
"""

from __future__ import annotations

import asyncio

from dasctl.core.rates import Bucket

PIECE_S = 0.05  # what a piece takes at the whole rate: a slow line flows evenly, and turns come soon
LEAST_PIECE = 1 << 10
MOST_PIECE = 64 << 10  # bytes: on a fast line, pieces for each of which the loop need not wake


class Throttle:
    """Lets `rate` bytes per second through, over all who ask. For one event loop at a time."""

    def __init__(self, rate: float) -> None:
        self._bucket = Bucket(rate=rate)

    @property
    def piece(self) -> int:
        """How many bytes to ask for at a time, at most."""
        return max(LEAST_PIECE, min(MOST_PIECE, int(self._bucket.rate * PIECE_S)))

    async def permit(self, size: int) -> None:
        """Return when `size` bytes may be sent."""
        self._bucket, wait_s = self._bucket.taken(size, asyncio.get_running_loop().time())
        await asyncio.sleep(wait_s)  # also for 0 s: what may go at once is shared as well
