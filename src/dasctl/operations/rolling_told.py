"""What is told of a rolling change that came to no good end: where each server stands, by its node, and what now."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dasctl.core.domain import Domain
from dasctl.core.outcome import FAILED, SKIPPED, Problem, Result
from dasctl.core.rollout import Member, Rollout, State
from dasctl.core.targets import fold
from dasctl.operations.looking import Seen, look
from dasctl.operations.ports import Context

ROLLED_BACK = "rolled back"
DRAINED = "it is still out of the load balancer"


async def told(
    ctx: Context, domain: Domain, rollout: Rollout, rows: Mapping[str, Result], *, why: str = ""
) -> list[Result]:  # fmt: skip
    """A result for every instance: `state` and `revision` as they are now, `rolling`: how far it came, and `rolled_out`:
    the revision that was to come to it (none where nothing is synchronised).
    """
    seen = await look(ctx, domain, rollout.names, probe=False)
    waiting = bool(rollout.those(State.WAITING))
    return [
        _row(rollout, member, rows.get(member.name), domain, seen[member.name], why, last=not waiting)
        for member in rollout.members
    ]


def _row(
    rollout: Rollout, member: Member, row: Result | None, domain: Domain, seen: Seen, why: str, *, last: bool
) -> Result:  # fmt: skip
    base = row or Result(status="done", instance=member.name, node=domain.instances[member.name].node)
    columns: dict[str, Any] = {**base.fields, "state": seen.state, "rolling": member.state.value}
    columns["revision"] = seen.at.standing.revision if seen.at is not None else base.fields.get("revision")
    if rollout.revision is not None:
        columns["rolled_out"] = rollout.revision
    base = replace(base, fields=columns)
    match member.state:
        case State.DONE:
            return base
        case State.ROLLED_BACK:
            return replace(base, status=ROLLED_BACK)
        case State.FAILED:
            problem = base.error or Problem(message=member.message)
            hint = "\n".join(filter(None, (problem.hint, what_now(rollout) if last else "")))
            problem = replace(problem, message=_with_drained(problem.message, member), hint=hint)
            return replace(base, status=FAILED if base.good else base.status, error=problem)
        case State.WAITING | State.SKIPPED:
            problem = Problem(message=_not_begun(rollout, member, why), hint=what_now(rollout))
            begun = bool(why) and member.ran is not None
            return replace(base, status=FAILED if begun else SKIPPED, error=problem, note="")
        case _:
            message = _with_drained(f"{why or 'interrupted'} while it was {member.state}", member)
            return replace(
                base, status=FAILED, error=Problem(message=message, hint=what_now(rollout) if last else "")
            )


def _with_drained(message: str, member: Member) -> str:
    return f"{message}\n{DRAINED}" if member.drained else message


def _not_begun(rollout: Rollout, member: Member, why: str) -> str:
    """`why`: what ended it before its time, where anything did."""
    if why:
        return f"not begun: {why}" if member.ran is None else f"begun, and not done: {why}; it serves again"
    failed = sum(bool(member.message) for member in rollout.members)
    return f"not begun: {failed} had failed, and --max-failures {rollout.rolling.tolerance} allows no more"


def _taken_back(rollout: Rollout) -> str:
    if rollout.those(State.FAILED):
        return f"go on bringing it back, when the cause is mended: dasctl {rollout.line} --resume"
    return "all have what they had before: mend the cause, make the change once more, and roll it out"


def what_now(rollout: Rollout) -> str:
    """How to go on: a line for each way."""
    if rollout.returning:
        return _taken_back(rollout)
    cause = ", when the cause is mended" if rollout.those(State.FAILED) else ""
    lines = [f"go on with it{cause}: dasctl {rollout.line} --resume"]
    if rollout.revision is not None:
        lines.append("after a change in the repository begin anew: the same command with --anew instead")
    before = {member.before for member in rollout.members} - {None, rollout.revision}
    if len(before) == 1 and rollout.changed:
        whom = shlex.quote(fold(rollout.names))
        lines.append(f"or take it back: dasctl rollback --to {before.pop()} {whom} --rolling --anew")
    return "\n".join(lines)
