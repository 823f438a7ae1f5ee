"""`verify-domain`: the whole of domain.yaml, the chain of revisions, and what of the repository would not be synchronised,
or would be lost.
"""

from __future__ import annotations

from dasctl.core.domain import Domain
from dasctl.core.faults import Fault
from dasctl.core.idle_patterns import idle
from dasctl.core.outcome import OK, Outcome, Result, summed_up
from dasctl.core.slices import Scan
from dasctl.errors import InvalidDomain
from dasctl.operations.consenting import mass_deletions
from dasctl.operations.ports import Context
from dasctl.operations.recording import remembered, slices_in, told_of
from dasctl.operations.sync import sync_options


async def verify_domain(ctx: Context) -> Outcome:
    """Raises InvalidDomain with all faults, HistoryError where the chain of revisions was altered; warnings name what is
    valid but surprising.
    """
    domain = ctx.store.load()
    ctx.history.verify()
    scan = ctx.repository.scan(domain, criterion=domain.domain.criterion)
    found = slices_in(ctx, domain, scan)
    refused = told_of(found, refused=True)
    if refused:
        raise InvalidDomain(
            "the repository has links that are refused",
            faults=refused,
            hint="let them point to something in the same domain, or exclude them in config/domain.yaml",
        )
    names = tuple(domain.instances)
    losses = mass_deletions(ctx, domain, found, remembered(ctx, domain, names), names, sync_options(domain))
    warnings = [
        *ctx.store.warnings(domain), *_idle_patterns(ctx, domain, scan), *told_of(found, refused=False), *losses,
    ]  # fmt: skip
    counts = {
        "domain": domain.domain.name, "nodes": len(domain.nodes), "clusters": len(domain.clusters),
        "instances": len(domain.instances), "applications": len(domain.applications),
    }  # fmt: skip
    row = Result(status=OK, fields=counts)
    return summed_up("verify-domain", [row], warnings=tuple(warnings), changed=True)


def _idle_patterns(ctx: Context, domain: Domain, scan: Scan) -> list[str]:
    found: tuple[Fault, ...] = idle(domain, scan, ctx.repository.names())
    return [f"{ctx.store.place(warning.path)}: {warning}" for warning in found]
