"""Gitignore patterns over paths of any bytes: a matcher for the DAS, and regular expressions for the helper.

What lives here: what a list of patterns says about a path. What must not: walking. As in git, a folder that is ignored
hides what is in it, so `!` brings nothing back from below it.

`pathspec` translates single patterns; it is imported only when there is one that needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

# `NAME/**` needs no translator, and is all that a domain says by default.
_PLAIN = re.compile(r"[A-Za-z0-9_.*~-]+(?:/[A-Za-z0-9_.*~-]+)*/?\Z")  # surely a pattern
_BELOW = re.compile(r"/?((?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)+)\*\*\Z")


class Ignore:
    """What a list of gitignore patterns matches; the last match wins. ValueError where one is not a pattern."""

    __slots__ = ("_by_level", "_regex", "patterns")

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        rules = _rules(self.patterns)
        # With `!` in the list each folder on the way is judged by itself; without, one look at the whole path does.
        self._by_level = not all(include for _, include in rules)
        if self._by_level:
            rules = [(_exact(source), include) for source, include in rules]
        source = _combined(rules)
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


def regexes(patterns: Sequence[str]) -> tuple[str, ...]:
    """Regular expressions for `re.search` on a path decoded as Latin-1; a path is matched if one of them finds it.

    Each pattern becomes one; a list with `!` becomes a single one, since its order matters: the last match wins, and
    what a pattern says of a folder holds for all below it. ValueError as in `Ignore`.
    """
    rules = _rules(patterns)
    if all(include for _, include in rules):
        return tuple(f"(?s){source}" for source, _ in rules)
    combined = _combined(rules)
    return (combined,) if combined else ()


def fault_of(pattern: str) -> str | None:
    """Why `pattern` is not a gitignore pattern, or None if it is one."""
    if _PLAIN.match(pattern):
        return None
    try:
        rules = _rules([pattern])
    except ValueError as error:
        return str(error)
    if not rules and pattern.strip() and not pattern.startswith("#"):
        return f"the pattern {pattern!r} can match nothing"
    return None


def _combined(rules: Sequence[tuple[str, bool]]) -> str:
    """One expression for all rules, tried at the path's first byte; empty where nothing can match."""
    if not any(include for _, include in rules):
        return ""
    if all(include for _, include in rules):
        return "(?s)" + "|".join(f"(?:{source})" for source, _ in rules)
    whole = "(?!)"
    for source, include in rules:
        whole = f"(?:(?={source})|{whole})" if include else f"(?:(?!{source}){whole})"
    return rf"(?s)\A{whole}"


def _folders_above(path: bytes) -> Iterator[bytes]:
    """The folders that `path` lies in, each with its slash."""
    end = path.find(b"/")
    while end >= 0:
        yield path[: end + 1]
        end = path.find(b"/", end + 1)


def _exact(source: str) -> str:
    """The expression of a pattern for the very path that it names, without what lies below that."""
    for ending, exact in (
        (r"(?:/|\Z)", r"/?\Z"),
        (r"(?:/.*)?\Z", r"/?\Z"),
        (r"/.*\Z", r"/\Z"),
        ("/", r"/\Z"),
    ):
        if source.endswith(ending):
            return source.removesuffix(ending) + exact
    return source


def _rules(patterns: Sequence[str]) -> list[tuple[str, bool]]:
    """(regular expression for Latin-1, whether it includes) of each pattern that says something."""
    return [rule for pattern in patterns if (rule := _rule(pattern)) is not None]


def _rule(pattern: str) -> tuple[str, bool] | None:
    if (below := _BELOW.match(pattern)) is not None:
        return f"^{re.escape(below[1])}.", True
    source, include = _translated(pattern)
    if source is None or include is None:
        return None
    text = source.decode("latin-1").replace("(?P<ps_d>/)", "/")
    if not text.startswith("^"):
        text = f"^.*{text}"  # pathspec's short forms of `*` and `*/`
    # `$` would also match before a newline at the end of a name; and `x/**` is what is below x, not x itself.
    if pattern.rstrip().endswith("/**"):
        text = text.removesuffix(".*$") + "."
    elif text.endswith("|$)"):
        text = text.removesuffix("|$)") + r"|\Z)"
    elif text.endswith("$"):
        text = text.removesuffix("$") + r"\Z"
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a gitignore pattern: {error}") from None
    return text, include


def _translated(pattern: str) -> tuple[bytes | None, bool | None]:
    try:
        from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern as Translator
    except ImportError:  # before 1.0
        from pathspec.patterns.gitwildmatch import (  # type: ignore[assignment, unused-ignore]
            GitWildMatchPattern as Translator,
        )
    if "\0" in pattern or "\n" in pattern:
        raise ValueError(f"{pattern!r} is not a gitignore pattern: it has more than one line")
    try:
        source, include = Translator.pattern_to_regex(pattern.encode("utf-8", "surrogateescape"))
    except ValueError:
        raise ValueError(f"{pattern!r} is not a gitignore pattern") from None
    return source, include
