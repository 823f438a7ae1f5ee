"""`sync-local-instance`: what `sync-instance` does, asked for by the node; from cron, for example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dasctl.core.outcome import Outcome
from dasctl.operations.local import place_of
from dasctl.operations.member_ports import Outside
from dasctl.operations.membership import synchronised_from_das


async def sync_local_instance(
    outside: Outside,
    name: str | None = None,
    *,
    node_dir: Path | None = None,
    dry_run: bool = False,
    full: bool = False,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Outcome:
    """Bring the instance to the repository's state, through a connection that the node opens; the DAS must answer."""
    return await synchronised_from_das(
        outside, place_of(outside, name, node_dir), command="sync-local-instance",
        only=only, exclude=exclude, dry_run=dry_run, full=full,
    )  # fmt: skip
