"""`create-domain`: a folder with a commented `config/domain.yaml`, or the sample domain."""

from __future__ import annotations

import uuid
from pathlib import Path

from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.operations.member_ports import Outside


async def create_domain(
    outside: Outside, root: Path, *, name: str | None = None, sample: bool = False
) -> Outcome:
    """Make a domain at `root` with an id of its own; other files there are left alone."""
    store = outside.make_domain(root, name, sample=sample, id=str(uuid.uuid4()))
    domain = store.load()
    fields = {"domain": domain.domain.name, "id": domain.domain.id, "dir": str(store.root)}
    note = (
        "next: dasctl create-node-ssh NAME --nodehost HOST" if not sample else "next: read config/domain.yaml"
    )
    return summed_up("create-domain", [Result(status="created", fields=fields, note=note)])
