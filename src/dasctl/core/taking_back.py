"""What of an earlier state is taken back for some instances, and what stays because others have it too.

What lives here: the edits of domain.yaml, which files are whose, sentences about what stays. What must not: files
(`restoring.py`), text.

The rule: something is taken back where nobody else has it, now or then (`shared`: also where others have it). An
application that others have too is taken back as far as its `targets`, `versions` and `disabled` name the instances, and as
far as they can have their version alone (`older_versions.py`). Who is in the cluster, and on which node, stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from dasctl.core import areas
from dasctl.core.changes import Change, area_of, counted
from dasctl.core.deploying import versions_at
from dasctl.core.deployments import Deployments, is_known_at
from dasctl.core.domain import Application, Domain
from dasctl.core.edits import Drop, Edit, Put
from dasctl.core.older_versions import CanBeHad, with_versions
from dasctl.core.overlays import ConfigFolder
from dasctl.core.targets import fold
from dasctl.remote.manifest import Entry
from dasctl.remote.paths import printable

MEMBERSHIP = ("node", "cluster")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The paths that are taken back, and a line for each thing that is not."""

    paths: frozenset[bytes]
    left: tuple[str, ...]


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
                self._application(name, here, there)

    def _application(self, name: str, here: Application | None, there: Application | None) -> None:
        path = ("applications", name)
        own = {target for entry in (here, there) if entry for target in entry.targets if self._is_own(target)}
        # Versions and what is disabled can be an instance's where the target is its whole cluster.
        said = own | {
            name for entry in (here, there) if entry for name in _named(entry) if self._is_own(name)
        }
        if own and here is not None and there is None and own >= {*here.targets}:
            self._edits.append(Drop(path=path))
        elif there is not None and own and (here is None or own >= {*here.targets}):
            kept = there if own >= {*there.targets} else self._known(_of(there, said))
            self._edits.append(Put(path=path, value=plain(kept)))
        elif here is not None and (said or there is not None):
            merged = self._known(_merged(here, there, said)) if said else here
            merged = self._with_versions(name, merged, there, own)
            if merged != here:
                self._edits.append(Put(path=path, value=plain(merged)))
            if there is not None and said and here.version != there.version and self._differs(merged, there):
                others = fold(target for target in here.targets if target not in own)
                self._left.append(f"the version of application {name}, which {others} has too")
        elif here is None and there is not None:
            self._gone(name, there)

    def _with_versions(
        self, name: str, entry: Application, there: Application | None, own: set[str]
    ) -> Application:
        if there is None:
            return entry
        targets = [name for name in (*self._now.clusters, *self._now.instances) if name in own | self._names]
        can = partial(self._can_be_had, name)
        return with_versions(entry, there, (self._now, self._then), targets, can)

    def _differs(self, entry: Application, there: Application) -> bool:
        """Whether some of them will have another version than they had."""
        return versions_at(self._now, entry, self._names) != versions_at(self._then, there, self._names)

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

    def _gone(self, name: str, there: Application) -> None:
        """An application that these had together with others, and that nobody has any more."""
        had = {
            member
            for target in there.targets
            for member in ({target} & {*self._then.instances}) | {*self._then.members(target)}
        }
        if had & self._names:
            self._left.append(f"application {name}, which {fold(sorted(had - self._names))} had too")

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


class _Whose:
    """Which instances get which path of the repository, in one state of it."""

    def __init__(self, domain: Domain, entries: Mapping[bytes, Entry]) -> None:
        self._all = frozenset(domain.instances)
        inside = [entry for path, entry in entries.items() if _is_config(path)]
        self._folder = ConfigFolder(inside, domain)
        self._by_layer: dict[bytes, set[str]] = {}
        self._by_area: dict[bytes, set[str]] = {}
        deployments = Deployments(domain)
        for name in domain.instances:
            for layer in self._folder.layers_of(name):
                self._by_layer.setdefault(layer, set()).add(name)
            for area in deployments.of(name).values():
                self._by_area.setdefault(area.encode("utf-8", "surrogateescape"), set()).add(name)

    def of(self, path: bytes) -> frozenset[str]:
        area = area_of(path)
        if area == areas.APPLICATIONS:
            return self._all
        if area.startswith(areas.APPLICATIONS + b"/"):
            return frozenset(self._by_area.get(area, ()))
        layer = self._folder.overlay_of(path) if area == areas.CONFIG else None
        return self._all if layer is None else frozenset(self._by_layer.get(layer, ()))


def _is_config(path: bytes) -> bool:
    return path != areas.DEFINITION and (path == areas.CONFIG or path.startswith(areas.CONFIG + b"/"))


def taken_of(
    found: Sequence[Change],
    names: frozenset[str],
    now: tuple[Domain, Mapping[bytes, Entry]],
    after: tuple[Domain, Mapping[bytes, Entry]],
    *,
    shared: bool = False,
    foreign: Collection[bytes] = (),
) -> Taken:
    """Which of the changes back to the old state concern these instances alone.

    `now` and `after` are the domains before and behind the edits, each with the entries that decide whose a file is;
    `foreign`: areas of which nothing can come back, for they hold something else by now.
    """
    before, behind = _Whose(*now), _Whose(*after)
    paths: set[bytes] = set()
    left: dict[bytes, list[Change]] = {}
    fresh = {change.path for change in found if change.new is not None and change.old is None}
    for change in found:
        if change.path == areas.DEFINITION:
            continue
        if _is_within(change.path, areas.INTERNAL):
            # An archive that may be needed again harms nobody; beside another one of its version it is rubbish.
            if (
                change.new
                and change.path in fresh
                and (change.new.kind == "d" or change.path.rpartition(b"/")[0] in fresh)
            ):
                paths.add(change.path)
            continue
        users = before.of(change.path) | behind.of(change.path)
        if users & names and (shared or users <= names) and area_of(change.path) not in foreign:
            paths.add(change.path)
        elif behind.of(change.path) & names and change.path not in (areas.APPLICATIONS, areas.CONFIG):
            left.setdefault(area_of(change.path), []).append(change)
    told = []
    for area, inside in left.items():
        others = _others(inside, names, before, behind)
        why = f"which {others} has too" if others else "which holds another version now"
        told.append(f"{counted(inside)} in {printable(area)}, {why}")
    return Taken(paths=frozenset(paths), left=tuple(told))


def _others(found: Sequence[Change], names: frozenset[str], *states: _Whose) -> str:
    users = {name for change in found for state in states for name in state.of(change.path)}
    return fold(sorted(users - names))


def _is_within(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")


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
