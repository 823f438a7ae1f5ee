"""The lines of a YAML text, and which comments belong to an entry.

What lives here: offsets of lines, and what a person takes a comment to be about. What must not: what the parser knows
(`yaml_spans.py`).

A comment belongs to the mapping in which it is indented: one that stands behind the last entry, as far to the right as
that one or further, is about what is above it, and what is added comes behind it. One that stands further to the left is
about what follows, and what is added comes before it.
"""

from __future__ import annotations

from collections.abc import Callable


def newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def line_start(text: str, position: int) -> int:
    return text.rfind("\n", 0, position) + 1


def line_end(text: str, position: int) -> int:
    """The offset of the line's end, before its newline."""
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    return end - 1 if end > position and text[end - 1] == "\r" else end


def next_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def column(text: str, position: int) -> int:
    return position - line_start(text, position)


def behind_colon(text: str, key_end: int) -> int:
    return text.index(":", key_end) + 1


def insert_line(text: str, position: int, lines: str) -> str:
    """Insert whole lines behind the line of `position`. The file's last line may lack its newline, and then keeps to it."""
    following = next_line(text, position)
    mark = newline(text)
    if following == len(text) and not text.endswith("\n"):
        return text + mark + lines.removesuffix(mark)
    return text[:following] + lines + text[following:]


def behind_comments(text: str, position: int, column: int) -> int:
    """Where the mapping whose last entry ends at `position` ends with its comments; its entries begin at `column`."""
    return _behind(text, position, lambda line: _indent(line) >= column)


def behind_own_comments(text: str, position: int, column: int) -> int:
    """Where the entry that begins at `column` and ends at `position` ends with those comments that stand inside of it."""
    return _behind(text, position, lambda line: _indent(line) > column)


def _behind(text: str, position: int, belongs: Callable[[str], bool]) -> int:
    last = position
    while (start := next_line(text, last)) < len(text):
        last = line_end(text, start)
        line = text[start:last]
        if line.strip() and not (line.lstrip().startswith("#") and belongs(line)):
            break
        if line.strip():
            position = last
    return position


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))
