"""The table `failures` of the history's database: instances at which the last command failed.

Older programs of the same format do not know it and leave it alone, so it is made when it is first needed, and nothing is
asked of it before. What must not live here: when the database is opened, locked, committed (`history.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dasctl.core.failures import Failure, News

if TYPE_CHECKING:
    import sqlite3

TABLE = """CREATE TABLE IF NOT EXISTS failures (
    instance TEXT PRIMARY KEY, "when" REAL NOT NULL, command TEXT NOT NULL, message TEXT NOT NULL) WITHOUT ROWID"""
IS_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'failures'"
LONGEST = 4000  # characters of a message: a server's last words may be long

Ask = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]


def read(ask: Ask) -> dict[str, Failure]:
    """All failures, by instance."""
    if not ask(IS_THERE, ()):
        return {}
    return {
        instance: Failure(when=when, command=command, message=message)
        for instance, when, command, message in ask('SELECT instance, "when", command, message FROM failures', ())
    }  # fmt: skip


def write(database: sqlite3.Connection, news: News) -> None:
    """Keep what failed, drop what was mended; within a transaction of the caller."""
    database.execute(TABLE)
    database.executemany(
        "INSERT OR REPLACE INTO failures VALUES (?, ?, CAST(? AS TEXT), CAST(? AS TEXT))",
        [
            (name, failure.when, _bytes(failure.command), _bytes(failure.message[:LONGEST]))
            for name, failure in news.failed.items()
        ],
    )
    database.executemany("DELETE FROM failures WHERE instance = ?", [(name,) for name in news.mended])


def forget(database: sqlite3.Connection, instance: str) -> None:
    """Drop what is remembered of an instance that is no more."""
    if database.execute(IS_THERE).fetchall():
        database.execute("DELETE FROM failures WHERE instance = ?", (instance,))


def _bytes(text: str) -> bytes:
    # Text is bound as bytes and cast: it may hold bytes that are not UTF-8.
    return text.encode("utf-8", "surrogateescape")
