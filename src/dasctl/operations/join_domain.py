"""`join-domain`: register this machine and an instance with the DAS, keep where the DAS is, and synchronise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dasctl.core import names
from dasctl.core.coordinates import DEFAULT_COMMAND, Coordinates, Das
from dasctl.core.members import outcome_of
from dasctl.core.outcome import UNCHANGED, Outcome, Problem, Result, status_of_error, summed_up
from dasctl.errors import DasctlError, ExitCode, GuardRefused, ProtocolError, UsageError
from dasctl.operations.member_ports import DasConversation, Outside
from dasctl.operations.membership import synchronised

COMMAND = "join-domain"
SYNC_COLUMNS = ("files_changed", "files_deleted", "bytes_sent")


async def join_domain(
    outside: Outside,
    name: str | None = None,
    *,
    das: str,
    domain_dir: str,
    cluster: str | None = None,
    config: str | None = None,
    node_dir: Path | None = None,
    properties: Mapping[str, str] | None = None,
    host: str | None = None,
    port: int | None = None,
    user: str | None = None,
    key: str | None = None,
    accept_host_key: bool = False,
    host_key: str | None = None,
    das_command: str = DEFAULT_COMMAND,
) -> Outcome:
    """Join as `name` (this host's name), and say whether the DAS can reach this node in return. Called again it goes on."""
    name = _name(outside, name)
    asked = Coordinates(
        das=Das.parsed(das), domain_dir=domain_dir, key=_key_path(outside, key), command=das_command
    )
    known = _with_kept_key(outside, asked, node_dir)
    coordinates = await outside.das.admit(known, accept_any=accept_host_key, fingerprint=host_key)
    async with outside.das.open(coordinates) as talk:
        coordinates = _of_domain(coordinates, talk)
        folder = _node_dir(outside, node_dir, coordinates)
        request = {
            "request": "join", "name": name, "cluster": cluster, "config": config, "host": host, "port": port,
            "user": user or outside.who.user, "dir": _written_dir(outside, node_dir, user, coordinates),
            "properties": dict(properties or {}), "node": _former_node(outside, folder, coordinates, name),
            "hostname": outside.machine.hostname, "public_key": outside.das.public_key(asked.key),
        }  # fmt: skip
        reply = await talk.ask(request)
        joined = outcome_of(reply.get("outcome") or {}, COMMAND)
        coordinates = _kept(outside, folder, replace(coordinates, node=_node_of(reply)), name)
        synced, problem = await _synchronised(outside, talk, name)
        reach = await _reached(outside, talk, coordinates.node)
    return _outcome(coordinates, folder, name, joined, synced, problem, reach)


def _name(outside: Outside, name: str | None) -> str:
    given = name is not None
    if name is None:
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", outside.machine.name).lstrip("-.")
    if (why := names.fault_of(name)) is not None:
        raise UsageError(
            why if given else f"this host's name makes no instance's name: {why}", hint="give a NAME"
        )
    return name


def _key_path(outside: Outside, key: str | None) -> str | None:
    return None if key is None else str(outside.node_dirs.absolute(Path(key)))


def _with_kept_key(outside: Outside, asked: Coordinates, node_dir: Path | None) -> Coordinates:
    """With the DAS's host key, as an earlier join has kept it for the same address."""
    dirs = outside.node_dirs
    found = list(dirs.kept())
    if node_dir is not None and (there := dirs.load(dirs.absolute(node_dir))) is not None:
        found.insert(0, there)
    for other in found:
        if (other.das.host, other.das.port) == (asked.das.host, asked.das.port):
            return replace(asked, host_key=other.host_key)
    return asked


def _of_domain(coordinates: Coordinates, talk: DasConversation) -> Coordinates:
    """With the domain that the DAS says it is; its name becomes the name of a folder."""
    said = talk.greeting.get("domain")
    name, id = (said.get("name"), said.get("id")) if isinstance(said, Mapping) else (None, None)
    if not isinstance(name, str) or not isinstance(id, str) or names.fault_of(name) is not None:
        raise ProtocolError("the DAS does not say which domain it has")
    return replace(coordinates, domain_name=name, domain_id=id)


def _node_dir(outside: Outside, node_dir: Path | None, coordinates: Coordinates) -> Path:
    dirs = outside.node_dirs
    folder = dirs.absolute(node_dir) if node_dir is not None else dirs.default(coordinates.domain_name)
    there = dirs.load(folder)
    if there is not None and there.domain_id != coordinates.domain_id:
        raise GuardRefused(
            f"{folder} belongs to another domain: {there.domain_name} ({there.domain_id})",
            hint="choose another directory with --node-dir",
        )
    return folder


def _written_dir(
    outside: Outside, node_dir: Path | None, user: str | None, coordinates: Coordinates
) -> str | None:
    """The directory as domain.yaml has to say it; None: the default of the user whom the DAS logs in as."""
    dirs = outside.node_dirs
    default = dirs.default(coordinates.domain_name)
    folder = default if node_dir is None else dirs.absolute(node_dir)
    return None if folder == default and user in (None, outside.who.user) else str(folder)


def _former_node(outside: Outside, folder: Path, coordinates: Coordinates, name: str) -> str | None:
    there = outside.node_dirs.load(folder)
    return there.node if there is not None else None


def _node_of(reply: Mapping[str, Any]) -> str:
    node = reply.get("node")
    if not isinstance(node, str) or names.fault_of(node) is not None:
        raise ProtocolError("the DAS does not say as which node this machine has joined")
    return node


def _kept(outside: Outside, folder: Path, coordinates: Coordinates, name: str) -> Coordinates:
    dirs = outside.node_dirs
    there = dirs.load(folder)
    if there is not None:
        coordinates = replace(coordinates, instances=there.instances)
    coordinates = coordinates.with_instance(name)
    if coordinates != there:
        dirs.save(folder, coordinates)
    return coordinates


async def _synchronised(
    outside: Outside, talk: DasConversation, name: str
) -> tuple[Outcome | None, Problem | None]:
    """The outcome, or why there is none: what was registered stays registered."""
    try:
        return await synchronised(outside, talk, name, command=COMMAND), None
    except DasctlError as error:
        return None, Problem.of(error)


async def _reached(outside: Outside, talk: DasConversation, node: str) -> Mapping[str, Any]:
    """What the DAS says of its way back to this node."""
    machine = outside.machine
    try:
        return await talk.ask(
            {"request": "reach", "node": node, "boot": machine.boot, "host_keys": list(machine.host_keys)}
        )
    except DasctlError as error:
        return {"reachable": None, "message": f"not found out: {error.message}", "hint": error.hint}


def _outcome(
    coordinates: Coordinates,
    folder: Path,
    name: str,
    joined: Outcome,
    synced: Outcome | None,
    problem: Problem | None,
    reach: Mapping[str, Any],
) -> Outcome:
    row = synced.results[0] if synced is not None and synced.results else None
    problem = problem or (row.error if row is not None else None)
    reachable = reach.get("reachable")
    fields: dict[str, Any] = {
        "node_dir": str(folder), "reachable": reachable if isinstance(reachable, bool) else None,
        "revision": synced.revision if synced is not None else joined.revision,
    }  # fmt: skip
    if row is not None:
        fields |= {column: row.fields.get(column) for column in SYNC_COLUMNS}
    if problem is not None:
        hint = f"{name} is registered; {problem.hint or 'then'}: dasctl sync-local-instance {name}"
        problem = replace(problem, hint=hint)
    same = joined.status == UNCHANGED
    quiet = same and row is not None and row.status == UNCHANGED
    result = Result(
        status=_status(problem, synced) if problem is not None else UNCHANGED if quiet else "joined",
        instance=name, node=coordinates.node, fields=fields, error=problem,
        note="; ".join(r.note for r in joined.results if r.note),
    )  # fmt: skip
    way_back = () if reachable is True else (_way_back(reach),)
    return summed_up(
        COMMAND, [result], revision=fields["revision"],
        warnings=(*(synced.warnings if synced is not None else ()), *way_back),
        notes=("the DAS reaches this node in return",) if reachable is True else (),
    )  # fmt: skip


def _status(problem: Problem, synced: Outcome | None) -> str:
    if synced is not None and synced.results:
        return synced.results[0].status
    match problem.exit_code:
        case ExitCode.REFUSED:
            return status_of_error(GuardRefused(""))
        case ExitCode.UNREACHABLE:
            return "unreachable"
        case _:
            return "failed"


def _way_back(reach: Mapping[str, Any]) -> str:
    said = f"the DAS does not reach this node in return: {reach.get('message', '')}"
    hint = str(reach.get("hint") or "")
    return f"{said}\n{hint}" if hint else said
