"""Which columns each command shows, and how a value becomes a cell.

What lives here: tables of columns, in their order; the same table gives the rows of `--terse`. Pure: `now` is an
argument. What must not: streams, colours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dasctl.cli import text
from dasctl.core.outcome import Result

ABSENT = "-"
COMMAND_COLUMNS = 44


def as_text(value: Any, now: float) -> str:
    """Anything: lists with commas, yes and no, and a dash for nothing."""
    match value:
        case None | "":
            return ABSENT
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ",".join(text.plain(str(item)) for item in value) or ABSENT
        case _:
            return text.plain(str(value))


def as_size(value: Any, now: float) -> str:
    return text.size(value) if isinstance(value, (int, float)) else as_text(value, now)


def as_age(value: Any, now: float) -> str:
    """How long ago a moment was."""
    moment = _seconds(value)
    return as_text(value, now) if moment is None else text.age(max(0.0, now - moment))


def as_moment(value: Any, now: float) -> str:
    """A moment as local date and time."""
    moment = _seconds(value)
    return (
        as_text(value, now) if moment is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    )


def _seconds(moment: Any) -> float | None:
    """A moment in seconds since the epoch, from such or from ISO 8601 with its zone."""
    if isinstance(moment, (int, float)):
        return float(moment)
    try:
        return datetime.fromisoformat(moment).timestamp()
    except (TypeError, ValueError):
        return None


def as_duration(value: Any, now: float) -> str:
    return text.duration(value) if isinstance(value, (int, float)) else as_text(value, now)


def as_milliseconds(value: Any, now: float) -> str:
    return f"{value:.1f} ms" if isinstance(value, (int, float)) else as_text(value, now)


def as_names(value: Any, now: float) -> str:
    """Names, folded: `web[1-3]`."""
    return text.folded(value) or ABSENT if isinstance(value, list) else as_text(value, now)


def as_command(value: Any, now: float) -> str:
    """What somebody typed, as far as it fits beside the other columns; `--json` has all of it."""
    typed = as_text(value, now)
    return text.cut(typed, COMMAND_COLUMNS)


def as_sentences(value: Any, now: float) -> str:
    """Several things that may hold commas."""
    return (
        "; ".join(text.plain(str(item)) for item in value) if isinstance(value, list) else as_text(value, now)
    )


def as_flag(value: Any, now: float) -> str:
    """`requires restart`, or nothing: what is as it should be needs no ink."""
    return "requires restart" if value is True else ""


def as_path(value: Any, now: float) -> str:
    return ABSENT if value is None else text.path_text(str(value))


def as_backup(value: Any, now: float) -> str:
    """A backup: of those in the domain's own folder the name, which is what `restore-domain` needs."""
    shown = as_path(value, now)
    return shown.rpartition("/")[2] if shown.rpartition("/")[0].endswith("/.dasctl/backups") else shown


def as_modtime(value: Any, now: float) -> str:
    """A modtime in nanoseconds as local date and time; one that no calendar has as the number that it is."""
    if not isinstance(value, int):
        return as_text(value, now)
    try:
        return as_moment(value / 1e9, now)
    except (ValueError, OverflowError, OSError):
        return str(value)


