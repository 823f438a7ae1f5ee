"""One gitignore pattern as a regular expression, exactly as git matches it (its dir.c and wildmatch.c).

What lives here: the meaning of one pattern. What must not: lists of patterns (`patterns.py`).

Expressions are over a path's bytes, decoded as Latin-1; a folder's path may end with a slash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SPECIAL = "*?[\\"
_NAME_END = "(?<!/)"  # a path has no empty names: nothing that a pattern names ends with a slash
_NEVER = "(?!)"

# Over bytes, in the C locale.
_CLASSES = {
    "alnum": r"[0-9A-Za-z]", "alpha": r"[A-Za-z]", "blank": r"[ \t]", "cntrl": r"[\x00-\x1f\x7f]", "digit": r"[0-9]",
    "graph": r"[!-~]", "lower": r"[a-z]", "print": r"[ -~]", "punct": r"[!-/:-@\[-`{-~]", "space": r"[ \t-\r]",
    "upper": r"[A-Z]", "xdigit": r"[0-9A-Fa-f]",
}  # fmt: skip


class NoPattern(ValueError):
    """The text is not a pattern."""


class _MatchesNothing(Exception):
    """The pattern is one that git accepts and that matches nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """`body` matches the path that is named, up to the end of a name; `negated`: written with `!`."""

    body: str
    folders_only: bool
    negated: bool

    @property
    def reaching(self) -> str:
        """Finds the path that is named, and all below it."""
        return self.body + ("/" if self.folders_only else r"(?:/|\Z)")

    @property
    def exact(self) -> str:
        """Finds the path that is named alone; a folder's path ends with a slash."""
        return self.body + (r"/\Z" if self.folders_only else r"/?\Z")


def pattern_of(line: str) -> Pattern | None:
    """What `line` says; None for what says nothing: an empty line, a comment. Raises NoPattern.

    An expression that can match nothing (`[a` is not closed) has `(?!)` as its body.
    """
    if "\0" in line or "\n" in line:
        raise NoPattern(f"{line!r} is not a gitignore pattern: it has more than one line")
    if line.startswith("#"):
        return None
    text = _trimmed(line.encode("utf-8", "surrogateescape").decode("latin-1"))
    if not text:
        return None
    negated = text.startswith("!")
    text = text[1:] if negated else text
    folders_only = text.endswith("/")
    text = text[:-1] if folders_only else text
    if _dangles(text):
        raise NoPattern(f"{line!r} is not a gitignore pattern: it ends with a backslash")
    if not text:
        if folders_only:
            return Pattern(body=_NEVER, folders_only=True, negated=negated)
        raise NoPattern(f"{line!r} is not a gitignore pattern")
    try:
        body = _body(text)
    except _MatchesNothing:
        body = _NEVER
    return Pattern(body=body, folders_only=folders_only, negated=negated)


def can_match(pattern: Pattern) -> bool:
    """Whether there is anything at all that the pattern could match."""
    return _NEVER not in pattern.body


def _trimmed(text: str) -> str:
    """Without the spaces at its end that no backslash protects."""
    end = at = 0
    while at < len(text):
        step = 2 if text[at] == "\\" else 1
        if text[at] != " ":
            end = min(at + step, len(text))
        at += step
    return text[:end]


def _dangles(text: str) -> bool:
    """Whether it ends with a backslash that protects nothing."""
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def _body(text: str) -> str:
    if "/" not in text:  # a name, anywhere
        return rf"^(?:.*/)?{_translated(text, within_names=True)}{_NAME_END}"
    text = text.removeprefix("/")
    # git compares what stands before the first special character by itself, so that a `**` behind it stands at the
    # beginning of what is left: `a**/b` is more than `a*/b`.
    plain = next((at for at, char in enumerate(text) if char in _SPECIAL), len(text))
    return f"^{re.escape(text[:plain])}{_translated(text[plain:], within_names=False)}{_NAME_END}"


def _translated(text: str, *, within_names: bool) -> str:
    """The expression for a pattern; `within_names`: `**` is no more than `*`."""
    found: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char == "*":
            end = at
            while text[end : end + 1] == "*":
                end += 1
            source, at = _stars(text, at, end, within_names=within_names)
        elif char == "[":
            source, at = _class(text, at)
        elif char == "?":
            source, at = "[^/]", at + 1
        else:
            at += 1 if char == "\\" else 0
            source, at = re.escape(text[at]), at + 1
        found.append(source)
    return "".join(found)


def _stars(text: str, at: int, end: int, *, within_names: bool) -> tuple[str, int]:
    """The expression for the stars from `at` to `end`, and where the rest begins."""
    alone = (at == 0 or text[at - 1] == "/") and (end == len(text) or text[end:].startswith(("/", "\\/")))
    if within_names or end - at == 1 or not alone:
        return "[^/]*", end
    if text[end : end + 1] == "/":
        return "(?:.*/)?", end + 1
    return ".*", end


def _class(text: str, at: int) -> tuple[str, int]:
    """The expression for the bracket at `at`, and where the rest begins: all bytes that it holds, but for the slash."""
    at += 1
    negated = text[at : at + 1] in ("!", "^")
    at += 1 if negated else 0
    held: set[int] = set()
    before, first = "", True  # `before`: the character that a range may begin with
    while first or _needed(text, at) != "]":
        first = False
        char = _needed(text, at)
        if char == "-" and before and text[at + 1 : at + 2] not in ("", "]"):
            at += 1
            last, at = _plain(text, at)
            held.update(range(ord(before), ord(last) + 1))
            before = ""
        elif char == "[" and text[at + 1 : at + 2] == ":" and (end := _class_end(text, at)):
            held.update(_named(text[at + 2 : end - 1]))
            before, at = "", end + 1
        else:
            before, at = _plain(text, at)
            held.add(ord(before))
    kept = (set(range(256)) - held if negated else held) - {ord("/")}
    return _one_of(kept), at + 1


def _needed(text: str, at: int) -> str:
    if at >= len(text):
        raise _MatchesNothing  # the bracket is not closed
    return text[at]


def _plain(text: str, at: int) -> tuple[str, int]:
    """The character at `at`, which a backslash may protect, and where the rest begins."""
    at += 1 if _needed(text, at) == "\\" else 0
    return _needed(text, at), at + 1


def _class_end(text: str, at: int) -> int:
    """Where the `]` of the `[:name:]` at `at` stands; 0 where it is none."""
    end = text.find("]", at + 2)
    if end < 0:
        raise _MatchesNothing
    return end if end > at + 2 and text[end - 1] == ":" else 0


def _named(name: str) -> set[int]:
    if name not in _CLASSES:
        raise _MatchesNothing
    return {byte for byte in range(256) if re.match(_CLASSES[name], chr(byte))}


def _one_of(held: set[int]) -> str:
    """An expression for one of these bytes."""
    if not held:
        return _NEVER
    source, wanted = "", sorted(held)
    while wanted:
        length = next((n for n, byte in enumerate(wanted) if byte != wanted[0] + n), len(wanted))
        first, last = wanted[0], wanted[length - 1]
        source += f"\\x{first:02x}" if first == last else f"\\x{first:02x}-\\x{last:02x}"
        wanted = wanted[length:]
    return f"[{source}]"
