"""Gitignore patterns over paths of any bytes: a matcher for the DAS, and regular expressions for the helper.

What lives here: what a list of patterns says about a path. What must not: walking. As in git, a folder that is ignored
hides what is in it, so `!` brings nothing back from below it (`gitignore.py`: what one pattern means).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from dasctl.core.gitignore import NoPattern, Pattern, can_match, pattern_of


class Ignore:
    """What a list of gitignore patterns matches; the last match wins. ValueError where one is not a pattern."""

    __slots__ = ("_by_level", "_regex", "patterns")

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        rules = _rules(self.patterns)
        # With `!` in the list each folder on the way is judged by itself; without, one look at the whole path does.
        self._by_level = any(rule.negated for rule in rules)
        source = _combined([(r.exact if self._by_level else r.reaching, not r.negated) for r in rules])
        self._regex = re.compile(source.encode("latin-1")) if source else None

    def matches(self, path: bytes, is_folder: bool) -> bool:
        """Whether `path` (relative, no slash at its end), or a folder that it lies in, is matched."""
        if self._regex is None:
            return False
        if self._by_level and any(self._regex.match(folder) for folder in _folders_above(path)):
            return True
        return self._regex.match(path + b"/" if is_folder else path) is not None

    def __repr__(self) -> str:
        return f"Ignore({', '.join(self.patterns)})"


def deciding(patterns: Sequence[str], path: bytes, is_folder: bool) -> tuple[int, bytes] | None:
    """Which of `patterns` leaves `path` out: its number, and what it matches, the path or a folder above it.

    None: none of them does. The same answer as `Ignore.matches`, with the reason.
    """
    rules = [
        (number, re.compile(f"(?s){found.exact}".encode("latin-1")), found.negated)
        for number, pattern in enumerate(patterns)
        if (found := pattern_of(pattern)) is not None
    ]
    for level in (*_folders_above(path), path + b"/" if is_folder else path):
        last = next((rule for rule in reversed(rules) if rule[1].match(level)), None)
        if last is not None and not last[2]:
            return last[0], level.rstrip(b"/")
    return None


def regexes(patterns: Sequence[str]) -> tuple[str, ...]:
    """Regular expressions for `re.search` on a path decoded as Latin-1; a path is matched if one of them finds it.

    Each pattern becomes one; a list with `!` becomes a single one, since its order matters: the last match wins, and
    what a pattern says of a folder holds for all below it. ValueError as in `Ignore`.
    """
    rules = _rules(patterns)
    if not any(rule.negated for rule in rules):
        return tuple(f"(?s){rule.reaching}" for rule in rules)
    combined = _combined([(rule.reaching, not rule.negated) for rule in rules])
    return (combined,) if combined else ()


def fault_of(pattern: str) -> str | None:
    """Why `pattern` is not a gitignore pattern, or None if it is one."""
    try:
        found = pattern_of(pattern)
    except NoPattern as error:
        return str(error)
    if found is not None and not can_match(found):
        return f"the pattern {pattern!r} can match nothing"
    return None


def _combined(rules: Sequence[tuple[str, bool]]) -> str:
    """One expression for all rules, tried at the path's first byte; empty where nothing can match."""
    if not any(include for _, include in rules):
        return ""
    if all(include for _, include in rules):
        return "(?s)" + "|".join(f"(?:{source})" for source, _ in rules)
    whole = "(?!)"
    # Nested once for each change between patterns with and without `!`: deep nesting is more than `re` can take.
    for include, run in groupby(rules, key=lambda rule: rule[1]):
        sources = "|".join(f"(?:{source})" for source, _ in run)
        whole = f"(?:(?={sources})|{whole})" if include else f"(?:(?!{sources}){whole})"
    return rf"(?s)\A{whole}"


def _folders_above(path: bytes) -> Iterator[bytes]:
    """The folders that `path` lies in, each with its slash."""
    end = path.find(b"/")
    while end >= 0:
        yield path[: end + 1]
        end = path.find(b"/", end + 1)


def _rules(patterns: Sequence[str]) -> list[Pattern]:
    """The patterns that say something."""
    return [found for pattern in patterns if (found := pattern_of(pattern)) is not None]
