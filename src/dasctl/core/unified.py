"""Unified diffs of two files of any bytes, in the form that git prints and `patch -p1` applies.

What lives here: what is text, what is told instead where something is not, the lines of a diff. Pure. What must not:
files, colours.

Lines are split at newlines alone, so that every other byte stays where it is; a diff is bytes. Names are quoted as git
does it where they hold controls, quotes, backslashes or bytes that are not UTF-8.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

CONTEXT = 3  # lines around a change
MOST_TEXT = 1 << 20  # bytes of a file that is compared line by line; larger ones are told with their sizes
MOST_WORK = 4_000_000  # lines of one times lines of the other that are compared finely (a second); above: as one change
PROBE = 8000  # bytes in which a NUL makes a file binary, as in git
_NO_NEWLINE = b"\n\\ No newline at end of file\n"
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\b\x1b")
_SHORT = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
_REFUSED = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))  # what a terminal could obey


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two files. `data` None: a file whose content was not read, for its size. Of a link `data` is the target."""

    kind: str  # "f", "d", "l", "o" (something else)
    mode: int = 0
    size: int = 0  # bytes
    data: bytes | None = None
    sha256: str = ""

    @property
    def git_mode(self) -> str:
        """git's word; it knows two modes of files, and here the others are told as they are."""
        return "120000" if self.kind == "l" else f"{0o100000 | self.mode:06o}"


def file_diff(path: bytes, old: Side | None, new: Side | None) -> bytes:
    """What differs between two files at `path`; None: there is none. Empty where content, mode and kind are the same.

    What is neither file nor link counts as none: a diff has no folders.
    """
    old, new = (side if side is not None and side.kind in "fl" else None for side in (old, new))
    if old is not None and new is not None and old.kind != new.kind:
        return file_diff(path, old, None) + file_diff(path, None, new)
    body = _body(path, old, new)
    head = list(_modes(old, new))
    if not head and not body:
        return b""
    first = b"diff --git %s %s\n" % (quoted(b"a/" + path), quoted(b"b/" + path))
    return first + b"".join(line.encode() + b"\n" for line in head) + body


def is_text(data: bytes) -> bool:
    """Whether people read it: UTF-8, or an older encoding without the bytes that no text has."""
    if b"\0" in data[:PROBE]:
        return False
    try:
        data.decode("utf-8")
        return True
    except UnicodeDecodeError:
        probe = data[:PROBE]
        return not any(byte < 32 and byte not in _TEXT_CONTROLS for byte in probe)


def _modes(old: Side | None, new: Side | None) -> Iterator[str]:
    if old is None and new is not None:
        yield f"new file mode {new.git_mode}"
    elif new is None and old is not None:
        yield f"deleted file mode {old.git_mode}"
    elif old is not None and new is not None and old.git_mode != new.git_mode:
        yield f"old mode {old.git_mode}"
        yield f"new mode {new.git_mode}"


def _body(path: bytes, old: Side | None, new: Side | None) -> bytes:
    sides = [side for side in (old, new) if side is not None]
    if _alike(old, new):
        return b""
    names = _name(b"a/", path, old), _name(b"b/", path, new)
    if any(side.size > MOST_TEXT or side.data is None for side in sides):
        return b"Large files %s and %s differ (%s)\n" % (*names, _sizes(old, new))
    before, after = (side.data or b"" if side is not None else b"" for side in (old, new))
    if not (is_text(before) and is_text(after)):
        return b"Binary files %s and %s differ (%s)\n" % (*names, _sizes(old, new))
    if before == after:
        return b""
    return b"--- %s\n+++ %s\n" % tuple(_ended(name) for name in names) + b"".join(hunks(before, after))


def _alike(old: Side | None, new: Side | None) -> bool:
    if old is None or new is None:
        return False
    if old.data is not None and new.data is not None:
        return old.data == new.data
    return bool(old.sha256) and old.sha256 == new.sha256


