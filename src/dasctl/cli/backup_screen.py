"""What is shown of a backup that was written, verified or restored."""

from __future__ import annotations

from dasctl.cli import tables, text
from dasctl.cli.screen import Screen
from dasctl.core.outcome import Outcome, Result


def show_backup(outcome: Outcome, screen: Screen) -> None:
    """A line of what happened, a line for each place where something is now."""
    for result in outcome.results:
        fields = result.fields
        file = text.path_text(str(fields["file"]))
        history = "with its history" if fields["history"] else "without history"
        what = f"revision {fields['revision']} ({tables.as_moment(fields['when'], 0)})"
        amount = f"{text.count(fields['files'], 'file')}, {text.size(fields['bytes'])}"
        if outcome.command == "backup-domain":
            screen.line(f"backed up {what}, {history}: {amount}, in a file of {text.size(fields['size'])}")
            screen.line(file)
            for removed in fields["removed"]:
                screen.line(f"removed {text.path_text(removed)}")
        elif result.status == "verified":
            screen.line(f"{file} is right: {what} of {fields['domain']}, {history}: {amount}")
        else:
            _restored(result, screen, f"restored {what}, {history}: {amount}", file)


def _restored(result: Result, screen: Screen, what: str, file: str) -> None:
    fields = result.fields
    screen.line(f"{what}, from {file}")
    screen.line(
        f"{text.path_text(str(fields['domain_dir']))} is now revision {fields['as_revision']}, epoch {fields['epoch']}"
    )
    if fields["before"]:
        screen.line(f"the domain that was there: {text.path_text(str(fields['before']))}")
