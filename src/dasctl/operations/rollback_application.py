"""`rollback-application`: targets get the version of an application that was active there before, or a named one."""

from __future__ import annotations

from collections.abc import Sequence

from dasctl.core import deploying
from dasctl.core.outcome import Outcome
from dasctl.core.rolling import Rolling
from dasctl.core.targets import fold
from dasctl.errors import OperationFailed
from dasctl.operations.deployed import Known, existing
from dasctl.operations.deploying import Change, Making, Running, carried_out
from dasctl.operations.ports import Context
from dasctl.operations.recording import Current, current


async def rollback_application(
    ctx: Context,
    name: str,
    *,
    to: str | None = None,
    targets: Sequence[str] = (),
    apply: bool = True,
    rolling: Rolling | None = None,
) -> Outcome:
    """Activate at each target what was active before; done again, it goes back one further. `to` names the version.

    Raises OperationFailed where there is nothing to go back to, UsageError for a version that is not there.
    """
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        now = current(ctx)
        found = existing(ctx, now, name)
        assert found.entry is not None
        chosen = deploying.targets_of(now.domain, targets) or tuple(
            deploying.holders(now.domain, found.entry)
        )
        deploying.refuse_foreign(now.domain, name, found.entry, chosen)
        versions = _versions(now, found, chosen, to, asked=bool(targets))
        with ctx.working.making() as folder:
            making = Making(ctx=ctx, now=now, change=_change(now, found, versions), folder=folder)
            return await carried_out(
                making, Running(apply=apply, rolling=rolling), command="rollback-application",
                names=deploying.instances_of(now.domain, chosen), data={"versions": versions},
            )  # fmt: skip


def _versions(
    now: Current, found: Known, chosen: Sequence[str], to: str | None, *, asked: bool
) -> dict[str, str]:
    """Which version each target goes back to; who has nothing to go back to is passed by, unless he was `asked` for."""
    assert found.entry is not None
    if to is not None:
        found.record(to)
        return dict.fromkeys(chosen, to)
    last = _last(now, found, chosen)
    without = [target for target in chosen if target not in last]
    if not last or (without and asked):
        whom = f" at {fold(without)}" if without else ""
        raise OperationFailed(
            f"no version of {found.name} was active{whom} before the one that is",
            hint="`dasctl list-applications --long` shows its versions, and --to VERSION goes to one of them; "
            "what was there before all of them is in the history",
        )
    return last


def _last(now: Current, found: Known, chosen: Sequence[str]) -> dict[str, str]:
    """What was active before, where anything was. Of an instance that had nothing of its own: what its cluster had."""
    assert found.entry is not None
    active = deploying.versions_at(now.domain, found.entry, chosen)
    last = {}
    for target in chosen:
        entry = now.domain.instances.get(target)
        cluster = entry.cluster if entry is not None else None
        version = found.before.last(target, found.records, active.get(target), cluster)
        if version is not None:
            last[target] = version
    return last


def _change(now: Current, found: Known, versions: dict[str, str]) -> Change:
    assert found.entry is not None
    after, before = found.entry, found.before
    for (
        target,
        version,
    ) in versions.items():  # clusters come first: what is said of their instances comes on top
        after = deploying.activated(now.domain, after, version, [target], enable=False)
        members = set(deploying.instances_of(now.domain, [target])) - {*versions}
        before = before.without(members).back(target, version)
    groups: dict[str, list[str]] = {}
    for target, version in versions.items():
        groups.setdefault(version, []).append(target)
    told = ", ".join(f"{fold(group)} to {version}" for version, group in groups.items())
    return Change(
        known=found, after=after, before=before, summary=f"rolled back {found.name} on {told}",
        already=f"{found.name} has this version there",
    )  # fmt: skip
