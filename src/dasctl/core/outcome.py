"""What a command did: one outcome, with one result per instance or node. Values only; `cli` shows them.

What lives here: the shapes of results, how they add up to a status and an exit code, how they look as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from dasctl.errors import DasctlError, ExitCode, GuardRefused, NodeUnreachable

# Statuses of a command.
OK = "ok"
UNCHANGED = "unchanged"
PARTIAL = "partial"
FAILED = "failed"
REFUSED = "refused"
DIFFERENT = "different"  # of a command that compares: all was looked at, and something differs

# The status of a result whose node gave no answer; and of one that was not begun, because too much had failed.
UNREACHABLE = "unreachable"
SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What went wrong, as data: a message that names the thing, what to do now, and the exit code it stands for."""

    message: str
    hint: str = ""
    exit_code: ExitCode = ExitCode.FAILED

    @classmethod
    def of(cls, error: DasctlError) -> Problem:
        return cls(message=error.message, hint=error.hint, exit_code=error.exit_code)

    def as_json(self) -> dict[str, Any]:
        return {"message": self.message, "hint": self.hint}


def status_of_error(error: DasctlError) -> str:
    """The status of a result whose work ended with `error`."""
    match error:
        case GuardRefused():
            return REFUSED
        case NodeUnreachable():
            return UNREACHABLE
        case _:
            return FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row. `instance` or `node` (or both) say whose; `fields` are the command's own columns, in their order.

    JSON shows `instance`, `node`, `status`, then `fields`, then `error` where there is one. A None key is left out of a
    row that has no such subject.
    """

    status: str
    instance: str | None = None
    node: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    error: Problem | None = None
    note: str = ""  # a sentence for people: "already running"

    @property
    def good(self) -> bool:
        return self.error is None and self.status not in (FAILED, REFUSED, UNREACHABLE, SKIPPED)

    def as_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {}
        if self.instance is not None:
            row["instance"] = self.instance
        if self.node is not None:
            row["node"] = self.node
        row["status"] = self.status
        row.update(self.fields)
        if self.note:
            row["note"] = self.note
        if self.error is not None:
            row["error"] = self.error.as_json()
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command did. `notes` are lines for people; `data` are further top-level keys of the JSON document.

    `exit_code` is an ExitCode, or, with `run`, what commands on nodes ended with.
    """

    command: str
    status: str
    exit_code: int
    results: tuple[Result, ...] = ()
    revision: int | None = None
    seconds: float = 0.0
    error: Problem | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)

    def timed(self, seconds: float) -> Outcome:
        return replace(self, seconds=seconds)

    def as_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "command": self.command,
            "status": self.status,
            "exit_code": int(self.exit_code),
            "revision": self.revision,
            "seconds": round(self.seconds, 3),
            "results": [result.as_json() for result in self.results],
        }
        if self.warnings:
            document["warnings"] = list(self.warnings)
        document.update(self.data)
        if self.error is not None:
            document["error"] = self.error.as_json()
        return document


def summed_up(
    command: str,
    results: Iterable[Result],
    *,
    revision: int | None = None,
    changed: bool | None = None,
    notes: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
    data: dict[str, Any] | None = None,
) -> Outcome:
    """The outcome of a command from its results: the exit code says the worst that is true of all of them.

    `changed` says whether the command changed anything; None derives it from the results' statuses.
    """
    rows = tuple(results)
    code, status = _verdict(rows)
    if status == OK and not (any(r.status != UNCHANGED for r in rows) if changed is None else changed):
        status = UNCHANGED
    bad = [row for row in rows if not row.good]
    error = None
    if bad:
        first = next((row.error for row in bad if row.error is not None), None)
        whom = f"{len(bad)} of {len(rows)} failed"
        error = Problem(
            message=first.message if first is not None and len(bad) == 1 else whom,
            hint=first.hint if first is not None else "",
            exit_code=code,
        )
    return Outcome(
        command=command, status=status, exit_code=code, results=rows, revision=revision, error=error,
        notes=notes, warnings=warnings, data=data or {},
    )  # fmt: skip


def spoiled(outcome: Outcome, problem: Problem) -> Outcome:
    """`outcome` with a failure that belongs to none of its results; one that had failed already stays as it was."""
    if outcome.exit_code != ExitCode.OK:
        return replace(outcome, warnings=(*outcome.warnings, *problem.message.splitlines()))
    return replace(outcome, status=FAILED, exit_code=problem.exit_code, error=problem)


def differing(outcome: Outcome) -> Outcome:
    """The outcome of a comparison that found something; one that could not look at all stays a failure."""
    if outcome.exit_code != ExitCode.OK:
        return outcome
    return replace(outcome, status=DIFFERENT, exit_code=ExitCode.DIFFERS)


def _verdict(rows: tuple[Result, ...]) -> tuple[ExitCode, str]:
    bad = [row for row in rows if not row.good]
    if not bad:
        return ExitCode.OK, OK
    if len(bad) < len(rows):
        return ExitCode.PARTIAL, PARTIAL
    if any(row.status == REFUSED for row in bad):
        return ExitCode.REFUSED, REFUSED
    away = [row for row in bad if row.status != SKIPPED]
    if away and all(row.status == UNREACHABLE or _is_unreachable(row) for row in away):
        return ExitCode.UNREACHABLE, FAILED
    return ExitCode.FAILED, FAILED


def _is_unreachable(row: Result) -> bool:
    return row.error is not None and row.error.exit_code == ExitCode.UNREACHABLE


def failed(command: str, error: DasctlError) -> Outcome:
    """The outcome of a command that ended before it had results."""
    status = REFUSED if error.exit_code == ExitCode.REFUSED else FAILED
    return Outcome(command=command, status=status, exit_code=error.exit_code, error=Problem.of(error))
