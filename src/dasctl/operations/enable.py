"""`enable`: targets get an application that is there, or another version of it."""

from __future__ import annotations

from collections.abc import Sequence

from dasctl.core import deploying
from dasctl.core.outcome import Outcome
from dasctl.core.rolling import Rolling
from dasctl.core.targets import fold
from dasctl.errors import UsageError
from dasctl.operations.deployed import existing
from dasctl.operations.deploying import Change, Making, Running, carried_out
from dasctl.operations.ports import Context
from dasctl.operations.recording import current


async def enable(
    ctx: Context,
    name: str,
    *,
    targets: Sequence[str] = (),
    apply: bool = True,
    rolling: Rolling | None = None,
) -> Outcome:
    """Let targets get the application `name`, or with NAME:VERSION that version of it. None named: all that have it.

    A target that it was not deployed to is one from now on. Raises UsageError.
    """
    called, _, version = name.partition(":")
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        now = current(ctx)
        found = existing(ctx, now, called)
        assert found.entry is not None
        chosen = deploying.targets_of(now.domain, targets) or tuple(
            deploying.holders(now.domain, found.entry)
        )
        if not chosen:
            raise UsageError(
                f"{called} is deployed nowhere", hint=f"say where: dasctl enable {name} --target TARGET"
            )
        before = found.before
        after = deploying.enabled(now.domain, found.entry, chosen)
        if version:
            found.record(version)
            before = before.passed(
                deploying.versions_at(now.domain, found.entry, chosen), version,
                members=deploying.instances_of(now.domain, chosen),
            )  # fmt: skip
            after = deploying.activated(now.domain, after, version, chosen)
        summary = f"enabled {called}{f' {version}' if version else ''} on {fold(chosen)}"
        change = Change(
            known=found, after=after, before=before, summary=summary,
            already=f"{called}{f' {version}' if version else ''} is enabled on {fold(chosen)}",
        )  # fmt: skip
        with ctx.working.making() as folder:
            making = Making(ctx=ctx, now=now, change=change, folder=folder)
            return await carried_out(
                making, Running(apply=apply, rolling=rolling), command="enable",
                names=deploying.instances_of(now.domain, chosen),
            )  # fmt: skip
