"""The threads of a command: waited for at its end, unless it was interrupted.

What they do (look at the repository, pack contents, wait for somebody's answer) can take minutes, and none of it can be
broken off from outside. All of it may be cut off at any instruction: that is what a kill does. So whoever interrupts a
command need not wait for them; the process ends with them still at work (`cli/main.py`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

PREFIX = "dasctl-at-work"  # of their names; whoever is alive when all is told was left alone


class Threads(ThreadPoolExecutor):
    """An executor whose `shutdown` does not wait once it was told to leave its threads alone."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix=PREFIX)
        self.leave_alone = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(
            wait=wait and not self.leave_alone, cancel_futures=cancel_futures or self.leave_alone
        )
