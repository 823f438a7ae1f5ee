"""A rolling change that came to no good end: a table of where every server stands."""

from __future__ import annotations

from dasctl.cli import tables, text
from dasctl.cli.screen import Screen
from dasctl.core.outcome import Outcome

HEADINGS = ["instance", "node", "status", "revision", "state", ""]


def is_unfinished(outcome: Outcome) -> bool:
    """Whether it is one."""
    return any("rolling" in result.fields for result in outcome.results)


def rows_of(outcome: Outcome, screen: Screen) -> list[list[str]]:
    """The table below HEADINGS."""
    return [
        [
            tables.name_of(result),
            text.plain(result.node or ""),
            result.status,
            tables.as_text(result.fields.get("revision"), screen.now),
            tables.as_text(result.fields.get("state"), screen.now),
            text.plain(result.note),
        ]
        for result in outcome.results
    ]
