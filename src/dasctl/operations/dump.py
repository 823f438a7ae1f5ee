"""`dump`: what a person needs to understand a server that misbehaves, of each instance, in one trip per node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dasctl.core import dump_text, exclusion, requests, verdicts
from dasctl.core import targets as target_names
from dasctl.core.domain import Domain
from dasctl.core.outcome import OK, Outcome, Problem, Result, summed_up
from dasctl.core.properties import scope
from dasctl.core.verdicts import Verdict
from dasctl.errors import OperationFailed
from dasctl.operations.fanout import INTERRUPTED, by_node, on_nodes
from dasctl.operations.looking import epoch_of, seen_of
from dasctl.operations.ports import Context, Event, Link
from dasctl.remote import words

COMMAND = "dump"
COMMAND_LIMIT_S = 60.0  # of the config's own command, unless the command line says otherwise
UNFINISHED = Problem(message="interrupted before it was looked at", hint="a dump changes nothing")
DEAD = (words.NOT_RUNNING, words.SERVER_FAILED)
_HIDDEN = ("name", "verdict", "hint", "message")


async def dump(
    ctx: Context,
    targets: Sequence[str],
    *,
    lines: int = 50,
    time_limit_s: float | None = None,
    file: Path | None = None,
    force: bool = False,
) -> Outcome:
    """The dump of each instance in the fields of its result, with `lines` last lines of its log; or all of them in `file`.

    What could not be looked at is told among the `troubles` of a dump, and is no failure. `time_limit_s` is that of the
    config's own `dump` command.
    """
    domain = ctx.store.load()
    names = target_names.resolve(domain, targets)
    limit = COMMAND_LIMIT_S if time_limit_s is None else time_limit_s

    async def ask(node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        for name in instances:
            ctx.on_event(Event(phase="collecting", node=node, instance=name))
        header = requests.envelope(
            words.DUMP, domain, node, epoch_of(ctx),
            instances=[_request(domain, name, lines, limit) for name in instances],
        )  # fmt: skip
        reply = (await link.ask(header, silence_s=ctx.patience_s)).header
        machine = _machine(reply.get("node"), ctx.clock.now())
        rows = verdicts.read_all(reply, list(instances), node)
        return [_row(domain, node, verdict, machine) for verdict in rows]

    rows = await on_nodes(ctx, domain, by_node(domain, names), ask)
    interrupted = any(row.error is INTERRUPTED for row in rows)
    rows = [replace(row, error=UNFINISHED) if row.error is INTERRUPTED else row for row in rows]
    if file is None:
        return summed_up(COMMAND, rows, changed=True, notes=() if names else ("no instances there",))
    if interrupted:
        raise OperationFailed(f"interrupted: {file} was not written")
    size = await asyncio.to_thread(_written, ctx, file, rows, force)
    data = {"file": str(file), "size": size} if size else {}
    return summed_up(COMMAND, [_short(row) for row in rows], changed=True, data=data)


def _request(domain: Domain, name: str, lines: int, limit: float) -> dict[str, Any]:
    template = domain.configs[domain.config_of(name)].dump
    return {
        "name": name, "lines": lines, "timeout": limit,
        "command": scope(domain, name).command(template) if template is not None else None,
        "excluded": list(exclusion.excluded_of(domain, name)) or None,
        "keep": list(exclusion.keep_of(domain, name)) or None,
    }  # fmt: skip


def _machine(told: Any, now: float) -> dict[str, Any]:
    """What was told of the node, and how far its clock is from ours: to the time that the answer took."""
    if not isinstance(told, Mapping):
        return {}
    at = told.get("time")
    off = round(at - now, 3) if isinstance(at, int | float) else None
    return {**told, "clock_difference_s": off}


def _row(domain: Domain, node: str, verdict: Verdict, machine: Mapping[str, Any]) -> Result:
    seen = seen_of(domain, node, verdict)
    if seen.error is not None:
        return Result(status=seen.status, instance=verdict.name, node=node, error=seen.error)
    told = {key: value for key, value in verdict.more.items() if key not in _HIDDEN}
    # What is on record of a server that lives no more tells of its last run: that pid may be anybody's by now.
    is_dead = told.get("state") in DEAD
    told |= {
        "record": None if is_dead else told.get("record"),
        "last_run": told.get("record") if is_dead else None,
    }
    fields = {**told, "machine": machine, "clock_difference_s": machine.get("clock_difference_s")}
    try:
        fields["warnings"] = list(dump_text.warnings(fields))
        list(dump_text.lines(verdict.name, {**fields, "node": node}))  # it is shown, and must be fit for that
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        problem = Problem(message=f"node {node}: a dump that does not fit the protocol: {error!r:.80}")
        return Result(status="failed", instance=verdict.name, node=node, error=problem)
    return Result(status=OK, instance=verdict.name, node=node, fields=fields)


def _short(row: Result) -> Result:
    """A row whose dump is in a file."""
    kept: dict[str, Any] = {key: row.fields[key] for key in ("state", "warnings") if key in row.fields}
    return Result(status=row.status, instance=row.instance, node=row.node, fields=kept, error=row.error)


def _written(ctx: Context, file: Path, rows: Sequence[Result], force: bool) -> int:
    """INSTANCE/dump.txt and INSTANCE/dump.json of each; the size of the archive, 0 where there is none to make."""
    assert ctx.log_archives is not None
    good = [row for row in rows if row.good]
    mtime = int(ctx.clock.now()) * 1_000_000_000
    with ctx.log_archives.writing(file, force=force) as archive:
        for number, row in enumerate(good):
            told = {"instance": row.instance, "node": row.node, **row.fields}
            text = "\n".join(dump_text.lines(str(row.instance), told)) + "\n"
            document = json.dumps(told, indent=1) + "\n"
            with archive.part(number) as part:
                for name, content in (("dump.json", document), ("dump.txt", text)):
                    with part.spool() as spool:
                        spool.write(_encoded(content))
                        part.add(f"{row.instance}/{name}", spool, mode=0o600, mtime=mtime)
        return archive.finish() if good else 0


def _encoded(content: str) -> bytes:
    try:
        return content.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a node may say what no bytes can be
        return content.encode("utf-8", "backslashreplace")