def _sizes(old: Side | None, new: Side | None) -> bytes:
    told = [f"{side.size:,} bytes" if side is not None else "not there" for side in (old, new)]
    return " and ".join(told).encode()


def _name(prefix: bytes, path: bytes, side: Side | None) -> bytes:
    return quoted(prefix + path) if side is not None else b"/dev/null"


def _ended(name: bytes) -> bytes:
    """A name with a space ends with a tab, or patch would read it to the space."""
    return name + b"\t" if b" " in name and not name.startswith(b'"') else name


def quoted(name: bytes) -> bytes:
    """The name, or in git's quotes where something in it must not reach a terminal or could be misread."""
    text = name.decode("utf-8", "surrogateescape")
    if not any(char in '"\\' or unicodedata.category(char) in _REFUSED for char in text):
        return name
    return b'"' + "".join(_escaped(char) for char in text).encode() + b'"'


def _escaped(char: str) -> str:
    if ord(char) in _SHORT:
        return _SHORT[ord(char)]
    if unicodedata.category(char) not in _REFUSED:
        return char
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))


def hunks(before: bytes, after: bytes) -> Iterator[bytes]:
    """The hunks that turn the lines of `before` into those of `after`."""
    old, new = _lines(before), _lines(after)
    for group in _groups(_changes(old, new), len(old), len(new)):
        yield _header(group)
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from _marked(b" ", old[i1:i2])
            else:
                yield from _marked(b"-", old[i1:i2])
                yield from _marked(b"+", new[j1:j2])


Change = tuple[
    str, int, int, int, int
]  # as difflib's opcodes: what, lines of the old one, lines of the new one


def _changes(old: Sequence[bytes], new: Sequence[bytes]) -> list[Change]:
    """What changes, without what is equal. The common beginning and end cost nothing."""
    start, most = 0, min(len(old), len(new))
    while start < most and old[start] == new[start]:
        start += 1
    end = 0
    while end < most - start and old[-1 - end] == new[-1 - end]:
        end += 1
    a, b = old[start : len(old) - end], new[start : len(new) - end]
    if len(a) * len(b) > MOST_WORK:
        found: list[Change] = [("replace", 0, len(a), 0, len(b))]
    else:
        found = [
            code for code in SequenceMatcher(None, a, b, autojunk=False).get_opcodes() if code[0] != "equal"
        ]
    return [(tag, i1 + start, i2 + start, j1 + start, j2 + start) for tag, i1, i2, j1, j2 in found]


def _groups(changes: Sequence[Change], old: int, new: int) -> Iterator[list[Change]]:
    """Changes with the lines around them; those that are close together in one hunk."""
    group: list[Change] = []
    for change in changes:
        i1, j1 = change[1], change[3]
        if group and i1 - group[-1][2] > 2 * CONTEXT:
            yield [*group, _after(group[-1], old, new)]
            group = []
        if group:
            group.append(("equal", group[-1][2], i1, group[-1][4], j1))
        else:
            room = min(CONTEXT, i1)
            group.append(("equal", i1 - room, i1, j1 - room, j1))
        group.append(change)
    if group:
        yield [*group, _after(group[-1], old, new)]


def _after(last: Change, old: int, new: int) -> Change:
    room = min(CONTEXT, old - last[2], new - last[4])
    return ("equal", last[2], last[2] + room, last[4], last[4] + room)


def _header(group: Sequence[Change]) -> bytes:
    first, last = group[0], group[-1]
    return f"@@ -{_span(first[1], last[2])} +{_span(first[3], last[4])} @@\n".encode()


def _span(start: int, end: int) -> str:
    """`12,7`; a range of no lines begins at the line before it, one of a single line names that alone."""
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"


def _marked(mark: bytes, lines: Sequence[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield mark + line if line.endswith(b"\n") else mark + line + _NO_NEWLINE


def _lines(data: bytes) -> list[bytes]:
    """Its lines with their newlines; the last one has none where the file ends without."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines
