"""`list-deviations`: which files on instances are not what was synchronised there last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dasctl.core import exclusion, requests, verdicts
from dasctl.core import targets as target_names
from dasctl.core.domain import Domain
from dasctl.core.outcome import OK, Outcome, Result, differing, summed_up
from dasctl.core.verdicts import Verdict
from dasctl.errors import ProtocolError
from dasctl.operations.fanout import by_node, on_nodes
from dasctl.operations.looking import epoch_of, seen_of
from dasctl.operations.ports import Context, Link
from dasctl.remote import words

COMMAND = "list-deviations"


async def list_deviations(ctx: Context, targets: Sequence[str], *, verify: bool = False) -> Outcome:
    """One row per deviation; `instances` counts them. `verify`: all contents are read and hashed on the nodes."""
    domain = ctx.store.load()
    names = target_names.resolve(domain, targets or (target_names.DOMAIN,))
    found: dict[str, list[Result]] = {}
    counts: dict[str, dict[str, Any]] = {}

    async def ask(node: str, link: Link, instances: Sequence[str]) -> list[Result]:
        header = requests.envelope(
            words.DEVIATIONS, domain, node, epoch_of(ctx),
            instances=[_request(domain, name, verify) for name in instances],
        )  # fmt: skip
        reply = await link.ask(header, silence_s=ctx.patience_s)
        results = []
        for verdict in verdicts.read_all(reply.header, list(instances), node):
            seen = seen_of(domain, node, verdict)
            results.append(Result(status=seen.status, instance=verdict.name, node=node, error=seen.error))
            if seen.error is None:
                found[verdict.name] = [
                    _row(node, verdict.name, item) for item in verdict.more.get("deviations") or ()
                ]
                counts[verdict.name] = _counted(node, verdict)
        return results

    instances = await on_nodes(ctx, domain, by_node(domain, names), ask)
    rows = [
        row for one in instances for row in ([one] if not one.good else found.get(one.instance or "", ()))
    ]
    listed = [counts[name] for name in names if name in counts]
    outcome = summed_up(
        COMMAND, instances, changed=True, warnings=_warnings(listed), data={"instances": listed}
    )
    outcome = replace(outcome, results=tuple(rows))
    return differing(outcome) if any(found.values()) else outcome


def _request(domain: Domain, name: str, verify: bool) -> dict[str, Any]:
    return {
        "name": name, "verify": verify, "only": None, "except": None,
        "excluded": list(exclusion.excluded_of(domain, name)) or None,
        "keep": list(exclusion.keep_of(domain, name)) or None,
    }  # fmt: skip


def _counted(node: str, verdict: Verdict) -> dict[str, Any]:
    more = verdict.more
    row: dict[str, Any] = {
        "instance": verdict.name, "node": node,
        "revision": verdict.at.standing.revision if verdict.at is not None else None,
        "deviations": len(more.get("deviations") or ()) + _count(more.get("more", 0), node),
    }  # fmt: skip
    for key in ("problems", "more", "interrupted"):
        if more.get(key):
            row[key] = more[key]
    return row


def _warnings(listed: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What makes the answer of an instance less than whole."""
    told = []
    for row in listed:
        name = row["instance"]
        if row["revision"] is None:
            told.append(f"{name} was never synchronised: nothing there is known")
        if row.get("interrupted"):
            told.append(f"{name}: an interrupted commit waits to be finished: synchronise")
        if row.get("more"):
            told.append(f"{name}: {row['more']:,} more deviations are not listed")
        told += [f"{name}: {item['path']}: {item['message']}" for item in row.get("problems") or ()]
    return tuple(told)


def _row(node: str, name: str, item: Mapping[str, Any]) -> Result:
    fields = {
        "path": item["path"], "kind": item["kind"],
        "size": _number(item.get("size"), node), "modtime": _number(item.get("modtime"), node),
    }  # fmt: skip
    return Result(status=OK, instance=name, node=node, fields=fields)


def _number(value: Any, node: str) -> int | None:
    return None if value is None else _count(value, node)


def _count(value: Any, node: str) -> int:
    if type(value) is not int:
        raise ProtocolError(f"node {node}: an answer that does not fit the protocol: {value!r:.80}")
    return value
