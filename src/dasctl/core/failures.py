"""Failures are a list: which instances the last command failed at, so that the next one can be about those alone.

What lives here: what is remembered, and what a command's results change of it. What must not: where it is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dasctl.core.outcome import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last command failed at an instance; `when` is in seconds since the epoch."""

    when: float
    command: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a command changes of what is remembered."""

    failed: Mapping[str, Failure]
    mended: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.failed or self.mended)


def news(results: Iterable[Result], known: Iterable[str], *, command: str, when: float) -> News:
    """What these results say of their instances; `known` are those that failed before."""
    rows = [row for row in results if row.instance is not None]
    failed = {
        str(row.instance): Failure(
            when=when, command=command, message=row.error.message if row.error is not None else row.status
        )
        for row in rows
        if not row.good
    }
    good = {str(row.instance) for row in rows if row.good}
    return News(failed=failed, mended=frozenset(good & set(known)))
