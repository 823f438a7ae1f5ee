"""`stop-local-instance`: stops the instance; the DAS is not asked."""

from __future__ import annotations

from pathlib import Path

from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.core.verdicts import Verdict
from dasctl.operations.local import Place, asked_locally, place_of
from dasctl.operations.member_ports import Outside
from dasctl.remote import words


async def stop_local_instance(
    outside: Outside, name: str | None = None, *, node_dir: Path | None = None, kill: bool = False
) -> Outcome:
    """Stop the instance, and wait until it has ended; `kill` ends one that outlives its grace period."""
    place = place_of(outside, name, node_dir)
    verdict = await asked_locally(outside, place, words.STOP, kill=kill, grace=None)
    return summed_up("stop-local-instance", [_row(place, verdict)])


def _row(place: Place, verdict: Verdict) -> Result:
    fields = {"state": words.NOT_RUNNING}
    if verdict.verdict == words.UNCHANGED:
        return Result(
            status="unchanged", instance=place.name, node=place.node, fields=fields, note="was not running"
        )
    note = "killed after its grace period" if verdict.more.get("how") == "KILL" else ""
    return Result(status="stopped", instance=place.name, node=place.node, fields=fields, note=note)
