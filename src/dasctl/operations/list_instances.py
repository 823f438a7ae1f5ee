"""`list-instances`: what runs where, and with which revision."""

from __future__ import annotations

from collections.abc import Sequence

from dasctl.core import targets as target_names
from dasctl.core.outcome import Outcome, summed_up
from dasctl.operations.looking import instance_row, look
from dasctl.operations.ports import Context


async def list_instances(
    ctx: Context, targets: Sequence[str], *, long: bool = False, status: bool = True
) -> Outcome:
    """One row per instance; a node that does not answer in time makes its instances `unknown`."""
    domain = ctx.store.load()
    names = target_names.resolve(domain, targets or ("domain",))
    seen = await look(ctx, domain, names) if status else {}
    rows = [instance_row(domain, name, seen.get(name)) for name in names]
    return summed_up("list-instances", rows, changed=True)
