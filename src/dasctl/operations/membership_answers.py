"""What the DAS does for a member: the answers behind `serve-members`, made of the DAS's ordinary operations."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dasctl.core import members, requests
from dasctl.core.domain import Domain
from dasctl.core.edits import Drop, Edit
from dasctl.core.members import Files, Hello, Join, Leave, NoEntry, Reach, SyncMember, area_relative
from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.core.patterns import regexes
from dasctl.errors import AuthenticationFailed, DasctlError, OperationFailed, UnknownHostKey
from dasctl.operations.delete_instance import entry_dropped
from dasctl.operations.editing import edited
from dasctl.operations.file_contents import FileContents
from dasctl.operations.member_ports import MemberChannel, Members
from dasctl.operations.ports import Context, Who
from dasctl.operations.recording import current
from dasctl.operations.sync import sync
from dasctl.remote import words
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import printable

LOCK_WAIT_S = 30.0  # members come from cron, many at the same minute: they queue rather than fail
LONGEST_WAIT_S = 300.0  # below the member's own patience
REACH_S = 15.0
BATCH = 256 << 10  # bytes of entries in one frame
LARGEST_REPLY = 900 << 10  # bytes of a header: the frame's limit less some

Reply = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Who asks. `node` is that of a restricted key, or None."""

    ctx: Context
    channel: MemberChannel
    node: str | None

    @property
    def restricted(self) -> bool:
        return self.node is not None

    @property
    def members(self) -> Members:
        assert self.ctx.members is not None  # serve_members has checked it
        return self.ctx.members

    def acting(self, command: str, *, wait_s: float = 0.0) -> Context:
        """The context for an operation on the member's behalf: the lock and the history name it."""
        who = Who(user=self.ctx.who.user, host=self.ctx.who.host, command=command)
        wait = min(max(wait_s, self.ctx.wait_s, LOCK_WAIT_S), LONGEST_WAIT_S)
        return replace(self.ctx, who=who, wait_s=wait)

    def own(self, domain: Domain, instance: str) -> str:
        """The node of `instance`, if this member may ask for it. Raises NoEntry: the same for what is another's."""
        entry = domain.instances.get(instance)
        if entry is None or (self.node is not None and entry.node != self.node):
            where = f"on node {self.node}" if self.node is not None else "in the domain"
            raise NoEntry(
                f"there is no instance '{instance}' {where}",
                hint="on the DAS: dasctl list-instances --nostatus shows what is written down",
            )
        return entry.node


def hello(member: Member, request: Hello) -> Reply:
    """The domain's name and id, the last revision, and the instances of the member's node."""
    domain = member.ctx.store.load()
    head = member.ctx.history.head()
    node = member.node or request.node
    return {
        "reply": "hello", "domain": {"name": domain.domain.name, "id": domain.domain.id},
        "revision": head.number if head is not None else None, "node": node,
        "instances": list(domain.instances_on(node)) if node is not None else [],
    }  # fmt: skip


async def join(member: Member, request: Join) -> Reply:
    """Register what is not there yet, in one revision."""
    ctx = member.acting(f"join-domain {request.name}")
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        plan = members.plan_join(domain, request, seen_at=member.members.caller(), only_node=member.node)
        result = Result(
            status="created" if plan.edits else "unchanged",
            instance=request.name,
            node=plan.node,
            note=plan.note,
        )
        if plan.edits:
            outcome = edited(ctx, "join-domain", plan.edits, result)
        else:
            head = ctx.history.head()
            outcome = summed_up("join-domain", [result], revision=head.number if head is not None else None)
        if request.public_key is not None and not member.restricted:
            member.members.keep_key(plan.node, request.public_key)
        domain = ctx.store.load()
    return {
        "reply": "join", "outcome": _fitting(_own_part(member, outcome)), "node": plan.node,
        "dir": domain.node_dir(plan.node), "instances": list(domain.instances_on(plan.node)),
    }  # fmt: skip


