"""Here-documents in a shell's command: where their bodies lie. What must not live here: references, quoting."""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPENING = re.compile(r"""<<(-?)[ \t]*(?:'([^'\n]+)'|"([^"\n]+)"|(\\?)([\w.!+%@-]+))""")
_LINE_END = re.compile(r"(?<!\\)\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The text from `start` up to `end`. `literal`: its delimiter was quoted, so the shell replaces nothing in it."""

    start: int
    end: int
    literal: bool


def body_of(command: str, position: int, earlier: Body | None) -> Body | None:
    """The body of the here-document that `<<` at `position` opens; None where it opens none, as in `1<<2`.

    `earlier` is the last body that was found: several of one line follow each other.
    """
    opening = _OPENING.match(command, position)
    line = _LINE_END.search(command, position)
    if opening is None or line is None:
        return None
    start = line.end()
    if earlier is not None and earlier.end > position:
        start = max(start, command.find("\n", earlier.end) + 1)
    tabs, single, double, backslash, plain = opening.groups()
    indent = "\t*" if tabs else ""
    last = re.compile(f"^{indent}{re.escape(single or double or plain)}$", re.MULTILINE)
    end = last.search(command, start)
    if end is None:
        return None
    return Body(start=start, end=end.start(), literal=bool(single or double or backslash))
