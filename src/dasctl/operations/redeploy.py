"""`redeploy`: an application that is there gets another archive, wherever it is deployed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dasctl.core import deploying
from dasctl.core.archives import Limits
from dasctl.core.outcome import Outcome
from dasctl.core.rolling import Rolling
from dasctl.operations.deploy import Wanted, deployed, named
from dasctl.operations.deployed import existing
from dasctl.operations.deploying import Running
from dasctl.operations.ports import Context
from dasctl.operations.recording import current


async def redeploy(
    ctx: Context,
    source: Path,
    *,
    targets: Sequence[str] = (),
    name: str | None = None,
    apply: bool = True,
    rolling: Rolling | None = None,
    limits: Limits | None = None,
) -> Outcome:
    """Make `source` the active version of an application that is there.

    At `targets`, or wherever it is deployed; where it is disabled it stays so. Raises what `deploy` does.
    """
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        now = current(ctx)
        called, version = named(source, name)
        found = existing(ctx, now, called)
        assert found.entry is not None
        chosen = deploying.targets_of(now.domain, targets) or tuple(
            deploying.holders(now.domain, found.entry)
        )
        wanted = Wanted(
            command="redeploy", source=source, name=called, version=version, targets=chosen, again=True, later=False,
            limits=limits or Limits(),
        )  # fmt: skip
        return await deployed(ctx, now, found, wanted, Running(apply=apply, rolling=rolling))
