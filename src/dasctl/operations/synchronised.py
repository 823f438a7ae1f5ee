"""What is told of one instance after a synchronisation: its result, with the columns of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dasctl.core import sending
from dasctl.core.outcome import Problem, Result, status_of_error
from dasctl.core.sending import Plan
from dasctl.core.slices import Slice
from dasctl.errors import DasctlError, NotChanged
from dasctl.operations.conversation import Course
from dasctl.operations.ports import Link
from dasctl.remote import words
from dasctl.remote.paths import from_printable

if TYPE_CHECKING:
    from dasctl.operations.commanding import Answer
    from dasctl.operations.synchronising import Synchronisation

NOT_CHANGED = "not changed"  # the status of an instance that could, where another could not


def result_of(
    run: Synchronisation,
    node: str,
    link: Link,
    name: str,
    course: Course,
    reload: Answer | None,
    seconds: float,
) -> Result:
    """The result of one instance."""
    error = course.error if reload is None or course.error else reload.error
    more: Mapping[str, Any] = course.verdict.more if course.verdict is not None else {}
    row = fields(_revision(run, course, error), more, course.sent, link.round_trips, seconds)
    if run.options.dry_run and error is None:
        row |= _would_travel(course.want.slice, more.get("changes") or (), course.plan)
    return Result(
        status=_status(more, error), instance=name, node=node, fields=row,
        error=Problem.of(error) if error else None,
        note="reloaded" if reload is not None and reload.done else "",
    )  # fmt: skip


def _revision(run: Synchronisation, course: Course, error: DasctlError | None) -> int | None:
    if error is None and not (run.options.dry_run or run.options.partial):
        return run.now.revision.number  # it was brought here
    at = course.verdict.at if course.verdict is not None else None
    return at.standing.revision if at is not None else None  # where it stood, and stands still


def _status(more: Mapping[str, Any], error: DasctlError | None) -> str:
    match error:
        case None:
            return "unchanged" if more.get("verdict") == words.UNCHANGED else "synchronised"
        case NotChanged():
            return NOT_CHANGED
        case _:
            return status_of_error(error)


def _would_travel(wanted: Slice, changes: Sequence[Mapping[str, Any]], plan: Plan) -> dict[str, Any]:
    """Columns of a dry run: the bytes of all contents that would travel, and those of each change.

    A content that several paths have travels once: with the first of them.
    """
    travels = {item.digest.encode(): item.travels for item in plan}
    digests = _digests(wanted, {from_printable(str(change["path"])) for change in changes}) if travels else {}
    rows = [
        {**change, "bytes": travels.pop(digests.get(from_printable(str(change["path"])), b""), 0)}
        for change in changes
    ]
    row: dict[str, Any] = {"bytes_to_send": sending.total(plan)}
    return {**row, "changes": rows} if rows else row


def _digests(wanted: Slice, paths: set[bytes]) -> dict[bytes, bytes]:
    """The SHA-256 of the files at `paths`."""
    found: dict[bytes, bytes] = {}
    for part in wanted.parts:
        for line in part.data.split(b"\0"):
            if line[:1] == b"f":
                _, _, _, _, digest, path = line.split(b" ", 5)
                if path in paths:
                    found[path] = digest
    return found


def fields(
    revision: int | None, more: Mapping[str, Any], sent: int, round_trips: int, seconds: float
) -> dict[str, Any]:
    """The columns of a synchronisation's result, from what the helper said (`more`)."""
    row: dict[str, Any] = {
        "revision": revision,
        "files_changed": int(more.get("changed") or 0) + int(more.get("touched") or 0),
        "files_deleted": int(more.get("deleted") or 0),
        "bytes_sent": sent,
        "deviations": list(more.get("deviations") or ()),
        "round_trips": round_trips,
        "seconds": round(seconds, 3),
    }
    for key in ("changes", "problems", "more"):
        if more.get(key):
            row[key] = more[key]
    return row


def failed_fields(result: Result) -> Result:
    """The same result with the columns of a synchronisation, for a node that never came so far."""
    if result.fields:
        return result
    return replace(result, fields=fields(None, {}, 0, 0, 0.0))
