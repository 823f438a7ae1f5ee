"""`import-sync-bundle`: what `python3 BUNDLE` does, where dasctl is installed; by this dasctl, not by the file's program."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dasctl.core.outcome import Outcome, Problem, Result, summed_up
from dasctl.errors import ExitCode, OperationFailed, UsageError
from dasctl.operations.member_ports import Outside
from dasctl.remote.offline import importing
from dasctl.remote.offline.bundle import BundleError

COMMAND = "import-sync-bundle"


async def import_sync_bundle(
    outside: Outside,
    *,
    file: Path,
    node_dir: Path | None = None,
    instances: Sequence[str] = (),
    dry_run: bool = False,
    yes: bool = False,
) -> Outcome:
    """Bring this machine's instances to the state in the bundle; one result each."""
    folder = str(outside.node_dirs.absolute(node_dir)) if node_dir is not None else None
    run = partial(
        importing.run, str(file), node_dir=folder, names=list(instances), dry_run=dry_run, mass_deletion=yes
    )
    try:
        manifest, rows = await asyncio.to_thread(run)
    except BundleError as error:
        kind = UsageError if error.usage else OperationFailed
        raise kind(error.message, hint=error.hint) from error
    return summed_up(
        COMMAND, [_result(row) for row in rows], revision=manifest["lead"]["revision"],
        data={"dry_run": True} if dry_run else {},
    )  # fmt: skip


def _result(row: Mapping[str, Any]) -> Result:
    fields = {key: value for key, value in row.items() if key not in ("instance", "node", "status", "error")}
    error = row.get("error")
    refused = row["status"] == importing.REFUSED
    return Result(
        status=row["status"], instance=row["instance"], node=row["node"], fields=fields,
        error=None if error is None else Problem(
            message=error["message"], hint=error["hint"],
            exit_code=ExitCode.REFUSED if refused else ExitCode.FAILED,
        ),
    )  # fmt: skip
