"""Which application goes to which instance, in which version, and from which folder of the repository.

What lives here: what `targets`, `version`, `versions` and `disabled` of domain.yaml mean together. What must not: changes of
them (`deploying.py`), files.

The most specific word wins: what is said of an instance, in any of the keys, over what is said of its cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dasctl.core import areas
from dasctl.core.domain import Application, Domain
from dasctl.remote.paths import printable

UNKNOWN = "-"  # the version of an application that was made by hand: no archive, no number


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """An application at one target or instance. `version` None: that which `applications/NAME` holds, and it has none."""

    version: str | None
    enabled: bool


def at_target(application: Application, target: str) -> Deployed:
    """What `targets` and its companions say of a cluster or an instance by itself."""
    version = application.versions.get(target, application.version)
    return Deployed(version=version, enabled=target not in application.disabled)


def at_instance(domain: Domain, application: Application, instance: str) -> Deployed | None:
    """What an instance has of an application; None: it is not deployed there."""
    cluster = domain.instances[instance].cluster
    if instance in application.targets:
        return at_target(application, instance)
    if cluster is None or cluster not in application.targets:
        return None
    general = at_target(application, cluster)
    return Deployed(
        version=application.versions.get(instance, general.version),
        enabled=general.enabled and instance not in application.disabled,
    )


def is_known_at(domain: Domain, application: Application, name: str) -> bool:
    """Whether a cluster or an instance is a target, or belongs to one: only such can have a version, or be disabled."""
    entry = domain.instances.get(name)
    return name in application.targets or (entry is not None and entry.cluster in application.targets)


def version_of(application: Application, deployed: Deployed) -> str:
    """The version as people see it."""
    return deployed.version if deployed.version is not None else UNKNOWN


def area_of(name: str, application: Application, version: str | None) -> bytes:
    """The folder of the repository that holds an application in this version."""
    if version == application.version:
        return areas.application(name)
    return areas.version_of_application(name, version or UNKNOWN)


def areas_of(name: str, application: Application) -> Iterator[bytes]:
    """All folders of the repository that hold an application for somebody, its own first."""
    yield areas.application(name)
    for version in sorted({*application.versions.values()} - {application.version}):
        yield area_of(name, application, version)


class Deployments:
    """What every instance gets. Made once for a domain: an application is looked at only where it is named."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._named: dict[str, set[str]] = {}
        for name, application in domain.applications.items():
            for target in application.targets:
                self._named.setdefault(target, set()).add(name)

    def of(self, instance: str) -> dict[str, str]:
        """The applications' areas on the instance, in order, and the repository's areas that they come from."""
        found = {}
        for name in sorted(self._named_for(instance)):
            application = self._domain.applications[name]
            here = at_instance(self._domain, application, instance)
            if here is not None and here.enabled:
                source = area_of(name, application, here.version)
                found[printable(areas.application(name))] = printable(source)
        return found

    def _named_for(self, instance: str) -> set[str]:
        cluster = self._domain.instances[instance].cluster
        own = self._named.get(instance, set())
        return own if cluster is None else own | self._named.get(cluster, set())


def trees_of(domain: Domain) -> tuple[bytes, ...]:
    """The areas of a domain that are scanned with all that is in them, in order."""
    applications = [
        area for name in sorted(domain.applications) for area in areas_of(name, domain.applications[name])
    ]
    return (areas.CONFIG, areas.INTERNAL, *applications, areas.LIB, areas.DOCROOT)
