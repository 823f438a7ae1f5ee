"""`list-applications`: what is deployed where, in which version, from which archive. No node is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dasctl.core import deploying
from dasctl.core import targets as target_names
from dasctl.core.deployment_records import Record
from dasctl.core.deployments import UNKNOWN
from dasctl.core.domain import Application, Domain
from dasctl.core.outcome import Outcome, Result, summed_up
from dasctl.core.sizes import size_text
from dasctl.operations.deployed import Known, all_known
from dasctl.operations.looking import utc_text
from dasctl.operations.ports import Context


async def list_applications(ctx: Context, targets: Sequence[str] = (), *, long: bool = False) -> Outcome:
    """A row per application and version; with `targets` those alone that are deployed to one of them, or of their instances.

    Versions that are active nowhere are told with `long`, or where an application is deployed nowhere.
    """
    domain = ctx.store.load()
    wanted = _wanted(domain, targets) if targets else None
    scan = ctx.repository.scan(domain, criterion=domain.domain.criterion)
    found = all_known(ctx, domain, {area.digest: area.data for area in scan.areas.values()})
    rows = [
        row for known in found.values() if known.entry is not None
        for row in _rows(domain, known, known.entry, wanted, long=long)
    ]  # fmt: skip
    kept = sum(record.size for known in found.values() for record in known.records.values())
    notes = (
        (f"all archives together take {size_text(kept)} in applications/__internal",) if long and kept else ()
    )
    return summed_up("list-applications", rows, changed=True, notes=notes)


def _wanted(domain: Domain, targets: Sequence[str]) -> set[str]:
    """The instances that are meant, and the clusters: one may have no instance yet."""
    clusters = set(deploying.targets_of(domain, targets)) & {*domain.clusters}
    return {*target_names.resolve(domain, targets), *clusters}


def _rows(
    domain: Domain, known: Known, entry: Application, wanted: set[str] | None, *, long: bool
) -> Iterator[Result]:
    having = deploying.having(domain, entry)
    if wanted is not None and not wanted & {*having, *entry.targets}:
        return
    versions: list[str | None] = [
        *known.records,
        *({entry.version, *entry.versions.values()} - {*known.records}),
    ]
    for version in versions:
        holders = deploying.active_at(domain, entry, version)
        there = [name for name, here in having.items() if here.version == version and here.enabled]
        meant = {name for name, here in having.items() if here.version == version} | {*holders}
        if wanted is not None and not (wanted & meant) and not (long and version is not None):
            continue
        if holders or long or (not having and version == entry.version):
            yield _row(domain, known, entry, version, holders, there)


def _row(
    domain: Domain,
    known: Known,
    entry: Application,
    version: str | None,
    holders: list[str],
    there: list[str],
) -> Result:
    enabled = [name for name in holders if deploying.is_enabled_at(entry, domain, name)]
    fields = {
        "application": known.name, "version": version or UNKNOWN, "active": bool(holders), "targets": holders,
        "enabled": enabled, "disabled": [name for name in holders if name not in enabled], "instances": there,
    }  # fmt: skip
    record = known.records.get(version or "")
    return Result(status="listed", fields=fields | _archive(record))


def _archive(record: Record | None) -> dict[str, object]:
    if record is None:
        return dict.fromkeys(
            ("archive", "sha256", "bytes", "unpacked", "files", "when", "who", "host", "from")
        )
    return {
        "archive": record.archive, "sha256": record.sha256, "bytes": record.size, "unpacked": record.unpacked,
        "files": record.files, "when": utc_text(record.when), "who": record.who, "host": record.host,
        "from": record.origin,
    }  # fmt: skip
