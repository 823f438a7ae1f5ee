"""`start-instance`, `start-cluster`: synchronise, start, and wait until the servers are ready."""

from __future__ import annotations

from collections.abc import Sequence

from dasctl.core.outcome import Outcome
from dasctl.operations.lifecycle import Sync
from dasctl.operations.ports import Context
from dasctl.operations.running import run_lifecycle


async def start(
    ctx: Context,
    targets: Sequence[str],
    *,
    command: str,
    sync: Sync = "normal",
    failed: bool = False,
    max_failures: str | None = None,
) -> Outcome:
    """Start the targets' instances; one that runs already is success."""
    return await run_lifecycle(
        ctx, targets, command=command, sync=sync, start=True, failed=failed, max_failures=max_failures
    )