async def sync_member(member: Member, request: SyncMember) -> Reply:
    """The DAS's own synchronisation, with a link that goes through the member's connection."""
    node = member.own(member.ctx.store.load(), request.instance)
    ctx = member.acting(
        f"{request.command} {request.instance} (asked for by node {node})", wait_s=request.wait_s
    )
    outcome = await sync(
        replace(ctx, links=member.channel.links(node)), [request.instance], command=request.command,
        dry_run=request.dry_run, full=request.full,
        only=area_relative(request.paths), exclude=area_relative(request.exclude),
    )  # fmt: skip
    return {"reply": "sync", "outcome": _fitting(_own_part(member, outcome))}


async def files(member: Member, request: Files) -> Reply:
    """The matching entries of the instance's slice, in frames of their own, and their contents where they are wanted.

    Reads only: no lock is taken, no revision recorded.
    """
    member.own(member.ctx.store.load(), request.instance)
    now = current(member.ctx, record=False)
    member.own(now.domain, request.instance)
    parts = now.slices.by_instance[request.instance].parts
    found = list(_matching([part.data for part in parts], request))
    for batch in _batches(found):
        await member.channel.send({"entries": batch})
    changed: list[str] = []
    if request.contents:
        streams = FileContents(member.ctx.repository, now.slices.contents)
        wanted = dict.fromkeys(entry.digest.decode("ascii") for entry in found if entry.kind == words.FILE)
        async for piece in streams.frames(wanted):
            await member.channel.send_frames(piece)
        changed = sorted(streams.changed)
    return {"reply": request.name, "entries": len(found), "changed": changed, "revision": now.revision.number}


def leave(member: Member, request: Leave) -> Reply:
    """Remove the instance's entry, and its node's where it was the last one there."""
    ctx = member.acting(f"leave-domain {request.instance}")
    with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
        domain = ctx.store.load()
        node = member.own(domain, request.instance)
        if request.node is not None and request.node != node:
            raise NoEntry(f"there is no instance '{request.instance}' on node {request.node}")
        edits: list[Edit] = list(entry_dropped(domain, request.instance))
        last = domain.instances_on(node) == (request.instance,)
        if last and not _is_jump(domain, node):
            edits.append(Drop(path=("nodes", node)))
        else:
            last = False
        outcome = edited(
            ctx, "leave-domain", edits, Result(status="deleted", instance=request.instance, node=node)
        )
        ctx.history.forget(request.instance)
        if last:
            _node_forgotten(member, domain, node)
    return {"reply": "leave", "outcome": _fitting(_own_part(member, outcome)), "node_removed": last}


def _is_jump(domain: Domain, node: str) -> bool:
    """Whether another node is reached through this one."""
    return any(node in (other.jump or "").split(",") for other in domain.nodes.values())


def _node_forgotten(member: Member, domain: Domain, name: str) -> None:
    member.members.forget_key(name)
    node = domain.nodes[name]
    others = (other for key, other in domain.nodes.items() if key != name)
    if not any((other.host, other.port) == (node.host, node.port) for other in others):
        member.ctx.host_keys.forget(node)


async def reach(member: Member, request: Reach) -> Reply:
    """Whether the DAS can log in to the node, and what to do if it cannot."""
    domain = member.ctx.store.load()
    if request.node not in domain.nodes or (member.restricted and request.node != member.node):
        raise NoEntry(f"there is no node '{request.node}' of yours")
    try:
        async with asyncio.timeout(REACH_S):
            message = await _pinged(member, domain, request)
    except TimeoutError:
        message = f"no answer within {REACH_S:g} s"
    except DasctlError as error:
        return {
            "reply": "reach",
            "reachable": False,
            "message": error.message,
            "hint": _way_in(member, request, error),
        }
    hint = f"on the DAS: dasctl ping-node-ssh {request.node}" if message else ""
    return {"reply": "reach", "reachable": not message, "message": message, "hint": hint}


