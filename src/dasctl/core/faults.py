"""Faults: what is wrong in `domain.yaml`, as values; and the suggestions that go with them.

What lives here: the shape, and the words of a suggestion. What must not: lines and files (the adapter knows those).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong (or, in a list of warnings, odd) at `path` (`("instances", "web1", "node")`)."""

    path: Path
    message: str

    def __str__(self) -> str:
        place = "/".join(self.path)
        return f"{place}: {self.message}" if place else self.message


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`; did you mean 'n1'?` with the choice nearest to `word`, or nothing where none is near."""
    near = nearest(word, choices)
    return f"; did you mean {near!r}?" if near is not None else ""


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that is most like `word`, if one is like it at all."""
    names = [str(choice) for choice in choices]
    by_lower = {name.lower(): name for name in reversed(names)}
    if word.lower() in by_lower:
        return by_lower[word.lower()]
    # Short names ("n9") differ in half of their letters by one slip, hence the low bar for them.
    import difflib  # for whoever has mistyped something

    found = difflib.get_close_matches(word, names, n=3, cutoff=0.5 if len(word) <= 3 else 0.6)
    if not found:
        return None
    best = difflib.SequenceMatcher(None, word, found[0]).ratio()
    equal = [name for name in found if difflib.SequenceMatcher(None, word, name).ratio() == best]
    return min(equal, key=names.index)  # the file's order decides


def no_such(kind: str, word: str, choices: Iterable[str]) -> str:
    """`no node named 'n9'; did you mean 'n1'?`"""
    return f"no {kind} named {word!r}{did_you_mean(word, choices)}"
