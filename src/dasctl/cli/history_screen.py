"""How the revisions fit on a screen: each on one line, so that the list can be read from top to bottom.

What lives here: which cells are cut, and where. What must not: columns and their forms (`tables.py`); `--long`, which cuts
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dasctl.cli import text

# What people wrote may be of any length. These are their columns where nobody says how wide it may become.
MOST: Mapping[str, int] = {"command": 44, "summary": 72, "failed on": 72}
WEIGHTS: Mapping[str, int] = {"command": 2, "summary": 3, "failed on": 2}  # what changed is the story
LEAST = 12  # columns of such a cell that still says something
ENOUGH = 24  # columns of such a cell; below that the host has to go, which `--long` has, too
GAP = 2
YEAR, SECONDS = len("2026-"), len(":00")  # of a moment: what is not needed first


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
        table = _with_short_moments(table, names.index("when"), columns)
    free = {at: names[at] for at in _free(names)}
    room = max(_room(table, names, columns), LEAST * len(free))
    natural = {at: _widest(table, at) for at in free}
    return names, _cut(table[1:], _shared(natural, {at: WEIGHTS[name] for at, name in free.items()}, room))


def _with_short_moments(table: list[list[str]], at: int, columns: int) -> list[list[str]]:
    """The same with minutes; and without the year, where it is one and the same and there is little room."""
    names, *rows = table
    tight = _room(table, names, columns) < ENOUGH * len(_free(names))
    begin = YEAR if tight and len({row[at][:YEAR] for row in rows}) == 1 else 0
    return [names, *([*row[:at], row[at][begin:-SECONDS], *row[at + 1 :]] for row in rows)]


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


def _shared(natural: Mapping[int, int], weights: Mapping[int, int], room: int) -> dict[int, int]:
    """`room` divided by weights: whoever needs less than its share leaves the rest to the others."""
    widths: dict[int, int] = {}
    for at in sorted(natural, key=lambda at: natural[at] / weights[at]):
        left = sum(weight for other, weight in weights.items() if other not in widths)
        widths[at] = min(natural[at], room * weights[at] // left)
        room -= widths[at]
    return widths


def _cut(rows: Sequence[Sequence[str]], widths: Mapping[int, int]) -> list[list[str]]:
    return [
        [text.cut(cell, widths[at]) if at in widths else cell for at, cell in enumerate(row)] for row in rows
    ]
