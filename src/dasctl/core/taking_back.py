"""What of an earlier state is taken back for some instances, and what stays because others have it too.

What lives here: the edits of domain.yaml, sentences about what stays. What must not: whose files are
(`taking_files_back.py`), text.

The rule: something is taken back where nobody else has it, now or then (`shared`: also where others have it). An
application that others have too is taken back as far as its `targets`, `versions` and `disabled` name the instances, and as
far as they can have their version alone (`older_versions.py`). Who is in the cluster, and on which node, stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from dasctl.core.deploying import having
from dasctl.core.deployments import is_known_at
from dasctl.core.domain import Application, Domain
from dasctl.core.edits import Drop, Edit, Put
from dasctl.core.older_versions import CanBeHad, with_versions
from dasctl.core.targets import fold

MEMBERSHIP = ("node", "cluster")


def plain(struct: msgspec.Struct) -> dict[str, Any]:
    """An entry of domain.yaml as it is written: the keys that are not at their defaults."""
    written: dict[str, Any] = msgspec.to_builtins(struct)
    bare = {
        field.encode_name: msgspec.to_builtins(_default(field))
        for field in msgspec.structs.fields(struct)
        if not field.required
    }
    return {key: value for key, value in written.items() if key not in bare or value != bare[key]}


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


def domain_edits(
    now: Domain, then: Domain, names: frozenset[str], *, shared: bool = False, can_be_had: CanBeHad
) -> tuple[list[Edit], list[str]]:
    """The edits of today's domain.yaml that take the instances' entries back, and a line for each that is not taken back."""
    return _DomainEdits(now, then, names, shared=shared, can_be_had=can_be_had).made()


class _DomainEdits:
    def __init__(
        self, now: Domain, then: Domain, names: frozenset[str], *, shared: bool, can_be_had: CanBeHad
    ) -> None:
        self._now, self._then, self._names, self._with_shared = now, then, names, shared
        self._can_be_had = can_be_had
        self._edits: list[Edit] = []
        self._left: list[str] = []

    def made(self) -> tuple[list[Edit], list[str]]:
        self._configs()
        self._clusters()
        self._instances()
        self._applications()
        others = [
            key
            for key in ("domain", "areas", "releases", "nodes")
            if getattr(self._now, key) != getattr(self._then, key)
        ]
        if others:
            self._left.append(f"config/domain.yaml: {', '.join(others)} (of the whole domain)")
        return self._edits, self._left

    def _configs(self) -> None:
        for name, entry in self._then.configs.items():
            users = _users(self._then, name) | _users(self._now, name)
            if not users & self._names or self._now.configs.get(name) == entry:
                continue
            if self._with_shared or users <= self._names:
                self._edits.append(Put(path=("configs", name), value=plain(entry)))
            else:
                self._shared(f"configs: {name}", users)

    def _clusters(self) -> None:
        for name, entry in self._then.clusters.items():
            members = _members(self._then, self._now, name)
            here = self._now.clusters.get(name)
            if here is None or here == entry or not members & self._names:
                continue
            if self._with_shared or members <= self._names:
                self._edits.append(Put(path=("clusters", name), value=plain(entry)))
            else:
                self._shared(f"clusters: {name}", members)

    def _instances(self) -> None:
        for name in self._now.instances:
            here, there = self._now.instances[name], self._then.instances.get(name)
            if name not in self._names or here == there:
                continue
            if there is None:
                self._left.append(f"{name} (it was not in the domain then)")
                continue
            if (here.node, here.cluster) != (there.node, there.cluster):
                was = there.node if there.cluster is None else f"{there.node}, cluster {there.cluster}"
                self._left.append(
                    f"where {name} is (then: {was}): who is in the cluster is taken back with all of it"
                )
            before, entry = plain(here), plain(there)
            if here.cluster != there.cluster:
                entry.pop("config", None)
                entry |= {"config": here.config} if here.config is not None else {}
            entry = {key: value for key, value in entry.items() if key not in MEMBERSHIP}
            entry = {key: before[key] for key in MEMBERSHIP if key in before} | entry
            if entry != before:
                self._edits.append(Put(path=("instances", name), value=entry))

    def _applications(self) -> None:
        for name in dict.fromkeys((*self._now.applications, *self._then.applications)):
            here, there = self._now.applications.get(name), self._then.applications.get(name)
            if here != there:
                self._tell(name, self._application(name, here, there), there)

    def _application(
        self, name: str, here: Application | None, there: Application | None
    ) -> Application | None:
        """Take it back as far as it can be; what becomes of it."""
        path = ("applications", name)
        own = {target for entry in (here, there) if entry for target in entry.targets if self._is_own(target)}
        # Versions and what is disabled can be an instance's where the target is its whole cluster.
        said = own | {
            name for entry in (here, there) if entry for name in _named(entry) if self._is_own(name)
        }
        if own and here is not None and there is None and own >= {*here.targets}:
            self._edits.append(Drop(path=path))
            return None
        after = here
        if there is not None and own and (here is None or own >= {*here.targets}):
            after = there if own >= {*there.targets} else self._known(_of(there, said))
        elif here is not None:
            after = self._known(_merged(here, there, said)) if said else here
            after = self._with_versions(name, after, there, own)
        if after is not None and after != here:
            self._edits.append(Put(path=path, value=plain(after)))
        return after

    def _with_versions(
        self, name: str, entry: Application, there: Application | None, own: set[str]
    ) -> Application:
        if there is None:
            return entry
        targets = [name for name in (*self._now.clusters, *self._now.instances) if name in own | self._names]
        can = partial(self._can_be_had, name)
        return with_versions(entry, there, (self._now, self._then), targets, can)

    def _known(self, entry: Application) -> Application:
        """An application that says nothing of those who are, or belong to, none of its targets."""
        return msgspec.structs.replace(
            entry,
            versions={
                name: version
                for name, version in entry.versions.items()
                if is_known_at(self._now, entry, name)
            },
            disabled=[name for name in entry.disabled if is_known_at(self._now, entry, name)],
        )

    def _tell(self, name: str, after: Application | None, there: Application | None) -> None:
        """What they will not have of it as they had it, since others have it too, or had."""
        had, has = _versions(self._then, there), _versions(self._now, after)
        mine = self._names & {*self._then.instances}
        gone = {one for one in mine if one in had and one not in has}
        more = {one for one in mine if one in has and one not in had}
        other = {one for one in mine - gone - more if had.get(one) != has.get(one)}
        if gone:
            self._left.append(f"application {name}{_whose(had, self._names, 'had')}")
        if more:
            self._left.append(f"application {name}{_whose(has, self._names, 'has')}")
        if other:
            self._left.append(f"the version of application {name}{_whose(has, self._names, 'has')}")

    def _is_own(self, target: str) -> bool:
        """Whether a target stands for these instances alone."""
        if target in self._names:
            return True
        members = _members(self._now, self._then, target)
        return bool(members & self._names) and (self._with_shared or members <= self._names)

    def _shared(self, what: str, users: Iterable[str]) -> None:
        others = fold(name for name in users if name not in self._names)
        self._left.append(f"{what} in config/domain.yaml, which {others} has too")


def _users(domain: Domain, config: str) -> set[str]:
    return {name for name in domain.instances if domain.config_of(name) == config}


def _members(one: Domain, other: Domain, cluster: str) -> set[str]:
    return {*one.members(cluster), *other.members(cluster)}


def _versions(domain: Domain, application: Application | None) -> dict[str, str | None]:
    """Who gets an application, and which version of it."""
    return {name: here.version for name, here in having(domain, application).items() if here.enabled}


def _whose(found: Iterable[str], names: frozenset[str], verb: str) -> str:
    others = sorted({*found} - names)
    return f", which {fold(others)} {verb} too" if others else ", of which the entry is their whole cluster's"


def _named(entry: Application) -> list[str]:
    """Whom an application speaks of beside its targets."""
    return [*entry.versions, *entry.disabled]


def _of(entry: Application, own: set[str]) -> Application:
    """An application for these targets alone."""
    return msgspec.structs.replace(
        entry,
        targets=[target for target in entry.targets if target in own],
        versions={target: version for target, version in entry.versions.items() if target in own},
        disabled=[target for target in entry.disabled if target in own],
    )


def _merged(here: Application, there: Application | None, own: set[str]) -> Application:
    """`here` for all others, and for these targets what `there` says."""
    then = there or Application()
    return msgspec.structs.replace(
        here,
        targets=_joined(here.targets, then.targets, own),
        versions={
            **{target: version for target, version in here.versions.items() if target not in own},
            **{target: version for target, version in then.versions.items() if target in own},
        },
        disabled=_joined(here.disabled, then.disabled, own),
    )


def _joined(here: Sequence[str], then: Sequence[str], own: set[str]) -> list[str]:
    kept = [target for target in here if target not in own or target in then]
    return [*kept, *(target for target in then if target in own and target not in kept)]


def membership_told(now: Domain, then: Domain) -> list[str]:
    """What a rollback of the whole domain means for who is in it, a line each."""
    told = []
    for name, entry in now.instances.items():
        if name not in then.instances:
            told.append(
                f"{name} is not in the domain any more: its server, if it runs, and its folder on node {entry.node} stay "
                "as they are"
            )
        elif then.instances[name].node != entry.node:
            told.append(
                f"{name} is on node {then.instances[name].node} again: what it has on node {entry.node} stays as it is"
            )
    back = [name for name in then.instances if name not in now.instances]
    if back:
        told.append(f"in the domain again: {fold(back)}")
    for noun, one, other in (("nodes", now.nodes, then.nodes), ("clusters", now.clusters, then.clusters)):
        gone, came = [name for name in one if name not in other], [name for name in other if name not in one]
        if gone:
            told.append(f"{noun} that are not in the domain any more: {fold(gone)}")
        if came:
            told.append(f"{noun} in the domain again: {fold(came)}")
    return told
