"""How revisions look: one by itself, what two differ in, what a rollback would change.

What lives here: their lines. What must not: what differs (`operations/diff.py`), the list of revisions (`tables.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dasctl.cli import tables, text
from dasctl.cli.comparison_screen import print_diff
from dasctl.cli.screen import Screen
from dasctl.core.outcome import UNCHANGED, Outcome

MOST_NAMED = 50  # changed files of a revision; `--verbose` and `--json` have all


def shows(outcome: Outcome) -> bool:
    """Whether the text of this outcome is made here: of a rollback where no instance was asked."""
    if outcome.command == "rollback":
        return bool(outcome.results) and all(result.instance is None for result in outcome.results)
    return outcome.command in ("show-revision", "diff")


def show_past(outcome: Outcome, screen: Screen) -> None:
    """Print the lines of such an outcome; its notes follow elsewhere."""
    match outcome.command:
        case "diff":
            for result in outcome.results:
                print_diff(str(result.fields["diff"]), screen)
        case "show-revision":
            for result in outcome.results:
                _show_revision(result.fields, screen)
        case _:
            _show_rollback(outcome, screen)


def _show_revision(fields: Mapping[str, Any], screen: Screen) -> None:
    when = tables.as_moment(fields["when"], screen.now)
    who = text.plain(f"{fields['who']} on {fields['host']}")
    screen.line(screen.palette.paint(f"revision {fields['revision']}, {when}, by {who}", "bold"))
    for label, value in (
        ("command", text.plain(str(fields["command"])) or tables.ABSENT),
        ("summary", text.plain(str(fields["summary"]))),
        ("digest", f"{fields['digest'][:12]} (epoch {fields['epoch']}, config id {fields['config_id']})"),
    ):
        for line in _fitted(f"  {label}: {value}", screen, words=label == "summary"):
            screen.line(line)
    for outcome in fields["outcomes"]:
        _show_outcome(outcome, screen)
    changes = fields["changes"]
    if changes is None:
        return
    before = f"since revision {fields['before']}" if fields["before"] is not None else "the first one"
    screen.line(
        f"{text.count(len(changes), 'change')}, {before}:" if changes else f"no file changed {before}"
    )
    _show_changes(changes, screen)


def _fitted(line: str, screen: Screen, *, words: bool) -> list[str]:
    """A line of prose in lines that fit on a terminal; what may be copied (`words` False) stays one."""
    if not words or screen.columns is None or text.width(line) <= screen.columns:
        return [line]
    return text.wrapped(line.strip(), screen.columns, first="  ", rest="    ")


def _show_outcome(outcome: Mapping[str, Any], screen: Screen) -> None:
    """`sync-cluster web: 2 succeeded, failed on web3` and why."""
    failed: dict[str, str] = outcome["instances"]
    command = text.plain(str(outcome["command"]))
    when = tables.as_moment(outcome["when"], screen.now)
    times = f", {outcome['times']} times in a row" if outcome["times"] > 1 else ""
    told = [f"{outcome['succeeded']} succeeded"] if outcome["succeeded"] else []
    if failed:
        told.append(f"failed on {text.folded(failed)}")
    screen.line(f"  {when}  {command}: {', '.join(told)}{times}")
    reasons: dict[str, list[str]] = {}
    for name, message in failed.items():
        reasons.setdefault(message, []).append(name)
    for message, names in reasons.items():
        screen.line(f"    {text.folded(names)}: {text.plain(message)}")


def _show_changes(
    changes: list[dict[str, Any]], screen: Screen, *, what: str = "what", size: str = "size"
) -> None:
    most = len(changes) if screen.settings.verbose else MOST_NAMED
    shown = [change for change in changes if screen.settings.verbose or change[what] != "modtime"]
    rows = [
        [
            f"  {change[what]}",
            text.size(change[size]) if change.get(size) else "",
            text.path_text(str(change["path"])),
        ]
        for change in shown[:most]
    ]
    for row in text.aligned(rows):
        screen.line("  ".join(row).rstrip())
    if len(shown) > most:
        screen.line(f"  … and {len(shown) - most:,} more; --verbose names all")
    touched = len(changes) - len(shown)
    if touched:
        screen.line(
            f"  {touched:,}{' more' if shown else ''} in {'its' if touched == 1 else 'their'} modtime alone"
        )


def _show_rollback(outcome: Outcome, screen: Screen) -> None:
    for result in outcome.results:
        if result.fields.get("changes"):
            _show_changes(result.fields["changes"], screen, what="why", size="bytes")
        elif outcome.status != UNCHANGED and not outcome.data.get("dry_run"):
            name = tables.name_of(result)
            screen.line(f"{screen.palette.word(result.status)} {name} (revision {outcome.revision})")