def as_digest(value: Any, now: float) -> str:
    return as_text(value, now)[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. `key` is the key in JSON; a column with `long` is shown with `--long` only (and in `--terse`)."""

    key: str
    title: str | None = None
    form: Callable[[Any, float], str] = as_text
    long: bool = False

    @property
    def heading(self) -> str:
        return self.key.replace("_", " ") if self.title is None else self.title


def _column(
    key: str, form: Callable[[Any, float], str] = as_text, title: str | None = None, long: bool = False
) -> Column:
    return Column(key=key, form=form, title=title, long=long)


INSTANCE = (_column("instance"), _column("node"))

# Commands that show what is there: a table with a heading.
LISTS: dict[str, tuple[Column, ...]] = {
    "list-nodes": (
        _column("node"),
        _column("host"),
        _column("instances", as_names),
        _column("port", long=True),
        _column("user", long=True),
        _column("key", long=True),
        _column("dir", long=True),
        _column("jump", long=True),
        _column("software"),
        _column("current", long=True),
        _column("installed", long=True),
        _column("software_bytes", as_size, title="takes", long=True),
        _column("free_bytes", as_size, title="free", long=True),
    ),
    "ping-node-ssh": (
        _column("node"),
        _column("host"),
        _column("status"),
        _column("python"),
        _column("dir", title="directory"),
        _column("free_bytes", as_size, title="free"),
        _column("clock_difference_s", as_duration, title="clock off by"),
        _column("latency_ms", as_milliseconds, title="latency"),
    ),
    "list-clusters": (
        _column("cluster"),
        _column("state"),
        _column("running"),
        _column("instances", as_names),
        _column("config"),
    ),
    "list-instances": (
        _column("instance"),
        _column("cluster"),
        _column("node"),
        _column("host"),
        _column("state"),
        _column("pid"),
        _column("since", as_age, title="up"),
        _column("revision"),
        _column("requires_restart", as_flag, title=""),
        _column("failed_command", as_command, title="failed last", long=True),
        _column("failed_when", as_age, title="ago", long=True),
        _column("software"),
    ),
    "list-deviations": (
        *INSTANCE,
        _column("kind"),
        _column("size", as_size),
        _column("modtime", as_modtime, title="changed"),
        _column("path", as_path),
    ),
    "list-applications": (
        _column("application"),
        _column("version"),
        _column("active", long=True),
        _column("targets", as_names),
        _column("enabled", as_names, long=True),
        _column("disabled", as_names),
        _column("instances", as_names, long=True),
        _column("when", as_moment, title="deployed", long=True),
        _column("who", long=True),
        _column("host", long=True),
        _column("archive", as_path, long=True),
        _column("bytes", as_size, title="takes", long=True),
        _column("files", long=True),
        _column("sha256", as_digest, long=True),
        _column("from", as_path, long=True),
    ),
    "list-backups": (
        _column("made", as_moment),
        _column("domain"),
        _column("revision"),
        _column("history"),
        _column("size", as_size),
        _column("file", as_backup),
        _column("when", as_moment, title="revision of", long=True),
        _column("who", long=True),
    ),
    "history": (
        _column("revision"),
        _column("when", as_moment),
        _column("who"),
        _column("host"),
        _column("command"),
        _column("summary"),
        _column("failed_on", as_sentences),
        _column("restorable", long=True),
        _column("epoch", long=True),
        _column("config_id", long=True),
        _column("digest", as_digest, long=True),
    ),
}
_READERS = (
    "get",
    "list",
    "verify-domain",
    "explain",
    "member-key",
    "diff-instance",
    "diff",
    "show-revision",
    "dump",
)
READING = frozenset((*LISTS, *_READERS))  # they never change a state
DOTTED = ("get", "set", "list")  # their lines are made to be read by programs, too
# Commands whose outcomes look like no others: the module of this package, and its function.
OWN_SCREENS = {
    "diff-instance": ("comparison_screen", "show_diff"),
    "export-sync-bundle": ("bundle_screen", "show_export"),
    "backup-domain": ("backup_screen", "show_backup"),
    "restore-domain": ("backup_screen", "show_backup"),
    "explain": ("explanation_screen", "show_explained"),
    "dump": ("dump_screen", "show_dump"),
    "run": ("run_screen", "show_run"),
}

_SYNCHRONISATION = (
    *INSTANCE,
    _column("status"),
    _column("revision"),
    _column("files_changed"),
    _column("files_deleted"),
    _column("bytes_sent"),
    _column("round_trips"),
    _column("seconds"),
)
_STARTED = (*INSTANCE, _column("status"), _column("pid"), _column("seconds"))

# Commands that do something: a line per instance or node, and a summary. These are the columns of --terse.
ACTIONS: dict[str, tuple[Column, ...]] = {
    **dict.fromkeys(("sync-instance", "sync-cluster", "sync-domain", "sync-local-instance"), _SYNCHRONISATION),
    **dict.fromkeys(
        (
            "start-instance", "start-cluster", "stop-instance", "stop-cluster", "restart-instance", "restart-cluster",
            "start-local-instance", "stop-local-instance",
        ),
        _STARTED,
    ),
    **dict.fromkeys(
        ("deploy", "redeploy", "undeploy", "enable", "disable", "rollback-application"),
        (*_SYNCHRONISATION, _column("state")),
    ),
    "setup-ssh": (_column("node"), _column("status")),
    "install-node": (
        _column("node"), _column("status"), _column("version"), _column("current"), _column("files_changed"),
        _column("copied"), _column("bytes_sent"), _column("seconds"),
    ),
    "upgrade-node": (
        _column("node"), _column("status"), _column("version"), _column("before"), _column("restarted"), _column("seconds"),
    ),
    "uninstall-node": (_column("node"), _column("status"), _column("version"), _column("files"), _column("bytes")),
    "explain": (
        *(_column(key) for key in ("path", "instance", "status", "goes_as", "layer", "pattern", "place", "size")),
        *(_column(key) for key in ("modtime", "sha256")),
    ),
    "diff": (_column("kind"), _column("path")),
    "show-revision": tuple(
        _column(key) for key in ("revision", "when", "who", "host", "command", "summary", "failed_on", "digest")
    ),
    "rollback": _SYNCHRONISATION,
    "diff-instance": (*INSTANCE, _column("kind"), _column("path")),
    "export-sync-bundle": (
        _column("file"), _column("size"), _column("sha256"), _column("since"), _column("contents"), _column("bytes"),
    ),
    "backup-domain": tuple(_column(key) for key in ("file", "revision", "when", "size", "history", "files", "removed")),
    "restore-domain": tuple(
        _column(key)
        for key in ("status", "domain_dir", "file", "revision", "as_revision", "epoch", "before", "reached", "away")
    ),
    "import-sync-bundle": (
        *INSTANCE, _column("status"), _column("revision"), _column("files_changed"), _column("files_deleted"),
        _column("bytes_read"),
    ),
    "take-over": (*INSTANCE, _column("status"), _column("revision")),
    "tail-log": (),
    "dump": (*INSTANCE, *(_column(key) for key in ("status", "state", "warnings"))),
    "collect-log-files": (*INSTANCE, *(_column(key) for key in ("status", "files", "bytes"))),
    "run": (*INSTANCE, *(_column(key) for key in ("status", "code", "seconds", "more", "out", "err"))),
}  # fmt: skip

PLAIN = (*INSTANCE, _column("status"))
DRY_RUN = ("instance", "why", "path", "bytes", "from")


def terse_columns(command: str) -> tuple[Column, ...]:
    """The columns of `--terse`, always all of them; a message follows as the last one."""
    return LISTS.get(command) or ACTIONS.get(command) or PLAIN


def shown_columns(command: str, results: tuple[Result, ...], *, long: bool) -> tuple[Column, ...]:
    """The columns of a list that have anything to say."""
    given = {
        key for result in results for key, value in _values(result) if value not in (None, "", [], False)
    }
    return tuple(
        column
        for i, column in enumerate(LISTS[command])
        if i == 0 or (column.key in given and (long or not column.long))
    )


def value_of(result: Result, key: str) -> Any:
    return dict(_values(result)).get(key)


def _values(result: Result) -> list[tuple[str, Any]]:
    return [
        ("instance", result.instance),
        ("node", result.node),
        ("status", result.status),
        *result.fields.items(),
    ]


def name_of(result: Result) -> str:
    """Who a row is about: the instance, or the node, the cluster, the domain."""
    fields = result.fields
    return text.plain(
        result.instance or result.node or str(fields.get("cluster") or fields.get("domain") or "")
    )


def what_of(result: Result) -> str:
    """What was done, in a few words: `2 files, 1 deleted, 1.2 KiB`; `pid 4711`; `already running`."""
    fields = result.fields
    words = []
    if fields.get("files_changed"):
        words.append(text.count(fields["files_changed"], "file"))
    if fields.get("files_deleted"):
        words.append(f"{fields['files_deleted']:,} deleted")
    if fields.get("files_changed") and isinstance(fields.get("bytes_sent"), int):
        words.append(text.size(fields["bytes_sent"]))
    if fields.get("pid"):
        words.append(f"pid {fields['pid']}")
    if fields.get("how"):
        words.append(text.plain(str(fields["how"])))
    if result.note:
        words.append(text.plain(result.note))
    return ", ".join(words)
