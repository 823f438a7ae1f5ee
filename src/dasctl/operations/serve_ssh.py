"""`serve-ssh`: the embedded SSH server, until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dasctl.core.outcome import OK, Outcome
from dasctl.errors import ExitCode
from dasctl.operations.member_ports import Outside


async def serve_ssh(
    outside: Outside,
    *,
    dir: Path,
    authorized_keys: Path,
    address: str = "127.0.0.1",
    port: int = 0,
    host_key: Path | None = None,
    on_ready: Callable[[Mapping[str, Any]], None],
) -> Outcome:
    """Serve `dir` to the holders of `authorized_keys`; `on_ready` is told where. Being stopped is how it ends well."""
    try:
        await outside.ssh_server.serve(
            dir=dir, authorized_keys=authorized_keys, address=address, port=port, host_key=host_key, on_ready=on_ready
        )  # fmt: skip
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
    return Outcome(command="serve-ssh", status=OK, exit_code=ExitCode.OK, notes=("stopped",))
