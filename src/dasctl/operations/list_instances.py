"""`list-instances`: what runs where, and with which revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dasctl.core import targets as target_names
from dasctl.core.failures import Failure
from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.errors import HistoryError
from dasctl.operations.looking import instance_row, look, utc_text
from dasctl.operations.ports import Context


async def list_instances(
    ctx: Context, targets: Sequence[str], *, long: bool = False, status: bool = True
) -> Outcome:
    """One row per instance; a node that does not answer in time makes its instances `unknown`."""
    domain = ctx.store.load()
    names = target_names.resolve(domain, targets or ("domain",))
    seen = await look(ctx, domain, names) if status else {}
    failures = _failures(ctx)
    rows = [_with_failure(instance_row(domain, name, seen.get(name)), failures.get(name)) for name in names]
    return summed_up("list-instances", rows, changed=True)


def _failures(ctx: Context) -> Mapping[str, Failure]:
    """How the servers are can be seen without a history that can be read."""
    try:
        return ctx.history.failures()
    except HistoryError:
        return {}


def _with_failure(row: Result, failure: Failure | None) -> Result:
    if failure is None:
        return row
    told = {
        "failed_command": failure.command, "failed_when": utc_text(failure.when), "failed_message": failure.message,
    }  # fmt: skip
    return replace(row, fields={**row.fields, **told})
