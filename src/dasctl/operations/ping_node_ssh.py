"""`ping-node-ssh`: all that a node must be able to, checked on all nodes at once, with a remedy for each failing line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dasctl.core import requests
from dasctl.core.domain import Domain
from dasctl.core.outcome import FAILED, OK, Outcome, Problem, Result, summed_up
from dasctl.core.targets import resolve_nodes
from dasctl.operations.fanout import on_nodes
from dasctl.operations.ports import Context, Link
from dasctl.remote import words

LOW_DISK = 100 << 20  # bytes: less is a failing line
CLOCK_TOLERANCE_S = (
    5.0  # modtimes travel as they are, so clocks only matter to people; beyond this they mislead
)


async def ping_node_ssh(ctx: Context, nodes: Sequence[str]) -> Outcome:
    """One row per node: authentication, python3, directory writable, free disk, clock difference, latency."""
    domain = ctx.store.load()
    names = resolve_nodes(domain, nodes)

    async def ping(node: str, link: Link, _: Sequence[str]) -> list[Result]:
        header = requests.envelope(words.PING, domain, node, ctx.history.epoch())
        await link.ask(header, silence_s=ctx.timeout_s)
        sent = ctx.clock.monotonic()
        answer = (await link.ask(header, silence_s=ctx.timeout_s)).header
        latency = ctx.clock.monotonic() - sent
        return [_row(ctx, domain, node, link.greeting, answer, latency)]

    ctx = replace(ctx, links=ctx.first_links or ctx.links)
    results = await on_nodes(ctx, domain, {name: [] for name in names}, ping)
    return summed_up("ping-node-ssh", results, changed=True)


def _row(
    ctx: Context,
    domain: Domain,
    node: str,
    greeting: Mapping[str, Any],
    answer: Mapping[str, Any],
    latency: float,
) -> Result:
    clock = float(answer.get("time") or 0.0) + latency / 2 - ctx.clock.now()
    free = int(answer.get("free") or 0)
    checks = [
        _check("authentication", True, f"as {greeting.get('user', '?')}", ""),
        _check("python3", True, ".".join(str(part) for part in greeting.get("python", ())), ""),
        _check(
            "directory", bool(answer.get("writable")),
            str(answer.get("dir")) + ("" if answer.get("writable") else f": {answer.get('message')}"),
            f"make it writable for {greeting.get('user', 'the user')}, or: dasctl update-node-ssh {node} --nodedir DIR",
        ),
        _check("free disk", free >= LOW_DISK, f"{free >> 20} MiB", f"free some space on {domain.nodes[node].host}"),
        _check(
            "clock", abs(clock) <= CLOCK_TOLERANCE_S, f"{clock:+.2f} s",
            "let both clocks be kept by NTP: systemctl enable --now systemd-timesyncd",
        ),
    ]  # fmt: skip
    failing = [check for check in checks if not check["ok"]]
    error = None
    if failing:
        error = Problem(
            message=f"node {node}: " + "; ".join(f"{check['check']}: {check['detail']}" for check in failing),
            hint="\n".join(check["remedy"] for check in failing),
        )
    fields = {
        "host": domain.nodes[node].host,
        "python": checks[1]["detail"],
        "dir": answer.get("dir"),
        "writable": bool(answer.get("writable")),
        "free_bytes": free,
        "clock_difference_s": round(clock, 3),
        "latency_ms": round(latency * 1000, 1),
        "checks": checks,
    }
    return Result(status=FAILED if failing else OK, node=node, fields=fields, error=error)


def _check(name: str, ok: bool, detail: str, remedy: str) -> dict[str, Any]:
    return {"check": name, "ok": ok, "detail": detail, "remedy": "" if ok else remedy}
