"""The history of revisions in SQLite: `.dasctl/history.db`.

What lives here: the tables, and what is kept how long. What must not: what a revision means (`core/stamps.py`).

A rollback journal and `synchronous=FULL`: after kill -9 or a power cut the last commit is there whole or not at all, and,
other than a write-ahead log, it needs no memory shared between processes, which a network file system does not give.
Nothing is made before something is written: read-only commands work in a folder that cannot be written to.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dasctl.adapters import failures_table
from dasctl.core.failures import Failure, News
from dasctl.core.stamps import Acknowledged, Revision, Standing
from dasctl.errors import FormatTooNew, HistoryError
from dasctl.remote.manifest import digest_of

if TYPE_CHECKING:
    import sqlite3

    from dasctl.core.telling import Told

FORMAT = 1  # user_version of the database; docs/history-format.md
KEPT_REVISIONS = 20
BUSY_S = 15.0  # how long another command may hold the database; it does so for milliseconds
MAX_NUMBER = 2**63 - 1  # of SQLite
REMEMBERED = 16 << 20  # bytes of parts that were read
LEVEL = 1  # digests do not compress, the rest does at any level

SCHEMA = (
    """CREATE TABLE settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL)""",
    """CREATE TABLE revisions (
        number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, config_id INTEGER NOT NULL, who TEXT NOT NULL,
        host TEXT NOT NULL, "when" REAL NOT NULL, command TEXT NOT NULL, summary TEXT NOT NULL,
        state TEXT NOT NULL, digest TEXT NOT NULL)""",
    """CREATE TABLE parts (digest TEXT PRIMARY KEY, data BLOB NOT NULL)""",
    """CREATE TABLE revision_parts (
        number INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (number, digest)) WITHOUT ROWID""",
    """CREATE TABLE acknowledged (
        instance TEXT PRIMARY KEY, revision INTEGER NOT NULL, digest TEXT NOT NULL, "when" REAL NOT NULL,
        node TEXT NOT NULL)""",
    """CREATE TABLE acknowledged_parts (
        instance TEXT NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL,
        PRIMARY KEY (instance, place)) WITHOUT ROWID""",
)

COLUMNS = 'number, epoch, config_id, who, host, "when", command, summary, state, digest'

# Text is bound as bytes and cast: names and commands may hold bytes that are not UTF-8.
INSERT_REVISION = f"""INSERT INTO revisions ({COLUMNS}) VALUES (?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?,
    CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?)"""

FORGET_OLD = """DELETE FROM revision_parts WHERE number <
    (SELECT min(number) FROM (SELECT number FROM revisions ORDER BY number DESC LIMIT ?))"""
FORGET_UNUSED = """DELETE FROM parts WHERE digest NOT IN
    (SELECT digest FROM revision_parts UNION ALL SELECT digest FROM acknowledged_parts)"""

DAMAGED = (
    "the nodes know where they stand: move .dasctl/history.db away, then run `dasctl take-over`, "
    "which asks them and goes on from there"
)


class SqliteHistory:
    """The history in `root/.dasctl/history.db`. Opened when first needed; may be used from several threads.

    `kept`: of how many of the last revisions the parts are kept; those that instances confirmed are kept besides.
    """

    def __init__(self, root: Path | str, *, kept: int = KEPT_REVISIONS) -> None:
        self._path = Path(root).absolute() / ".dasctl" / "history.db"
        self._kept = max(kept, 1)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._read: dict[str, bytes] = {}  # parts that were asked for last: they are asked for again

    def close(self) -> None:
        """Close the database; the next call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def epoch(self) -> int:
        """See `ports.History`."""
        with self._reading() as rows:
            return _setting(rows, "epoch", 1)

    def raise_epoch(self, epoch: int) -> None:
        """See `ports.History`."""
        from dasctl.core.chain import check_epoch

        with self._writing() as database:
            check_epoch(_setting(_Rows(database), "epoch", 1), epoch)
            _set(database, "epoch", epoch)

    def head(self) -> Revision | None:
        """See `ports.History`."""
        return next(iter(self.revisions(limit=1)), None)

    def find(self, standing: Standing) -> Revision | None:
        """See `ports.History`. Nodes name standings: whatever they say is an answer of no, not a fault."""
        if not 0 < standing.revision <= MAX_NUMBER or not standing.digest.isascii():
            return None
        with self._reading() as rows:
            found = rows(
                f"SELECT {COLUMNS} FROM revisions WHERE number = ? AND digest = ?",
                (standing.revision, standing.digest),
            )
            return _revision(found[0]) if found else None

    def revisions(self, *, limit: int | None = None) -> list[Revision]:
        """See `ports.History`."""
        query = f"SELECT {COLUMNS} FROM revisions ORDER BY number DESC LIMIT ?"
        with self._reading() as rows:
            return [_revision(row) for row in rows(query, (-1 if limit is None else limit,))]

    def record(self, revision: Revision, parts: Mapping[str, bytes], *, keep: int | None = None) -> Revision:
        """See `ports.History`."""
        with self._writing() as database:
            sealed = _following(_Rows(database), revision)
            database.execute(INSERT_REVISION, _row(sealed))
            _keep(database, parts)
            database.executemany(
                "INSERT INTO revision_parts VALUES (?, ?)", [(sealed.number, digest) for digest in parts]
            )
            database.execute(FORGET_OLD, (self._kept if keep is None else max(keep, 1),))
            database.execute(FORGET_UNUSED)
        return sealed

    def foreseen(self, revision: Revision) -> Revision:
        """See `ports.History`."""
        with self._reading() as rows:
            return _following(rows, revision)

    def acknowledged(self, instances: Iterable[str]) -> dict[str, Acknowledged]:
        """See `ports.History`."""
        wanted = set(instances)
        with self._reading() as rows:
            standings = rows('SELECT instance, revision, digest, "when", node FROM acknowledged', ())
            listing = rows(
                "SELECT instance, name, digest FROM acknowledged_parts ORDER BY instance, place", ()
            )
        parts: dict[str, list[tuple[str, str]]] = {}
        for instance, name, digest in listing:
            parts.setdefault(instance, []).append((name, digest))
        return {
            instance: Acknowledged(
                standing=Standing(revision=revision, digest=digest),
                parts=tuple(parts.get(instance, ())),
                when=when,
                node=node,
            )
            for instance, revision, digest, when, node in standings
            if instance in wanted
        }

    def acknowledge(self, confirmed: Mapping[str, Acknowledged], parts: Mapping[str, bytes]) -> None:
        """See `ports.History`."""
        if not confirmed:
            return
        with self._writing() as database:
            for instance in confirmed:
                _forget(database, instance)
            database.executemany(
                "INSERT INTO acknowledged VALUES (?, ?, ?, ?, ?)",
                [
                    (name, ack.standing.revision, ack.standing.digest, ack.when, ack.node)
                    for name, ack in confirmed.items()
                ],
            )
            listing = [
                (instance, place, name, digest)
                for instance, ack in confirmed.items()
                for place, (name, digest) in enumerate(ack.parts)
            ]
            database.executemany("INSERT INTO acknowledged_parts VALUES (?, ?, ?, ?)", listing)
            needed = {digest for _, _, _, digest in listing}
            _keep(database, {digest: data for digest, data in parts.items() if digest in needed})
            database.execute(FORGET_UNUSED)

    def forget(self, instance: str) -> None:
        """See `ports.History`."""
        with self._writing() as database:
            _forget(database, instance)
            failures_table.forget(database, instance)
            database.execute(FORGET_UNUSED)

    def failures(self) -> dict[str, Failure]:
        """See `ports.History`."""
        with self._reading() as rows:
            return failures_table.read(rows)

    def remember(self, news: News) -> None:
        """See `ports.History`."""
        with self._writing() as database:
            failures_table.write(database, news)

    def tell(self, told: Told) -> None:
        """See `ports.History`."""
        from dasctl.adapters import outcomes_table  # commands that change nothing tell nothing

        with self._writing() as database:
            outcomes_table.write(database, _Rows(database), told)

    def told(self, revisions: Sequence[int]) -> list[Told]:
        """See `ports.History`."""
        from dasctl.adapters import outcomes_table

        with self._reading() as rows:
            return outcomes_table.read(rows, revisions)

    def part(self, digest: str) -> bytes | None:
        """See `ports.History`. A part whose bytes were damaged counts as not kept."""
        with self._reading() as rows:
            known = self._read.get(digest)
            if known is not None and rows("SELECT 1 FROM parts WHERE digest = ?", (digest,)):
                return known
            found = rows("SELECT data FROM parts WHERE digest = ?", (digest,))
        data = _decompressed(found[0][0]) if found else None
        if data is None or digest_of(data) != digest:
            return None
        self._remember(digest, data)
        return data

    def _remember(self, digest: str, data: bytes) -> None:
        with self._lock:
            self._read[digest] = data
            while len(self._read) > 1 and sum(map(len, self._read.values())) > REMEMBERED:
                del self._read[next(iter(self._read))]

    def parts_of(self, number: int) -> dict[str, bytes] | None:
        """See `ports.History`. Parts that were damaged count as not kept."""
        with self._reading() as rows:
            digests = [
                row[0] for row in rows("SELECT digest FROM revision_parts WHERE number = ?", (number,))
            ]
        found = {digest: data for digest in digests if (data := self.part(digest)) is not None}
        return found if digests and len(found) == len(digests) else None

    def parts(self, number: int | None = None) -> list[str]:
        """See `ports.History`."""
        with self._reading() as rows:
            if number is None:
                found = rows("SELECT digest FROM parts", ())
            else:
                found = rows("SELECT digest FROM revision_parts WHERE number = ?", (number,))
            return [digest for (digest,) in found]

    def restart_at(self, number: int) -> None:
        """See `ports.History`."""
        from dasctl.core.chain import check_restart

        with self._writing() as database:
            last = _Rows(database)("SELECT max(number) FROM revisions", ())[0][0]
            check_restart(last or 0, number)
            _set(database, "next", number)

    def restored(self, epoch: int) -> None:
        """See `ports.History`."""
        with self._writing() as database:
            _set(database, "restored", epoch)

    def outranks(self, epoch: int) -> bool:
        """See `ports.History`."""
        with self._reading() as rows:
            return epoch < _setting(rows, "restored", 0)

    def copy_to(self, path: Path) -> None:
        """Copy the whole database into the new file `path` while others write; SQLite sees to it that it is of one moment.

        Raises HistoryError where there is none.
        """
        with self._lock, self._translated():
            database = self._opened(create=False)
            if database is None:
                raise HistoryError(
                    f"there is no history yet: {self._path}", hint="record one: dasctl sync-domain"
                )
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            copy = type(database)(os.fsencode(path))
            try:
                database.backup(copy)
            finally:
                copy.close()

    def verify(self) -> int:
        """See `ports.History`."""
        from dasctl.core.chain import check_chain

        with self._translated():
            with self._reading() as rows:
                faults = [row[0] for row in rows("PRAGMA quick_check", ())]
            if faults not in ([], ["ok"]):
                raise HistoryError(f"{self._path} is damaged: {faults[0]}", hint=DAMAGED)
        return check_chain(reversed(self.revisions()), hint=DAMAGED)

    @contextmanager
    def _reading(self) -> Iterator[_Rows]:
        """The database for questions; where there is none yet, every question has no answer."""
        with self._lock, self._translated():
            yield _Rows(self._opened(create=False))

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The database in a transaction that is committed at the end, or undone."""
        with self._lock, self._translated():
            database = self._opened(create=True)
            assert database is not None  # made, if it was not there
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    def _opened(self, *, create: bool) -> sqlite3.Connection | None:
        if self._connection is None:
            if not create and not self._path.exists():
                return None
            self._connection = self._connected()
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            self.close()
            raise FormatTooNew(
                f"{self._path} has format {version}, and this dasctl knows format {FORMAT}",
                hint="use the dasctl that wrote it, or a newer one",
            )
        if version == 0:
            if not create:
                return None  # made by a command that was killed before it wrote anything
            _make_tables(self._connection)
        return self._connection

    def _connected(self) -> sqlite3.Connection:
        import sqlite3  # some commands never ask the history

        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = sqlite3.connect(
            os.fsencode(self._path),
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=32,
        )
        database.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        database.execute("PRAGMA synchronous = FULL")
        return database

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HistoryError(f"{self._path} cannot be used: {error.strerror or error}") from error
        except Exception as error:
            # Compared by name: only who has opened the database knows sqlite3.
            if type(error).__module__ != "sqlite3":
                raise
            raise HistoryError(f"{self._path} cannot be used: {error}", hint=_hint(str(error))) from error


class _Rows:
    """Ask a question, get all rows; none where there is no database."""

    def __init__(self, database: sqlite3.Connection | None) -> None:
        self._database = database

    def __call__(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return [] if self._database is None else self._database.execute(query, values).fetchall()


def _make_tables(database: sqlite3.Connection) -> None:
    """All or nothing; another command may have been faster."""
    database.execute("BEGIN IMMEDIATE")
    try:
        if database.execute("PRAGMA user_version").fetchone()[0] == 0:
            for table in SCHEMA:
                database.execute(table)
            database.execute(f"PRAGMA user_version = {FORMAT}")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _following(rows: _Rows, revision: Revision) -> Revision:
    """`revision` with the next number, sealed onto the chain."""
    last = rows("SELECT number, digest FROM revisions ORDER BY number DESC LIMIT 1", ())
    number, previous = last[0] if last else (0, "")
    following = max(number + 1, _setting(rows, "next", 1))
    # A float as the database gives it back: the digest is made of its text.
    return replace(revision, number=following, when=float(revision.when)).sealed(previous)


def _setting(rows: _Rows, name: str, default: int) -> int:
    found = rows("SELECT value FROM settings WHERE name = ?", (name,))
    return int(found[0][0]) if found else default


def _set(database: sqlite3.Connection, name: str, value: int) -> None:
    database.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))


def _keep(database: sqlite3.Connection, parts: Mapping[str, bytes]) -> None:
    """Add the parts that are not there: compressing is what costs."""
    for digest, data in parts.items():
        if not database.execute("SELECT 1 FROM parts WHERE digest = ?", (digest,)).fetchall():
            database.execute("INSERT INTO parts VALUES (?, ?)", (digest, _quick_zlib().compress(data, LEVEL)))


def _decompressed(data: bytes) -> bytes | None:
    """What the zlib stream holds; None where it is damaged."""
    unpacker = _quick_zlib()
    try:
        found: bytes = unpacker.decompress(data)
    except (unpacker.error, ValueError):
        return None
    return found


def _quick_zlib() -> Any:
    """ISA-L where it is there: it makes a smaller stream in a quarter of the time, and reads it in two thirds."""
    try:
        from isal import isal_zlib
    except ImportError:  # no wheel for this machine
        return zlib
    return isal_zlib


def _forget(database: sqlite3.Connection, instance: str) -> None:
    database.execute("DELETE FROM acknowledged WHERE instance = ?", (instance,))
    database.execute("DELETE FROM acknowledged_parts WHERE instance = ?", (instance,))


def _row(revision: Revision) -> tuple[Any, ...]:
    texts = [
        text.encode("utf-8", "surrogateescape")
        for text in (revision.who, revision.host, revision.command, revision.summary, revision.state)
    ]
    who, host, command, summary, state = texts
    return (
        revision.number, revision.epoch, revision.config_id, who, host, revision.when, command, summary, state,
        revision.digest,
    )  # fmt: skip


def _revision(row: tuple[Any, ...]) -> Revision:
    number, epoch, config_id, who, host, when, command, summary, state, digest = row
    return Revision(
        number=number, epoch=epoch, config_id=config_id, who=who, host=host, when=when, command=command,
        summary=summary, state=state, digest=digest,
    )  # fmt: skip


def _hint(message: str) -> str:
    """What to do about a message of SQLite."""
    if "full" in message:
        return "make room on the disk that holds the domain's folder"
    if "locked" in message:
        return "another command holds it; try again"
    if "readonly" in message or "unable to open" in message:
        return "make the folder .dasctl of the domain and what is in it writable"
    return DAMAGED
