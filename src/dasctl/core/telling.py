"""What a command amounted to, for the story that the history tells: on how many instances it succeeded, and where it failed.

What lives here: the value, and when two of them tell the same. What must not: where it is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dasctl.core.exchange import Who
from dasctl.core.outcome import UNCHANGED, Result

LONGEST = 300  # characters of a message: the whole of it is for `list-instances --long`


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One command at the revision that was current when it ended. `when` is in seconds since the epoch.

    `failed` maps instances to the first line of what went wrong there. `times`: how often it came to the same, one after
    the other; `when` is of the last time.
    """

    revision: int
    when: float
    who: str
    host: str
    command: str
    succeeded: int
    failed: Mapping[str, str] = field(default_factory=dict)
    times: int = 1

    def same_as(self, other: Told) -> bool:
        """Whether the two tell the same, but for the time: a command that cron runs each minute is told once."""
        mine, theirs = (
            (told.revision, told.who, told.host, told.command, told.succeeded, dict(told.failed))
            for told in (self, other)
        )
        return mine == theirs


def told(results: Iterable[Result], who: Who, *, revision: int, when: float) -> Told | None:
    """What these results amount to; None where nothing failed and nothing was changed."""
    rows = [row for row in results if row.instance is not None]
    if all(row.good and row.status == UNCHANGED for row in rows):
        return None
    failed = {
        str(row.instance): _first_line(row.error.message if row.error is not None else row.status)
        for row in rows
        if not row.good
    }
    return Told(
        revision=revision, when=when, who=who.user, host=who.host, command=who.command,
        succeeded=sum(row.good for row in rows), failed=failed,
    )  # fmt: skip


def _first_line(message: str) -> str:
    return message.partition("\n")[0][:LONGEST]
