"""A member's talk with its DAS: synchronising through it, and what it means that the DAS is away."""

from __future__ import annotations

from collections.abc import Sequence

from dasctl.core.members import outcome_of
from dasctl.core.outcome import Outcome
from dasctl.errors import (
    ChangedHostKey,
    DasctlError,
    DomainLocked,
    ExitCode,
    NodeUnreachable,
    UnknownHostKey,
    UsageError,
)
from dasctl.operations.local import Place
from dasctl.operations.member_ports import DasConversation, Outside
from dasctl.operations.ports import Event


def is_away(error: DasctlError) -> bool:
    """Whether the DAS cannot be had now. One that shows a wrong key is not away: that is an alarm."""
    if isinstance(error, ChangedHostKey | UnknownHostKey):
        return False
    return isinstance(error, NodeUnreachable | DomainLocked)


def went_away(outcome: Outcome) -> bool:
    """The same for a synchronisation that the DAS began."""
    return outcome.exit_code in (ExitCode.UNREACHABLE, ExitCode.LOCKED)


async def synchronised_from_das(
    outside: Outside,
    place: Place,
    *,
    command: str,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    dry_run: bool = False,
    full: bool = False,
) -> Outcome:
    """Connect to the DAS and be synchronised. Raises NodeUnreachable and its kin where it is away."""
    if place.coordinates is None:
        raise UsageError(
            f"nothing in {place.node_dir} says where the DAS is",
            hint="join its domain: dasctl join-domain; or synchronise from there: dasctl sync-instance",
        )
    outside.on_event(Event(phase="connecting", node=place.node, instance=place.name))
    async with outside.das.open(place.coordinates) as das:
        return await synchronised(
            outside, das, place.name, command=command, only=only, exclude=exclude, dry_run=dry_run, full=full
        )


async def synchronised(
    outside: Outside,
    das: DasConversation,
    name: str,
    *,
    command: str,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    dry_run: bool = False,
    full: bool = False,
) -> Outcome:
    """Ask the DAS to synchronise `name` through this conversation; the outcome is that of its own operation."""
    outside.on_event(Event(phase="comparing", instance=name))
    reply = await das.ask(
        {
            "request": "sync", "instance": name, "paths": list(only) or None, "exclude": list(exclude) or None,
            "dry_run": dry_run, "full": full, "command": command, "wait_s": outside.wait_s,
        }
    )  # fmt: skip
    outside.on_event(Event(phase="done", instance=name))
    return outcome_of(reply.get("outcome") or {}, command)
