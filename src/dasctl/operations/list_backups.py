"""`list-backups`: the backups in a folder, the youngest first."""

from __future__ import annotations

from pathlib import Path

from dasctl.core.backups import BackupFile
from dasctl.core.outcome import OK, Outcome, Result, summed_up
from dasctl.operations.looking import utc_text
from dasctl.operations.member_ports import Outside

COMMAND = "list-backups"
DAMAGED = "damaged"


async def list_backups(
    outside: Outside, *, folder: Path | None = None, domain: Path | None = None
) -> Outcome:
    """One row per backup in `folder` (None: that of the domain `domain`); of each only beginning and end are read."""
    assert outside.backups is not None
    assert outside.restoring is not None
    if folder is None:
        place = outside.backups.folder(outside.restoring.find(domain))
    else:
        place = folder.expanduser().absolute()
    found = outside.backups.listed(place)
    found.sort(
        key=lambda each: (each.facts.made if each.facts is not None else 0.0, each.path.name), reverse=True
    )
    notes = () if found else (f"no backups in {place}",)
    faults = tuple(each.fault for each in found if each.facts is None)
    return summed_up(COMMAND, [_row(each) for each in found], changed=True, notes=notes, warnings=faults)


def _row(found: BackupFile) -> Result:
    fields = {"file": str(found.path), "size": found.size}
    if found.facts is None:
        return Result(status=DAMAGED, fields={**fields, "fault": found.fault})
    facts = found.facts
    return Result(
        status=OK,
        fields={
            **fields, "domain": facts.domain, "made": utc_text(facts.made), "revision": facts.revision,
            "when": utc_text(facts.when), "history": facts.history, "files": facts.files,
            "who": f"{facts.who}@{facts.host}",
        },
    )  # fmt: skip
