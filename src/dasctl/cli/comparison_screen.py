"""What is shown of comparisons: deviations as a table, differences as a unified diff.

What lives here: their lines. What must not: which files differ, and how a diff is made (`core/unified.py`).
"""

from __future__ import annotations

from dasctl.cli import text
from dasctl.cli.palette import is_screen
from dasctl.cli.screen import Screen
from dasctl.core.outcome import Outcome

_HEADS = (
    "diff --git ",
    "old mode ",
    "new mode ",
    "new file ",
    "deleted file ",
    "Binary files ",
    "Large files ",
)


def deviations_summary(outcome: Outcome) -> str:
    """`3 deviations on 2 of 5 instances`, or that there are none."""
    looked = outcome.data.get("instances") or ()
    deviating = [row for row in looked if row["deviations"]]
    if deviating:
        number = sum(row["deviations"] for row in deviating)
        return (
            f"{text.count(number, 'deviation')} on {len(deviating)} of {text.count(len(looked), 'instance')}"
        )
    known = [row["instance"] for row in looked if row["revision"] is not None]
    return f"no deviations: {text.folded(known)}" if known else ""


def show_diff(outcome: Outcome, screen: Screen) -> None:
    """The diffs of all results, one after the other. Nothing is printed where nothing differs."""
    for result in outcome.results:
        print_diff(result.fields.get("diff") or "", screen)


def print_diff(diff: str, screen: Screen) -> None:
    """Print a diff (bytes that are not UTF-8 as surrogate escapes).

    On a terminal its lines are coloured, and what it could obey is escaped. Elsewhere every byte goes out as it is: it may
    be for `patch`.
    """
    if is_screen(screen.out):
        within = False
        for line in diff.removesuffix("\n").split("\n") if diff else ():
            within = line.startswith("@@") or (within and not line.startswith("diff --git "))
            screen.line(_coloured(line, within, screen))
        return
    buffer = getattr(screen.out, "buffer", None)
    if buffer is None:
        screen.out.write(diff)
        return
    screen.out.flush()
    buffer.write(diff.encode("utf-8", "surrogateescape"))


def _coloured(line: str, within: bool, screen: Screen) -> str:
    shown = "\t".join(text.plain(piece) for piece in line.split("\t"))
    if not within:
        return screen.palette.paint(shown, "bold") if line.startswith((*_HEADS, "---", "+++")) else shown
    for mark, colour in (("@@", "dim"), ("+", "green"), ("-", "red")):
        if line.startswith(mark):
            return screen.palette.paint(shown, colour)
    return shown
