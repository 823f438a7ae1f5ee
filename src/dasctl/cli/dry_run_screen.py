"""What is shown of a dry run: each change with what would travel for it, equal answers folded, totals, texts.

What lives here: its lines. What must not: what would change, and what it weighs (the outcome says).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dasctl.cli import tables, text
from dasctl.cli.comparison_screen import print_diff
from dasctl.cli.screen import Screen
from dasctl.core.outcome import Outcome, Result

OWN_PART = "config/domain.yaml"  # of an instance
WHYS = ("new", "content", "modtime", "mode", "kind", "deleted")  # the order in totals


def show_dry_run(outcome: Outcome, screen: Screen) -> None:
    """A line per change, never in blocks, whatever the width; below each group of instances what it amounts to."""
    for members in folded(outcome.results):
        first = members[0]
        changes = first.fields.get("changes") or ()
        if not changes:
            continue
        whose = text.folded(tables.name_of(result) for result in members)
        for row in text.aligned([[whose, *_cells(change)] for change in changes]):
            screen.line("  ".join(row).rstrip())
        if first.fields.get("more"):
            screen.line(f"{whose}  … and {first.fields['more']:,} more changes")
        if len(changes) > 1:
            screen.line(screen.palette.paint(_total(whose, members), "dim"))
        for change in changes:
            print_diff(change.get("diff") or "", screen)


def folded(results: Iterable[Result]) -> list[list[Result]]:
    """Results with the same changes together, in the order of their first ones."""
    groups: dict[Any, list[Result]] = {}
    for result in results:
        same = tuple(_same(change) for change in result.fields.get("changes") or ())
        groups.setdefault((same, result.fields.get("more")), []).append(result)
    return list(groups.values())


def _same(change: Mapping[str, Any]) -> tuple[Any, ...]:
    """What must agree. Each instance's own part of domain.yaml is another one, and packs a few bytes smaller or larger."""
    if change["path"] == OWN_PART and change.get("bytes"):
        change = {**change, "bytes": True}
    return tuple(sorted(change.items()))


def _cells(change: Mapping[str, Any]) -> list[str]:
    """Why, what travels, which file, and where it is copied from on the node."""
    travels = change.get("bytes")
    source = f" from {text.path_text(str(change['from']))}" if change.get("from") else ""
    return [
        text.plain(str(change["why"])), text.size(travels) if travels else tables.ABSENT,
        text.path_text(str(change["path"])) + source,
    ]  # fmt: skip


def _total(whose: str, members: Sequence[Result]) -> str:
    """`web[1-3], the same on each: 4 changes (2 new, 1 content, 1 deleted), 3.6 KiB in all`."""
    fields = members[0].fields
    counts = Counter(str(change["why"]) for change in fields["changes"])
    whys = ", ".join(
        f"{counts[why]:,} {why}" for why in (*WHYS, *sorted(set(counts) - set(WHYS))) if counts[why]
    )
    several = len(members) > 1
    weight = sum(member.fields.get("bytes_to_send") or 0 for member in members)
    amount = f", {text.size(weight)}{' in all' if several else ''}" if weight else ""
    total = len(fields["changes"]) + int(fields.get("more") or 0)
    return f"{whose}{', the same on each' if several else ''}: {text.count(total, 'change')} ({whys}){amount}"


def dry_run_summary(outcome: Outcome) -> str:
    """How many changes there would be in all, and how much would travel for them."""
    changing = [result for result in outcome.results if result.fields.get("changes")]
    if not changing:
        names = text.folded(tables.name_of(result) for result in outcome.results if result.good)
        return f"dry run: nothing would change: {names}" if names else ""
    number = sum(len(result.fields["changes"]) + int(result.fields.get("more") or 0) for result in changing)
    of = text.count(len(outcome.results), "instance")
    weights = [result.fields["bytes_to_send"] for result in changing if "bytes_to_send" in result.fields]
    amount = f"{text.size(sum(weights))} of contents" if any(weights) else "no contents"
    travels = f", {amount} would travel" if weights else ""
    return f"dry run: {text.count(number, 'change')} on {len(changing)} of {of}{travels}; nothing was touched"
