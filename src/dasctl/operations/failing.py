"""What failed last time: chosen for `--failed`, remembered at the end of each command that acts on instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dasctl.core.failures import news
from dasctl.core.outcome import UNCHANGED, Outcome, Result
from dasctl.core.telling import told
from dasctl.errors import ExitCode, HistoryError, UsageError
from dasctl.operations.ports import Context

if TYPE_CHECKING:
    from dasctl.core.tolerance import Tolerance


def of_failed(ctx: Context, names: Sequence[str]) -> tuple[str, ...]:
    """Those of `names` at which the last command failed, in their order."""
    known = ctx.history.failures()
    return tuple(name for name in names if name in known)


def nothing_failed(ctx: Context, command: str) -> Outcome:
    """What `--failed` amounts to where nothing had failed: nothing to do, and all is well."""
    head = ctx.history.head()
    return Outcome(
        command=command, status=UNCHANGED, exit_code=ExitCode.OK, revision=head.number if head else None,
        notes=("nothing to do: the last command failed at none of these instances",),
    )  # fmt: skip


def remember(ctx: Context, results: Sequence[Result]) -> tuple[str, ...]:
    """Write down what failed, forget what succeeded, and tell the history; a warning where that cannot be done."""
    try:
        fresh = news(results, ctx.history.failures(), command=ctx.who.command, when=ctx.clock.now())
        if fresh:
            ctx.history.remember(fresh)
        _tell(ctx, results)
    except HistoryError as error:
        return (f"what failed cannot be remembered for --failed: {error.message}",)
    return ()


def _tell(ctx: Context, results: Sequence[Result]) -> None:
    head = ctx.history.head()
    if head is None:
        return
    # What was rolled out and taken back has failed, not the revision that brought the old state back.
    rolled = [number for row in results if isinstance(number := row.fields.get("rolled_out"), int)]
    number = max(rolled, default=head.number)
    story = told(results, ctx.who, revision=number, when=ctx.clock.now())
    if story is not None:
        ctx.history.tell(story)


def tolerance_of(text: str | None) -> Tolerance | None:
    """The value of `--max-failures`. Raises UsageError."""
    if text is None:
        return None
    from dasctl.core.tolerance import Tolerance

    try:
        return Tolerance.parse(text)
    except ValueError as error:
        raise UsageError(f"--max-failures: {error}") from error
