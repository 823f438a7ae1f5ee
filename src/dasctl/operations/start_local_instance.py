"""`start-local-instance`: synchronises from the DAS and starts; without the DAS it starts with what it has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.core.verdicts import Verdict
from dasctl.errors import DasctlError
from dasctl.operations.local import Place, asked_locally, place_of
from dasctl.operations.looking import utc_text
from dasctl.operations.member_ports import Outside
from dasctl.operations.membership import is_away, synchronised_from_das, went_away
from dasctl.remote import words

COMMAND = "start-local-instance"
SYNC_COLUMNS = ("files_changed", "files_deleted", "bytes_sent", "deviations")


async def start_local_instance(
    outside: Outside,
    name: str | None = None,
    *,
    node_dir: Path | None = None,
    sync: Literal["none", "normal", "full"] = "normal",
) -> Outcome:
    """Start the instance, and wait until it is ready. Only a DAS that is away is passed over, never its refusal."""
    place = place_of(outside, name, node_dir)
    synced, warnings = await _synchronised(outside, place, sync)
    if synced is not None and synced.exit_code:
        return synced
    place = replace(place, standing=outside.node_dirs.standing(place.node_dir, place.name))
    verdict = await asked_locally(outside, place, words.START, wait=True)
    return summed_up(
        COMMAND, [_row(place, verdict, synced)], warnings=warnings,
        revision=place.standing.get("revision") if place.standing is not None else None,
    )  # fmt: skip


async def _synchronised(outside: Outside, place: Place, sync: str) -> tuple[Outcome | None, tuple[str, ...]]:
    """What the DAS made of it, or None and the warning that says why not."""
    if sync == "none":
        return None, ()
    if place.coordinates is None:
        return None, (f"nothing in {place.node_dir} says where the DAS is: not synchronised",)
    try:
        outcome = await synchronised_from_das(outside, place, command=COMMAND, full=sync == "full")
    except DasctlError as error:
        if not is_away(error):
            raise
        return None, (_without(place, error.message),)
    if went_away(outcome):
        return None, (_without(place, outcome.error.message if outcome.error is not None else ""),)
    return outcome, outcome.warnings


def _without(place: Place, why: str) -> str:
    return f"not synchronised, {place.name} starts with what it has: {why}"


def _row(place: Place, verdict: Verdict, synced: Outcome | None) -> Result:
    running = verdict.verdict == words.UNCHANGED
    columns: dict[str, Any] = {
        "state": words.RUNNING, "pid": verdict.more.get("pid"), "since": utc_text(verdict.more.get("since")),
        "revision": place.standing.get("revision") if place.standing is not None else None,
    }  # fmt: skip
    if synced is not None and synced.results:
        columns |= {key: synced.results[0].fields.get(key) for key in SYNC_COLUMNS}
    return Result(
        status="unchanged" if running else "started", instance=place.name, node=place.node, fields=columns,
        note="already running" if running else "",
    )  # fmt: skip
