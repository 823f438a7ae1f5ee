"""How far the DAS itself has come, before or after it speaks with nodes: archives, objects.

What lives here: counting bytes into events, and ending where the command was interrupted. What must not: how that is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from dasctl.core.exchange import Event

if TYPE_CHECKING:
    from dasctl.operations.ports import Context

OnBytes = Callable[[int], None]

T = TypeVar("T")
PORTION = 16 << 20  # bytes: so often it is told how far the keeping of objects has come


def told(ctx: Context, phase: str, what: str, total: int = 0) -> OnBytes:
    """What is to be called with each number of bytes that are done. `total`: of so many; 0: nobody knows."""
    done = 0

    def on_bytes(size: int) -> None:
        nonlocal done
        heed(size)
        done += size
        ctx.on_event(Event(phase=phase, sent=done, total=total, text=what))

    on_bytes(0)
    return on_bytes


def heed(size: int) -> None:
    """End the work where the command was interrupted: nothing of it awaits."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def portions(sizes: Mapping[T, int]) -> Iterator[list[T]]:
    """The keys, some at a time, in their order; `sizes` in bytes."""
    some: list[T] = []
    size = 0
    for one, own in sizes.items():
        some.append(one)
        size += own
        if size >= PORTION:
            yield some
            some, size = [], 0
    if some:
        yield some
