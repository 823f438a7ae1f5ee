"""What instances confirmed, written down for many of them at once: each write waits for the disk.

What is lost by a kill in between costs the next synchronisation a second trip, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from dasctl.core.stamps import Acknowledged
from dasctl.errors import DasctlError
from dasctl.operations.ports import History

GATHER_S = 0.2  # for nodes that finish at about the same time


class Acknowledging:
    """Gathers; `write` at the end writes what is left. Of one event loop."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._confirmed: dict[str, Acknowledged] = {}
        self._parts: dict[str, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, confirmed: Mapping[str, Acknowledged], parts: Mapping[str, bytes]) -> None:
        """These instances confirmed; it is written soon."""
        self._confirmed.update(confirmed)
        self._parts.update(parts)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self._in_between)

    def write(self) -> None:
        """Write what is left. Raises HistoryError; it may be called again then."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._confirmed:
            self._history.acknowledge(self._confirmed, self._parts)
            self._confirmed, self._parts = {}, {}

    def _in_between(self) -> None:
        with contextlib.suppress(DasctlError):  # tried again, and told, at the end
            self.write()
