"""`restart-instance`, `restart-cluster`: synchronise while the server runs, then stop and start it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dasctl.core.outcome import Outcome
from dasctl.operations.lifecycle import Sync
from dasctl.operations.ports import Context
from dasctl.operations.running import run_lifecycle

if TYPE_CHECKING:
    from dasctl.core.rolling import Rolling


async def restart(
    ctx: Context,
    targets: Sequence[str],
    *,
    command: str,
    sync: Sync = "normal",
    kill: bool = False,
    failed: bool = False,
    max_failures: str | None = None,
    rolling: Rolling | None = None,
) -> Outcome:
    """Restart the targets' instances; one that did not run is started. A server is not stopped if its files did not come.

    `rolling`: batch by batch, with its own `max_failures`.
    """
    if rolling is not None:
        from dasctl.operations.rolling_restart import rolling_restart

        return await rolling_restart(
            ctx, targets, command=command, sync=sync, kill=kill, failed=failed, rolling=rolling
        )
    return await run_lifecycle(
        ctx, targets, command=command, sync=sync, stop=True, start=True, kill=kill, failed=failed,
        max_failures=max_failures,
    )  # fmt: skip
