"""What commands make of an application's entry in domain.yaml: deployed, enabled, disabled, undeployed, another version.

What lives here: an entry in, an entry out; the edits and the folders that this amounts to. What must not: files, archives,
what the entry means to instances (`deployments.py`).

`applications/NAME` keeps the version that it holds as long as somebody has it; only the version that is being activated
takes its place. So no instance changes that the command was not about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from dasctl.core import areas
from dasctl.core.deployments import Deployed, area_of, areas_of, at_instance, at_target, is_known_at
from dasctl.core.domain import Application, Domain
from dasctl.core.edits import Drop, Edit, Put
from dasctl.core.targets import DOMAIN, fold, resolve, words_of
from dasctl.errors import UsageError


def targets_of(domain: Domain, words: Sequence[str]) -> tuple[str, ...]:
    """The clusters and instances that the words of `--target` mean, in the file's order, clusters first.

    `domain` is every cluster and every instance that belongs to none. Raises UsageError for a word that means nothing.
    """
    found: set[str] = set()
    for word in words_of(words):
        if word == DOMAIN:
            found.update(domain.clusters)
            found.update(name for name, entry in domain.instances.items() if entry.cluster is None)
        elif word in domain.clusters:
            found.add(word)
        else:
            found.update(resolve(domain, [word]))
    if words and not found:
        raise UsageError(f"there is nobody at {', '.join(words)}", hint="name a cluster or an instance")
    return tuple(name for name in (*domain.clusters, *domain.instances) if name in found)


def activated(
    domain: Domain, application: Application, version: str, targets: Iterable[str], *, enable: bool = True
) -> Application:
    """`version` is the active one at `targets`, and at all instances of those that are clusters.

    `enable`: they get it, whatever was disabled before; instances of a cluster that were disabled by themselves stay so.
    """
    chosen = set(targets)
    new = [name for name in chosen if not is_known_at(domain, application, name)]
    known = [*application.targets, *(name for name in _ordered(domain, new))]
    assigned = _assigned(application, known)
    for name in {*assigned, *chosen}:
        entry = domain.instances.get(name)
        if name in chosen or (entry is not None and entry.cluster in chosen):
            assigned[name] = version
    own = application.version if application.version in assigned.values() else version
    changed = _replaced(
        application, targets=known, version=own, versions=_others(domain, known, assigned, own)
    )
    if not enable:
        return changed
    changed = _enabled(domain, changed, chosen, members=False)
    return enabled(domain, changed, chosen & {*domain.instances})


def announced(domain: Domain, application: Application, version: str, targets: Iterable[str]) -> Application:
    """Targets that did not have it are told which version they will get, and are disabled until then."""
    new = [name for name in _ordered(domain, targets) if not is_known_at(domain, application, name)]
    changed = activated(domain, application, version, new, enable=False)
    return _replaced(changed, disabled=[*changed.disabled, *new])


def enabled(domain: Domain, application: Application, targets: Iterable[str]) -> Application:
    """`targets` get it. One that it was not deployed to is a target from now on."""
    changed = application
    for name in _ordered(domain, targets):
        if not is_known_at(domain, changed, name):
            changed = _replaced(changed, targets=[*changed.targets, name])
        changed = _enabled(domain, changed, {name}, members=True)
        here = at_instance(domain, changed, name) if name in domain.instances else None
        if (
            here is not None and not here.enabled
        ):  # its cluster is disabled: it is a target of its own from now on
            versions = {**changed.versions, name: here.version} if here.version else dict(changed.versions)
            own = {key: value for key, value in versions.items() if key != name or value != changed.version}
            changed = _replaced(changed, targets=[*changed.targets, name], versions=own)
    return changed


def disabled(domain: Domain, application: Application, targets: Iterable[str]) -> Application:
    """`targets`, which have it, do not get it any more; it stays deployed to them."""
    chosen = _ordered(domain, targets)
    more = [name for name in chosen if name not in application.disabled]
    members = [
        name for name in application.targets
        if name not in more and name not in application.disabled and _cluster(domain, name) in chosen
    ]  # fmt: skip
    return _replaced(application, disabled=[*application.disabled, *more, *members])


def refuse_foreign(domain: Domain, name: str, application: Application, targets: Sequence[str]) -> None:
    """Raise UsageError where there is no target, or one that does not have the application."""
    foreign = [target for target in targets if not is_known_at(domain, application, target)]
    if foreign or not targets:
        whom = f" to {fold(foreign)}" if foreign else " to anybody"
        there = f"it is deployed to: {fold(application.targets)}" if application.targets else ""
        raise UsageError(
            f"{name} is not deployed{whom}", hint=there or f"dasctl enable {name} --target TARGET deploys it"
        )


def instances_of(domain: Domain, targets: Iterable[str]) -> list[str]:
    """The instances among targets, and those of the clusters among them."""
    chosen = set(targets)
    return [name for name, entry in domain.instances.items() if name in chosen or entry.cluster in chosen]


def undeployed(domain: Domain, name: str, application: Application, targets: Iterable[str]) -> Application:
    """It is taken away from `targets`. Raises UsageError for one that it is not deployed to by itself."""
    gone = set(targets)
    for target in gone - set(application.targets):
        if is_known_at(domain, application, target):
            cluster = _cluster(domain, target)
            raise UsageError(
                f"{target} has {name} as a member of {cluster}: from one instance alone it cannot be undeployed",
                hint=f"dasctl disable {name} --target {target}",
            )
        raise UsageError(
            f"{name} is not deployed to {target}",
            hint=f"it is deployed to: {', '.join(application.targets) or 'nobody'}",
        )
    changed = _replaced(application, targets=[target for target in application.targets if target not in gone])
    known = {
        target for target in (*application.versions, *application.disabled) if is_known_at(domain, changed, target)
    }  # fmt: skip
    return _replaced(
        changed, versions={key: value for key, value in application.versions.items() if key in known},
        disabled=[target for target in application.disabled if target in known],
    )  # fmt: skip


def edits(name: str, before: Application | None, after: Application) -> list[Edit]:
    """What has to be changed in domain.yaml; what is empty is not written."""
    said: list[Edit] = []
    was = before or Application()
    for key in ("targets", "version", "versions", "disabled"):
        old, new = getattr(was, key), getattr(after, key)
        if old == new and before is not None:
            continue
        if new or key == "targets":
            said.append(Put(path=("applications", name, key), value=new))
        elif old:
            said.append(Drop(path=("applications", name, key)))
    return said


def folders(name: str, application: Application | None) -> dict[bytes, str | None]:
    """The folders of the repository that hold an application, and which version each of them holds."""
    if application is None:
        return {}
    versions = {application.version, *application.versions.values()}
    found = {area_of(name, application, version): version for version in versions}
    return {area: found[area] for area in areas_of(name, application)}


def next_version(known: Iterable[str]) -> str:
    """The next whole number: above all that are versions by now."""
    return str(
        max((int(version) for version in known if version.isdecimal() and version.isascii()), default=0) + 1
    )


def having(domain: Domain, application: Application | None) -> dict[str, Deployed]:
    """What every instance that it is deployed to has of it."""
    if application is None:
        return {}
    found = {name: at_instance(domain, application, name) for name in domain.instances}
    return {name: here for name, here in found.items() if here is not None}


def active_at(domain: Domain, application: Application, version: str | None) -> list[str]:
    """The targets, and the instances that differ from their cluster, at which `version` is the active one."""
    return [
        name for name in holders(domain, application) if _version_at(domain, application, name) == version
    ]


def holders(domain: Domain, application: Application) -> list[str]:
    """The targets, and those instances of which something of their own is said, in the file's order."""
    said = {*application.targets, *application.versions}
    return [name for name in (*domain.clusters, *domain.instances) if name in said]


