"""`undeploy`: takes an application from targets, or away as a whole, or one of its versions that nobody has."""

from __future__ import annotations

from collections.abc import Sequence

from dasctl.core import deploying
from dasctl.core.outcome import Outcome
from dasctl.core.rolling import Rolling
from dasctl.core.targets import fold
from dasctl.errors import UsageError
from dasctl.operations.deployed import Known, existing
from dasctl.operations.deploying import Change, Making, Running, carried_out
from dasctl.operations.ports import Context
from dasctl.operations.recording import Current, current


async def undeploy(
    ctx: Context,
    name: str,
    *,
    targets: Sequence[str] = (),
    apply: bool = True,
    rolling: Rolling | None = None,
) -> Outcome:
    """Take the application `name` from `targets`; with none, from everybody, and its archives and folders away.

    NAME:VERSION removes the archive of a version that is active nowhere. The history keeps what was there.
    """
    called, _, version = name.partition(":")
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        now = current(ctx)
        found = existing(ctx, now, called)
        chosen = deploying.targets_of(now.domain, targets)
        if version and targets:
            raise UsageError(
                "a version cannot be undeployed from targets", hint=f"dasctl undeploy {called} --target …"
            )
        if version:
            change = _without_version(now, found, version)
        elif targets:
            change = _from_targets(now, found, chosen)
        else:
            change = Change(known=found, after=None, before=found.before, summary=f"undeployed {called}")
        notes = () if change.after is not None else (f"revision {now.revision.number} has what it was",)
        with ctx.working.making() as folder:
            making = Making(ctx=ctx, now=now, change=change, folder=folder)
            return await carried_out(
                making, Running(apply=apply, rolling=rolling), command="undeploy", names=(), notes=notes
            )


def _from_targets(now: Current, found: Known, chosen: Sequence[str]) -> Change:
    assert found.entry is not None
    after = deploying.undeployed(now.domain, found.name, found.entry, chosen)
    before = found.before.only(deploying.holders(now.domain, after))
    return Change(
        known=found, after=after, before=before, summary=f"undeployed {found.name} from {fold(chosen)}"
    )


def _without_version(now: Current, found: Known, version: str) -> Change:
    assert found.entry is not None
    found.record(version)
    users = deploying.active_at(now.domain, found.entry, version)
    if users or version in deploying.folders(found.name, found.entry).values():
        where = f"the active one of {fold(users)}" if users else "what its folder holds"
        raise UsageError(
            f"{found.name} {version} is {where}",
            hint=f"activate another one first: dasctl enable {found.name}:VERSION, or take it away as a whole: "
            f"dasctl undeploy {found.name}",
        )
    return Change(
        known=found,
        after=found.entry,
        before=found.before,
        gone=(version,),
        summary=f"undeployed {found.name} {version}",
    )
