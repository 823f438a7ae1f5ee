"""`stop-instance`, `stop-cluster`: the config's command or signal, a grace period, and with `kill` the end."""

from __future__ import annotations

from collections.abc import Sequence

from dasctl.core.outcome import Outcome
from dasctl.operations.ports import Context
from dasctl.operations.running import run_lifecycle


async def stop(
    ctx: Context,
    targets: Sequence[str],
    *,
    command: str,
    kill: bool = False,
    failed: bool = False,
    max_failures: str | None = None,
) -> Outcome:
    """Stop the targets' instances; one that does not run is success."""
    return await run_lifecycle(
        ctx, targets, command=command, sync="none", stop=True, kill=kill, failed=failed, max_failures=max_failures
    )  # fmt: skip