def is_enabled_at(application: Application, domain: Domain, target: str) -> bool:
    """Whether a target, or an instance of one, gets it."""
    if target in domain.clusters:
        return target not in application.disabled
    here = at_instance(domain, application, target)
    return here is not None and here.enabled


def versions_at(domain: Domain, application: Application, targets: Iterable[str]) -> dict[str, str | None]:
    """The active version of each of these that has it."""
    return {
        name: _version_at(domain, application, name)
        for name in targets
        if is_known_at(domain, application, name)
    }


def _version_at(domain: Domain, application: Application, name: str) -> str | None:
    if name in domain.clusters:
        return at_target(application, name).version
    here = at_instance(domain, application, name)
    return here.version if here is not None else None


def _assigned(application: Application, known: Iterable[str]) -> dict[str, str | None]:
    assigned: dict[str, str | None] = dict(application.versions)
    for target in known:
        if target in application.targets:
            assigned.setdefault(target, application.version)
    return assigned


def _others(
    domain: Domain, known: Sequence[str], assigned: Mapping[str, str | None], own: str | None
) -> dict[str, str]:
    """What `versions` has to say: of targets, what is not `own`; of instances of a target, what is not their cluster's."""
    found = {}
    for name in _ordered(domain, assigned):
        version = assigned[name]
        usual = own if name in known else assigned.get(str(_cluster(domain, name)), own)
        if version is not None and version != usual:
            found[name] = version
    return found


def _enabled(domain: Domain, application: Application, chosen: set[str], *, members: bool) -> Application:
    left = [
        name for name in application.disabled
        if name not in chosen and not (members and _cluster(domain, name) in chosen)
    ]  # fmt: skip
    return _replaced(application, disabled=left)


def _cluster(domain: Domain, name: str) -> str | None:
    entry = domain.instances.get(name)
    return entry.cluster if entry is not None else None


def _ordered(domain: Domain, names: Iterable[str]) -> list[str]:
    wanted = set(names)
    return [name for name in (*domain.clusters, *domain.instances) if name in wanted]


def _replaced(application: Application, **changes: object) -> Application:
    return msgspec.structs.replace(application, **changes)


def strays(names: Iterable[bytes], name: str, application: Application | None) -> list[bytes]:
    """Folders below applications/ that carry the application's name, and that domain.yaml says nothing of."""
    own = areas.application(name)
    known = set(folders(name, application))
    mine = [folder for folder in names if folder == own or folder.startswith(own + b"~")]
    return sorted(folder for folder in mine if folder not in known)
