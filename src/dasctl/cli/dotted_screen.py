"""How `get`, `set` and `list` look: lines `name=value`, as asadmin prints them.

What lives here: the lines. What must not: what names mean.
"""

from __future__ import annotations

from typing import Any

from dasctl.cli import text
from dasctl.cli.comparison_screen import print_diff
from dasctl.cli.screen import Screen
from dasctl.core.dotted_values import text_of
from dasctl.core.outcome import UNCHANGED, Outcome, Result


def show_dotted(outcome: Outcome, screen: Screen) -> None:
    """Print the lines of `get`, `set` or `list`."""
    terse = screen.settings.terse
    if outcome.data.get("dry_run"):
        print_diff(outcome.data["diff"], screen)
        if not terse:
            screen.line(
                "dry run: nothing was touched" if outcome.data["diff"] else "dry run: nothing would change"
            )
        return
    for result in outcome.results:
        line = _line(result)
        if outcome.command == "get" and "level" in result.fields:
            line += _origin(result, terse=terse)
        elif outcome.command == "set" and not terse:
            line += _was(result)
        screen.line(line)
    if outcome.command != "set" or terse:
        return
    if outcome.status != UNCHANGED and outcome.error is None:
        screen.line(f"revision {outcome.revision}")
    for note in outcome.notes:
        screen.line(text.plain(note))


def _line(result: Result) -> str:
    fields = result.fields
    name = text.plain(fields["name"])
    if "value" not in fields or fields["value"] is None:
        return name
    return f"{name}={shown(fields['value'])}"


def shown(value: Any) -> str:
    """A value in one line; what a terminal could obey is escaped."""
    return "" if value is None else text.plain(text_of(value))


def _origin(result: Result, *, terse: bool) -> str:
    fields = result.fields
    words = [fields["level"], text.plain(str(fields["of"] or "")), fields["place"] or ""]
    if terse:
        return "\t" + "\t".join(word or "-" for word in words)
    level = " ".join(filter(None, words[:2]))
    return f"  ({', '.join(filter(None, (level, words[2])))})"


def _was(result: Result) -> str:
    before = result.fields["before"]
    if result.status == UNCHANGED:
        return "  (unchanged)" if result.fields["value"] is not None else "  (unchanged: it was not set)"
    if result.status == "removed":
        return (
            "  (removed)" if isinstance(before, dict) else f"  (removed; it was {shown(before) or 'empty'})"
        )
    return f"  (was {shown(before) or 'empty'})" if before is not None else "  (new)"
