"""`verify-domain`: the whole of domain.yaml, and what of the repository would not be synchronised."""

from __future__ import annotations

from dasctl.core.outcome import OK, Outcome, Result, summed_up
from dasctl.errors import InvalidDomain
from dasctl.operations.ports import Context
from dasctl.operations.recording import slices_of, told_of


async def verify_domain(ctx: Context) -> Outcome:
    """Raises InvalidDomain with all faults; warnings name what is valid but surprising."""
    domain = ctx.store.load()
    found = slices_of(ctx, domain, criterion=domain.domain.criterion)
    refused = told_of(found, refused=True)
    if refused:
        raise InvalidDomain(
            "the repository has links that are refused",
            faults=refused,
            hint="let them point to something in the same domain, or exclude them in config/domain.yaml",
        )
    warnings = [*ctx.store.warnings(domain), *told_of(found, refused=False)]
    counts = {
        "domain": domain.domain.name, "nodes": len(domain.nodes), "clusters": len(domain.clusters),
        "instances": len(domain.instances), "applications": len(domain.applications),
    }  # fmt: skip
    row = Result(status=OK, fields=counts)
    return summed_up("verify-domain", [row], warnings=tuple(warnings), changed=True)
