"""Words and numbers as people read them, safe for a terminal.

What lives here: pure text. A file's name can hold anything, escape sequences too, so nothing foreign is printed
before it went through `plain` or `path_text`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

# What may not reach a terminal: controls, format characters (they can turn the writing direction), surrogates,
# unassigned and private characters, line and paragraph separators. Plain ASCII takes the short way.
_HARMLESS = re.compile(r"[ -~]*\Z")
_REFUSED = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def plain(text: str) -> str:
    """One line of foreign text, with whatever a terminal could obey escaped."""
    if _HARMLESS.match(text):
        return text
    return "".join(_escaped(char) if unicodedata.category(char) in _REFUSED else char for char in text)


def path_text(path: str) -> str:
    """A file's name, unambiguous: backslashes are doubled, so that `\\n` is a newline and nothing else; and of all the
    spaces there are only the common one is shown as it is.
    """
    shown = plain(path.replace("\\", "\\\\"))
    if _HARMLESS.match(shown):
        return shown
    return "".join(_escaped(char) if char != " " and char.isspace() else char for char in shown)


def lines(text: str) -> list[str]:
    """A message of several lines, each escaped."""
    return [plain(line) for line in text.split("\n")]


def _escaped(char: str) -> str:
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def width(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def cut(text: str, columns: int) -> str:
    """`text` where it takes no more than `columns`, or else its beginning and `…`."""
    if width(text) <= columns:
        return text
    taken, room = 0, columns - 1
    for at, char in enumerate(text):
        taken += _char_width(char)
        if taken > room:
            return text[:at].rstrip() + "…"
    return text


def _char_width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def size(count: float) -> str:
    """Bytes: `512 B`, `1.2 KiB`, `340 MiB`."""
    if count < 1024:
        return f"{int(count)} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1023.5:
            return f"{count:.1f} {unit}" if count < 99.95 else f"{count:.0f} {unit}"
    return f"{count / 1024:.1f} TiB"


def duration(seconds: float) -> str:
    """Short times exactly, long ones roughly: `0.41 s`, `12.3 s`, `3m05s`, `2h07m`, `5d03h`."""
    if seconds <= -0.005:
        return "-" + duration(-seconds)
    seconds = abs(seconds)
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def age(seconds: float) -> str:
    """A time that nobody needs in parts of a second: `0 s`, `41 s`, `3m05s`."""
    return f"{round(seconds)} s" if 0 <= seconds < 59.5 else duration(max(seconds, 60.0))


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def folded(names: Iterable[str]) -> str:
    """Names as people write them: `web[1-3]`. What is not a plain name stays as it is."""
    from dasctl.core.targets import fold

    return plain(fold(list(names)))


def wrapped(text: str, columns: int, *, first: str = "", rest: str = "") -> list[str]:
    """Paragraph `text` in lines of at most `columns`; words longer than that stay whole, to be copied."""
    import textwrap

    room = max(columns, 20)
    return textwrap.wrap(
        text,
        room,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def aligned(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The cells padded to their columns, but for the last of each row."""
    if not rows:
        return []
    widths = [max(width(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        [cell + " " * (widths[i] - width(cell)) if i < len(row) - 1 else cell for i, cell in enumerate(row)]
        for row in rows
    ]
