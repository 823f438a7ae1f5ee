"""What each instance is at, while a command works: the last event of each, as rows, and a line about all of them.

What lives here: taking in events, and their words. What must not: the terminal (`live.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dasctl.cli import text
from dasctl.cli.flow import Flow, Pace, left_s

if TYPE_CHECKING:
    from dasctl.core.exchange import Event

WAITING = "waiting"
ENDED = frozenset(("done", "failed", "skipped"))
BAD = frozenset(("failed", "skipped"))
DAS = "the DAS"  # which speaks of itself before any node does; no instance is called so


@dataclass(slots=True)
class Row:
    """One instance, or a node that has none, as it was last heard of."""

    phase: str
    words: str = ""
    node: str = ""


@dataclass(slots=True)
class Station:
    """One node: who is there, and what goes there."""

    names: set[str] = field(default_factory=set)
    flow: Flow = field(default_factory=Flow)


class Board:
    """The last word of each instance or node. A node's events stand for it until its instances speak.

    All instances of a node are told of the node's one stream: it is counted once.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: dict[str, Row] = {}
        self._stations: dict[str, Station] = {}
        self._all = Pace()
        self._pace, self._own = (
            Pace(),
            (0, 0),
        )  # of what the DAS itself is at: bytes that are done, and of how many
        self._sent = 0  # bytes, to all nodes
        self._lock = threading.Lock()

    def note(self, event: Event) -> None:
        """Take in one event."""
        name = event.instance or (f"node {event.node}" if event.node else "")
        with self._lock:
            if not name:
                self._of_the_das(event)
                return
            self._rows.pop(DAS, None)  # what it had to do first is done
            known = self._rows.get(name)
            node = event.node or (known.node if known is not None else name)
            station = self._stations.setdefault(node, Station())
            if event.instance and event.node:
                self._rows.pop(f"node {node}", None)
                station.names.discard(f"node {node}")
            station.names.add(name)
            self._rows[name] = Row(phase=event.phase, words=event.text, node=node)
            if event.phase == "sending":
                self._flows(station, event)

    def _of_the_das(self, event: Event) -> None:
        last = self._rows.get(DAS)
        if last is None or (last.phase, last.words) != (event.phase, event.text):
            self._pace = Pace()
            self._rows[DAS] = Row(phase=event.phase, words=event.text)
        self._own = event.sent, event.total
        self._pace.note(event.sent, self._clock())

    def _flows(self, station: Station, event: Event) -> None:
        now, before = self._clock(), station.flow.sent
        station.flow.note(event.sent, event.total, event.files, event.files_total, now)
        self._sent += station.flow.sent - before
        self._all.note(self._sent, now)

    def rows(self, room: int) -> tuple[list[tuple[str, str, str]], str]:
        """At most `room` rows (name, phase, what), those at work first, and a line about all others."""
        now = self._clock()
        with self._lock:
            items = [(name, replace(row)) for name, row in self._rows.items()]
            waiting = [item for item in items if item[1].phase == WAITING]
            ended = [item for item in items if item[1].phase in ENDED]
            busy = [item for item in items if item[1].phase != WAITING and item[1].phase not in ENDED]
            shown = (busy + ended + waiting)[: max(room, 1)] if len(items) > room else items
            told = [(text.plain(name), row.phase, self._what(row, now)) for name, row in shown]
        left = len(items) - len(shown)
        counts = f"{len(busy)} at work, {len(waiting)} waiting, {len(ended)} done"
        return told, f"… and {left} more: {counts}" if left else ""

    def _what(self, row: Row, now: float) -> str:
        station = self._stations.get(row.node)
        if station is None:
            return f"{text.plain(row.words)}  {self._what_of_the_das(now)}".strip()
        if row.phase != "sending" or not station.flow.total:
            return text.plain(row.words)
        flow = station.flow
        words = moved(flow.sent, flow.total, flow.pace.rate(now), more=False)
        return (
            f"{words}, {flow.files:,} of {text.count(flow.files_total, 'file')}"
            if flow.files_total
            else words
        )

    def _what_of_the_das(self, now: float) -> str:
        (done, total), rate = self._own, self._pace.rate(now)
        return moved(done, total, rate, more=False) if done < total else _so_far(done, rate)

    def total(self) -> str:
        """`3 of 8 nodes done, 1 failed, 12.3 MiB of 40.1 MiB, 4.1 MiB/s, 7 s left`; empty for one node alone."""
        now = self._clock()
        with self._lock:
            stations = list(self._stations.values())
            if len(stations) < 2:
                return ""
            phases = [{self._rows[name].phase for name in station.names} for station in stations]
            sent = self._sent
            known = sum(station.flow.total for station in stations)
            rate = self._all.rate(now)
        ended = [told for told in phases if told <= ENDED]
        bad = sum(bool(told & BAD) for told in phases)
        words = f"{len(ended) - sum(bool(told & BAD) for told in ended)} of {len(stations)} nodes done"
        words += f", {bad} failed" if bad else ""
        # Who has not compared yet has not said how much it needs.
        open_ended = any(told & {WAITING, "connecting", "preparing", "comparing"} for told in phases)
        return f"{words}, {moved(sent, known, rate, more=open_ended)}" if known else words


def _so_far(done: int, rate: float | None) -> str:
    """Of what has come to its end, or nobody knows the end of."""
    return text.size(done) + (f", {text.size(rate)}/s" if rate else "")


def moved(sent: int, total: int, rate: float | None, *, more: bool) -> str:
    """`1.2 MiB of 4.0 MiB, 800 KiB/s, 4 s left`; with `more`, the total will still grow."""
    if sent >= total:
        return f"{text.size(sent)} sent"
    words = f"{text.size(sent)} of {text.size(total)}"
    if rate is None:
        return words
    words += f", {text.size(rate)}/s"
    seconds = left_s(sent, total, rate)
    if seconds is None:
        return words
    return f"{words}, {'more than ' if more else ''}{text.age(seconds)} left"
