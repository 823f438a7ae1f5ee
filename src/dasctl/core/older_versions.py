"""An older version of an application for some of those who have it: what `versions` of domain.yaml says of them then, and
the folder that the version lies in.

What lives here: which versions can be had alone, which entries of the old state become the folder. What must not: what else
is taken back (`taking_back.py`), files.

A version without a number, which was made by hand, has no folder of its own, so it cannot be had alone. Neither can one of
which another archive is kept by now: two contents would have one name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from dasctl.core import areas, deploying
from dasctl.core.changes import Change
from dasctl.core.domain import Application, Domain
from dasctl.core.moves import is_within
from dasctl.remote.manifest import Entry

Entries = Mapping[bytes, Entry]
CanBeHad = Callable[
    [str, str], bool
]  # whether a version of an application (its name, the version) can be had alone


def with_versions(
    entry: Application,
    there: Application,
    domains: tuple[Domain, Domain],
    targets: Iterable[str],
    can: Callable[[str], bool],
) -> Application:
    """`entry` of today's domain with the versions that these had as `there` says. `domains`: today's, and that of then.

    Clusters among the targets come first, as their instances may differ from them.
    """
    now, then = domains
    for target in targets:
        had = deploying.versions_at(then, there, [target]).get(target)
        has = deploying.versions_at(now, entry, [target])
        if had is not None and target in has and has[target] != had and can(had):
            entry = msgspec.structs.replace(entry, versions={**entry.versions, target: had})
    return entry


def can_be_had(now: tuple[Domain, Entries], then: tuple[Domain, Entries]) -> CanBeHad:
    """`now` and `then`: the domains with all that lies in their folders."""

    def judged(name: str, version: str) -> bool:
        archive = areas.internal(name, version)
        kept, was = (
            {path: e.digest for path, e in entries.items() if e.kind == "f" and is_within(path, archive)}
            for _, entries in (now, then)
        )
        has_folder = any(_folder(domain, name, version) in entries for domain, entries in (now, then))
        return has_folder and kept in ({}, was)

    return judged


def folders(
    after: Domain, wanted: Entries, then: tuple[Domain, Entries], names: frozenset[str]
) -> Iterator[Change]:
    """The folders of versions that these instances get, and that the repository would not have: they lay elsewhere then.

    `after`: the domain as it will be, `wanted`: what it would hold.
    """
    old, entries = then
    for name, entry in after.applications.items():
        mine = {here.version for who, here in deploying.having(after, entry).items() if who in names}
        for area, version in deploying.folders(name, entry).items():
            lay = _folder(old, name, version) if version in mine else None
            if lay is None or area in wanted or lay not in entries:
                continue
            for path, found in entries.items():
                if is_within(path, lay):
                    moved = area + path[len(lay) :]
                    yield Change(path=moved, old=None, new=found._replace(path=moved))


def of_other_versions(after: Domain, then: Domain) -> frozenset[bytes]:
    """The folders that will hold another version than they held then: nothing of that belongs there."""
    found = set()
    for name, entry in after.applications.items():
        held = deploying.folders(name, then.applications.get(name))
        folders = deploying.folders(name, entry)
        found |= {area for area, version in folders.items() if held.get(area, version) != version}
    return frozenset(found)


def _folder(domain: Domain, name: str, version: str | None) -> bytes | None:
    """Where a version lies; None where nobody has it."""
    found = deploying.folders(name, domain.applications.get(name))
    return next((area for area, held in found.items() if held == version and version is not None), None)
