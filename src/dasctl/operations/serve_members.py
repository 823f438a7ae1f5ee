"""`serve-members`: answers one member on standard input and output, and nothing else.

Rules of this file: a restricted member (`node` is given) reads the slices of its own node and changes its own entry;
what it is told of errors is what it could know. No request makes the DAS open a file that a member names. The domain's lock
is never held while a member is awaited without a limit (`MemberChannel`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from dasctl.core import members
from dasctl.core.domain import Domain
from dasctl.core.members import Files, Hello, Join, Leave, NoEntry, Reach, Request, SyncMember
from dasctl.core.outcome import OK, Outcome, failed
from dasctl.errors import (
    DasctlError,
    DomainLocked,
    ExitCode,
    FormatTooNew,
    InvalidDomain,
    NodeError,
    OperationFailed,
    UsageError,
)
from dasctl.operations import membership_answers as answers
from dasctl.operations.member_ports import MemberChannel
from dasctl.operations.membership_answers import Member
from dasctl.operations.ports import Context

log = logging.getLogger(__name__)


async def serve_members(ctx: Context, *, node: str | None = None) -> Outcome:
    """Answer until the member has nothing more to ask. `node` restricts it to that node and its instances."""
    assert ctx.members is not None  # wiring gives it
    async with ctx.members.channel(restricted=node is not None) as channel:
        greeted = False
        try:
            domain = _domain(ctx, node)
            await channel.greet(
                {"domain": {"name": domain.domain.name, "id": domain.domain.id}, "node": node}
            )
            greeted = True
            await _served(Member(ctx=ctx, channel=channel, node=node))
        except Exception as error:
            told = _told(error, node)
            await _apologise(channel, told, greeted)
            return failed("serve-members", told)
    return Outcome(command="serve-members", status=OK, exit_code=ExitCode.OK)


def _domain(ctx: Context, node: str | None) -> Domain:
    domain = ctx.store.load()
    if node is not None and node not in domain.nodes:
        raise UsageError(
            f"the domain has no node '{node}' (any more)",
            hint="on the DAS: dasctl create-node-ssh; or remove its line from authorized_keys there",
        )
    return domain


async def _served(member: Member) -> None:
    """One request after the other; what goes wrong with one is told, and the next may come. A broken channel ends it."""
    while (header := await member.channel.receive()) is not None:
        try:
            reply = await _answer(member, members.read_request(header))
        except Exception as error:
            reply = _error_frame(_told(error, member.node))
        await member.channel.send(reply)


async def _answer(member: Member, request: Request) -> Mapping[str, Any]:
    match request:
        case Hello():
            return answers.hello(member, request)
        case Join():
            return await answers.join(member, request)
        case SyncMember():
            return await answers.sync_member(member, request)
        case Files():
            return await answers.files(member, request)
        case Leave():
            return answers.leave(member, request)
        case Reach():
            return await answers.reach(member, request)


def _told(error: Exception, node: str | None) -> DasctlError:
    """What a member is told: with a restricted key nothing about the rest of the domain."""
    if not isinstance(error, DasctlError):
        log.error("a member's request failed", exc_info=error)
        return OperationFailed(
            "the request failed on the DAS", hint="its operator finds out why with dasctl there"
        )
    if node is None or isinstance(error, NodeError | UsageError):
        return error
    match error:
        case DomainLocked():
            return DomainLocked("the domain is locked by another command", hint="try again later")
        case InvalidDomain() | FormatTooNew():
            return InvalidDomain(
                "the domain is not valid", hint="its operator sees why: dasctl verify-domain"
            )
        case _:
            return OperationFailed(
                "the request failed on the DAS", hint="its operator finds out why with dasctl there"
            )


def _error_frame(error: DasctlError) -> dict[str, Any]:
    frame: dict[str, Any] = {
        "reply": "error", "message": error.message, "hint": error.hint, "exit_code": int(error.exit_code),
    }  # fmt: skip
    if isinstance(error, InvalidDomain) and error.faults:
        frame["message"] = str(error)[:10_000]
    if isinstance(error, NoEntry):
        frame["reason"] = members.NO_ENTRY
    return frame


async def _apologise(channel: MemberChannel, error: DasctlError, greeted: bool) -> None:
    try:
        if not greeted:
            await channel.greet({"error": True})
        await channel.send(_error_frame(error))
    except DasctlError:
        pass  # nobody listens any more
