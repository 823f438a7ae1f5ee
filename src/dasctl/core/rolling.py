"""A rolling change: what was ordered.

What lives here: the options as a value, and which instances go together. What must not: how far it has come
(`rollout.py`), links, time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dasctl.core.tolerance import Tolerance

_BATCH = re.compile(r"([0-9]{1,9})(%?)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """How a change goes through its instances, batch by batch. `pause_s`: seconds between two batches.

    `batch`: so many instances (None: one), or so many in a hundred of the target's. `max_failures`: how many may fail
    (None: none). `resume`: go on with what is unfinished; `anew`: forget what is unfinished.
    """

    batch: str | None = None
    max_failures: str | None = None
    pause_s: float = 0.0
    auto_rollback: bool = False
    resume: bool = False
    anew: bool = False

    def size(self, instances: int) -> int:
        """How many of so many instances go side by side, at least one. ValueError where `batch` is not a size."""
        text = "1" if self.batch is None else self.batch.strip()
        match = _BATCH.match(text)
        if match is None or int(match[1]) < 1 or (match[2] and int(match[1]) > 100):
            raise ValueError(f"{self.batch!r} is not the size of a batch: write 2, or 25% of the instances")
        number = int(match[1])
        return max(1, instances * number // 100) if match[2] else number

    def batches(self, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """`names` in their order, as many together as go side by side. ValueError as in `size`."""
        size = self.size(len(names))
        return tuple(tuple(names[start : start + size]) for start in range(0, len(names), size))

    @property
    def tolerance(self) -> Tolerance:
        """Of failed instances, before no further batch is begun. ValueError where it is none."""
        return Tolerance.parse("0" if self.max_failures is None else self.max_failures)
