"""Which revisions changed what instances need: their slices are made again from what is kept, and compared.

What lives here: the comparison, and what cannot be known. What must not: how a slice is made (`core/slices.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dasctl.core import areas, bundles, slices
from dasctl.core import targets as target_names
from dasctl.core.definition import definition
from dasctl.core.domain import Domain
from dasctl.core.stamps import Revision
from dasctl.errors import DasctlError, UsageError
from dasctl.operations.past import MOST_LOOKED_AT, Past, past
from dasctl.operations.ports import Context
from dasctl.remote.manifest import Entry, digest_of, slice_digest
from dasctl.remote.paths import from_printable

Needs = dict[str, str]  # instance to the digest of its slice, without modtimes of folders

# The modtime of a folder changes with whatever comes or goes in it, for others too, and is nobody's news.
_FOLDER = re.compile(rb"((?:\A|\0)d [0-7]+ \d+ )-?\d+")


def tracing(
    ctx: Context, targets: Sequence[str], limit: int | None
) -> tuple[list[Revision], tuple[str, ...]]:
    """The revisions that changed what the targets' instances need, the newest first, and what is not known.

    A target is what it was at each revision: a cluster's members of then. Raises UsageError where it means nothing now and
    meant nothing then.
    """
    known = ctx.history.revisions(limit=MOST_LOOKED_AT)
    look = _Look(ctx, targets)
    found: list[Revision] = []
    unknown: list[int] = []
    newer: tuple[Revision, Needs] | None = None
    for revision in known:
        if limit is not None and len(found) >= limit:
            break
        needs = look.needs(revision)
        if newer is not None:
            if needs is None:
                unknown.append(newer[0].number)
            elif needs != newer[1]:
                found.append(newer[0])
        if needs is None:
            newer = None
            unknown.append(revision.number)
            continue
        newer = (revision, needs)
    if newer is not None and (limit is None or len(found) < limit) and newer[0] is known[-1] and newer[1]:
        found.append(newer[0])  # the first of all
    if not look.meant:
        target_names.resolve(ctx.store.load(), targets)  # says what is wrong with the words
    return found[:limit], _not_known(sorted(set(unknown)))


def _not_known(numbers: Sequence[int]) -> tuple[str, ...]:
    match numbers:
        case []:
            return ()
        case [number]:
            return (
                f"not known of revision {number}: it, or the one before, is not kept as a whole any more",
            )
    told = (
        f"revisions {numbers[0]} to {numbers[-1]}: they, or the ones before, are not kept as a whole any more"
    )
    return (f"not known of {told}",)


class _Look:
    """One look at what instances needed; a text of domain.yaml is judged once."""

    def __init__(self, ctx: Context, targets: Sequence[str]) -> None:
        self._ctx = ctx
        self._targets = targets
        self._domains: dict[bytes, tuple[Domain, Mapping[str, Entry]] | None] = {}
        self._digests: dict[str, str] = {}
        self.meant = False

    def needs(self, revision: Revision) -> Needs | None:
        """What each of the targets' instances needed; None where that is not known."""
        try:
            then = past(self._ctx, revision.number)
            described = self._described(then)
            return self._needs(then, *described) if described is not None else None
        except UsageError:
            raise
        except DasctlError:
            return None  # kept no more, or damaged

    def _described(self, then: Past) -> tuple[Domain, Mapping[str, Entry]] | None:
        """The domain of then, and its instances' own parts."""
        text = then.domain_text
        if text is None:
            return None
        if text not in self._domains:
            try:
                domain = self._ctx.store.parsed(text)
                self._domains[text] = domain, {name: _definition(domain, name) for name in domain.instances}
            except DasctlError:
                self._domains[text] = None  # its format was another one
        return self._domains[text]

    def _needs(self, then: Past, domain: Domain, definitions: Mapping[str, Entry]) -> Needs:
        try:
            names = target_names.resolve(domain, self._targets)
        except UsageError:
            return {}  # nothing was called that
        self.meant = True
        built = slices.build(domain, bundles.scan_of(then.parts, then.revision.state), definitions)
        return {name: slice_digest(self._listing(built.by_instance[name])) for name in names}

    def _listing(self, wanted: slices.Slice) -> list[tuple[str, str]]:
        return [(part.name, self._digest(part)) for part in wanted.parts]

    def _digest(self, part: slices.Part) -> str:
        if part.digest not in self._digests:
            self._digests[part.digest] = digest_of(_FOLDER.sub(rb"\g<1>0", part.data))
        return self._digests[part.digest]


def _definition(domain: Domain, name: str) -> Entry:
    """Without a modtime, which no revision records."""
    data = definition(domain, name)
    path = areas.DEFINITIONS + b"/" + from_printable(name) + b".json"
    return Entry(path, "f", 0o644, len(data), 0, digest_of(data).encode("ascii"))
