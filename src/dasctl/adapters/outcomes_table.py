"""The table `outcomes` of the history's database: what commands amounted to, on which instances.

Older programs of the same format do not know it and leave it alone, so it is made when it is first needed, and nothing is
asked of it before. What must not live here: when the database is opened, locked, committed (`history.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dasctl.core.telling import Told

if TYPE_CHECKING:
    import sqlite3

TABLE = """CREATE TABLE IF NOT EXISTS outcomes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, revision INTEGER NOT NULL, "when" REAL NOT NULL, who TEXT NOT NULL,
    host TEXT NOT NULL, command TEXT NOT NULL, succeeded INTEGER NOT NULL, failed TEXT NOT NULL, times INTEGER NOT NULL)"""
IS_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'outcomes'"
COLUMNS = 'revision, "when", who, host, command, succeeded, failed, times'
MOST = 2000  # rows that are kept, the last ones

Ask = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]


def read(ask: Ask, revisions: Sequence[int]) -> list[Told]:
    """What was told at these revisions, in order."""
    if not revisions or not ask(IS_THERE, ()):
        return []
    rows = ask(
        f"SELECT {COLUMNS} FROM outcomes WHERE revision BETWEEN ? AND ? ORDER BY number",
        (min(revisions), max(revisions)),
    )
    wanted = set(revisions)
    return [_told(row) for row in rows if row[0] in wanted]


def write(database: sqlite3.Connection, ask: Ask, told: Told) -> None:
    """Keep it; what tells the same as the last one takes its place. Within a transaction of the caller."""
    database.execute(TABLE)
    last = ask(f"SELECT number, {COLUMNS} FROM outcomes ORDER BY number DESC LIMIT 1", ())
    if last and _told(last[0][1:]).same_as(told):
        database.execute(
            'UPDATE outcomes SET "when" = ?, times = times + 1 WHERE number = ?', (told.when, last[0][0])
        )
        return
    database.execute(
        f"""INSERT INTO outcomes ({COLUMNS}) VALUES (?, ?, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?,
            ?, ?)""",
        (
            told.revision, told.when, _bytes(told.who), _bytes(told.host), _bytes(told.command), told.succeeded,
            _packed(told.failed), told.times,
        ),
    )  # fmt: skip
    database.execute("DELETE FROM outcomes WHERE number <= (SELECT max(number) FROM outcomes) - ?", (MOST,))


def _told(row: tuple[Any, ...]) -> Told:
    revision, when, who, host, command, succeeded, failed, times = row
    return Told(
        revision=revision, when=when, who=who, host=host, command=command, succeeded=succeeded,
        failed=_unpacked(failed), times=times,
    )  # fmt: skip


def _packed(failed: Mapping[str, str]) -> str:
    """As JSON, each message once: a network that is gone says the same of a thousand instances."""
    names: dict[str, list[str]] = {}
    for name, message in failed.items():
        names.setdefault(message, []).append(name)
    return json.dumps([[message, whose] for message, whose in names.items()])


def _unpacked(text: str) -> dict[str, str]:
    return {name: message for message, names in json.loads(text) for name in names}


def _bytes(text: str) -> bytes:
    # Text is bound as bytes and cast: it may hold bytes that are not UTF-8.
    return text.encode("utf-8", "surrogateescape")
