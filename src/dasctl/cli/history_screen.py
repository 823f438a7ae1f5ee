"""How the revisions fit on a screen: each on one line, so that the list can be read from top to bottom.

What lives here: which cells are cut, and where. What must not: columns and their forms (`tables.py`); `--long`, which cuts
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dasctl.cli import text

# What people wrote may be of any length. These are their columns where nobody says how wide it may become.
MOST: Mapping[str, int] = {"command": 44, "summary": 72, "failed on": 72}
LEAST = 12  # columns of such a cell that still says something
ENOUGH = 24  # columns of such a cell; below that the host has to go, which `--long` has, too
GAP = 2
SECONDS = len(":00")  # of a moment; the first thing that is not needed


def fitted(
    headings: Sequence[str], rows: list[list[str]], columns: int | None
) -> tuple[list[str], list[list[str]]]:
    """Headings and rows whose lines fit into `columns`, where that is possible at all; None: where they go has no width."""
    if columns is None:
        return list(headings), _cut(
            rows, {at: MOST[name] for at, name in enumerate(headings) if name in MOST}
        )
    table = [list(headings), *rows]
    if _room(table, headings, columns) < ENOUGH * len(_free(headings)) and "host" in headings:
        at = headings.index("host")
        table = [[*row[:at], *row[at + 1 :]] for row in table]
    names = table[0]
    if _taken(table) > columns and "when" in names:
        at = names.index("when")
        table = [names, *([*row[:at], row[at][:-SECONDS], *row[at + 1 :]] for row in table[1:])]
    free = _free(names)
    natural = {at: _widest(table, at) for at in free}
    return names, _cut(table[1:], _shared(natural, max(_room(table, names, columns), LEAST * len(free))))


def _free(headings: Sequence[str]) -> list[int]:
    """The columns that may be cut."""
    return [at for at, name in enumerate(headings) if name in MOST]


def _widest(table: Sequence[Sequence[str]], at: int) -> int:
    return max(text.width(row[at]) for row in table)


def _taken(table: Sequence[Sequence[str]]) -> int:
    """How wide the table is as it stands."""
    widths = [_widest(table, at) for at in range(len(table[0]))]
    return sum(width + GAP for width in widths if width) - GAP


def _room(table: Sequence[Sequence[str]], headings: Sequence[str], columns: int) -> int:
    """What the other columns leave to those that may be cut."""
    free = _free(headings)
    return (
        columns
        - _taken([[cell for at, cell in enumerate(row) if at not in free] for row in table])
        - GAP * len(free)
    )


def _shared(natural: Mapping[int, int], room: int) -> dict[int, int]:
    """`room` divided: whoever needs less than an equal share leaves the rest to the others."""
    widths: dict[int, int] = {}
    for at, wanted in sorted(natural.items(), key=lambda item: item[1]):
        widths[at] = min(wanted, room // (len(natural) - len(widths)))
        room -= widths[at]
    return widths


def _cut(rows: Sequence[Sequence[str]], widths: Mapping[int, int]) -> list[list[str]]:
    return [
        [text.cut(cell, widths[at]) if at in widths else cell for at, cell in enumerate(row)] for row in rows
    ]