async def _pinged(member: Member, domain: Domain, request: Reach) -> str:
    """What is wrong with the node; empty: nothing."""
    node = domain.nodes[request.node]
    await _host_key_known(member, domain, request)
    async with member.ctx.links.open(request.node, node) as link:
        header = requests.envelope(words.PING, domain, request.node, member.ctx.history.epoch())
        reply = await link.ask(header, silence_s=member.ctx.timeout_s)
        boot = link.greeting.get("boot")
    if request.boot and boot and boot != request.boot:
        return f"another machine answers at {node.host}, port {node.port or 22}"
    if not reply.header.get("writable"):
        return f"{domain.node_dir(request.node)} cannot be written: {reply.header.get('message', '')}"
    return ""


async def _host_key_known(member: Member, domain: Domain, request: Reach) -> None:
    """Accept the key that the node shows where the member, through its own login, has said that it is its own."""
    node = domain.nodes[request.node]
    try:
        await member.ctx.host_keys.admit(request.node, node)
    except UnknownHostKey as error:
        if member.restricted or error.fingerprint not in request.host_keys:
            raise
        ctx = member.acting(f"join-domain (host key of {request.node})")
        with ctx.store.domain_locked(ctx.who.command, wait_s=ctx.wait_s):
            await ctx.host_keys.admit(request.node, node, fingerprint=error.fingerprint)


def _way_in(member: Member, request: Reach, error: DasctlError) -> str:
    match error:
        case UnknownHostKey():
            return (
                f"compare {error.fingerprint} with 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' here; then on the "
                f"DAS: dasctl update-node-ssh {request.node} --host-key {error.fingerprint}"
            )
        case AuthenticationFailed():
            keys = member.members.own_keys()
            if keys:
                return f"let the DAS in: add its key to ~/.ssh/authorized_keys here: {keys[0]}"
            return f"let the DAS in: it has no key yet; there: dasctl setup-ssh {request.node} --generatekey"
        case _:
            return (
                "is there an sshd here ('dasctl serve-ssh' is one), and is --nodehost, --sshport right? "
                f"On the DAS: dasctl ping-node-ssh {request.node}. Until then this node can turn to the DAS by itself"
            )


# What travels.


def _own_part(member: Member, outcome: Outcome) -> Outcome:
    """Without warnings for a restricted key: they name files of the whole repository."""
    return replace(outcome, warnings=()) if member.restricted else outcome


def _fitting(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON, its longest lists cut where it would not fit into a frame's header."""
    document = outcome.as_json()
    most = 1000
    while len(json.dumps(document)) > LARGEST_REPLY and most:
        most //= 4
        document["warnings"] = [*document.get("warnings", ())][:most]
        for row in document["results"]:
            row.update({key: value[:most] for key, value in row.items() if isinstance(value, list)})
    if len(json.dumps(document)) > LARGEST_REPLY:
        raise OperationFailed(
            "what was done is too much to tell", hint="dasctl history, on the DAS, has the rest"
        )
    return document


def _matching(parts: Sequence[bytes], request: Files) -> Iterator[Entry]:
    from dasctl.remote.manifest import decode

    wanted = [re.compile(text) for text in regexes(area_relative(request.paths))] if request.paths else None
    unwanted = [re.compile(text) for text in regexes(area_relative(request.exclude))]
    for data in parts:
        for entry in decode(data):
            path = entry.path.decode("latin-1")
            if wanted is not None and not any(regex.search(path) for regex in wanted):
                continue
            if not any(regex.search(path) for regex in unwanted):
                yield entry


def _batches(entries: Sequence[Entry]) -> Iterator[list[list[Any]]]:
    batch: list[list[Any]] = []
    size = 0
    for entry in entries:
        digest = printable(entry.digest) if entry.kind != words.FOLDER else None
        batch.append([printable(entry.path), entry.kind, entry.mode, entry.size, entry.mtime, digest])
        size += 6 * (len(entry.path) + len(entry.digest)) + 64  # an escaped byte takes six
        if size > BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
