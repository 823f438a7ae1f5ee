"""Commands that edit domain.yaml: under the lock, all edits or none, one revision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dasctl.core.edits import Edit
from dasctl.core.faults import did_you_mean
from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.core.targets import fold
from dasctl.errors import UsageError
from dasctl.operations.ports import Context
from dasctl.operations.recording import edit


def edited(
    ctx: Context, command: str, edits: Sequence[Edit], result: Result, *, notes: tuple[str, ...] = ()
) -> Outcome:
    """Make the edits, record the revision, and tell of it in one result. The caller holds the lock."""
    now = edit(ctx, edits, summary=f"{result.status} {result.instance or result.node or _subject(result)}")
    return summed_up(
        command, [result], revision=now.revision.number, notes=notes, warnings=now.warnings, changed=True
    )


def _subject(result: Result) -> str:
    return str(result.fields.get("cluster", ""))


def known(kind: str, name: str, names: Iterable[str]) -> None:
    """UsageError, with what may have been meant, unless `name` is one of `names`."""
    choices = list(names)
    if name not in choices:
        hint = f"there are: {fold(choices)}" if choices else f"there is no {kind} yet"
        raise UsageError(f"no {kind} named '{name}'{did_you_mean(name, choices)}", hint=hint)
