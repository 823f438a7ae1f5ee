"""The judgement over a domain as a whole: what its entries mean to each other, and every rule that a type cannot say.

What lives here: faults (the domain is not used) and warnings (it is). What must not: types of single keys (`decoding.py`),
lines (the adapter), and whether folders exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from dasctl.core import areas, names, neighbours, software, targets, wellformed
from dasctl.core.definition import signal_name
from dasctl.core.deployments import is_known_at
from dasctl.core.domain import (
    FORMAT,
    Application,
    Aside,
    Config,
    Domain,
    Node,
    Ready,
    Reload,
    Stop,
)
from dasctl.core.faults import Fault, Path, no_such
from dasctl.core.properties import (
    PropertyError,
    Scope,
    scalar_text,
    scope,
)
from dasctl.remote import words

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_READY_KINDS = ("http", "tcp", "command", "log")


def faults(domain: Domain) -> tuple[Fault, ...]:
    """Everything that forbids using `domain`, in the order of the file's sections."""
    found = [
        *_settings(domain),
        *_areas(domain),
        *software.faults(domain),
        *_nodes(domain),
        *_configs(domain),
        *_clusters(domain),
        *_instances(domain),
        *_applications(domain),
    ]
    scopes = _scopes(domain)
    found += _unresolved(domain, scopes)
    found += [fault for fault, hard in neighbours.same_ports(domain, scopes) if hard]
    found += [fault for fault, hard in neighbours.nested_dirs(domain) if hard]
    return tuple(dict.fromkeys(found))


def warnings(domain: Domain) -> tuple[Fault, ...]:
    """What is odd in a valid `domain`, and does not keep it from working."""
    used = {domain.config_of(name) for name in domain.instances}
    used |= {entry.config for entry in domain.clusters.values()}
    found = [
        Fault(path=("configs", name), message="no cluster or instance uses this config")
        for name in domain.configs
        if name not in used
    ]
    found += [
        Fault(path=("applications", name), message="this application is deployed nowhere")
        for name, entry in domain.applications.items()
        if not entry.targets
    ]
    found += software.warnings(domain)
    found += _half_aside(domain)
    found += [fault for fault, hard in neighbours.same_ports(domain, _scopes(domain)) if not hard]
    found += [fault for fault, hard in neighbours.nested_dirs(domain) if not hard]
    return tuple(found)


# One section each.


def _settings(domain: Domain) -> Iterator[Fault]:
    settings = domain.domain
    if domain.format != FORMAT:
        yield Fault(path=("format",), message=f"expected {FORMAT}, found {domain.format}")
    yield from wellformed.name(settings.name, ("domain", "name"))
    if not _UUID.match(settings.id):
        yield Fault(
            path=("domain", "id"),
            message=f"{settings.id!r} is not a UUID; create-domain makes one, as does uuidgen",
        )
    if settings.revisions < 1:
        yield Fault(path=("domain", "revisions"), message="at least 1 revision is kept")
    yield from wellformed.chosen(settings, ("domain",))
    yield from wellformed.properties_of(settings.properties, ("domain", "properties"))


def _areas(domain: Domain) -> Iterator[Fault]:
    for name in words.AREAS:
        yield from wellformed.chosen(getattr(domain.areas, name), ("areas", name))


def _nodes(domain: Domain) -> Iterator[Fault]:
    for name, node in domain.nodes.items():
        path = ("nodes", name)
        yield from wellformed.name(name, path)
        yield from wellformed.word(node.host, (*path, "host"))
        if node.user is not None:
            yield from wellformed.word(node.user, (*path, "user"))
        if node.jump is not None:
            yield from wellformed.word(node.jump, (*path, "jump"))
        if node.key is not None and not node.key.strip():
            yield Fault(path=(*path, "key"), message="an empty path")
        if node.port is not None and not 1 <= node.port <= wellformed.MAX_PORT:
            yield Fault(
                path=(*path, "port"), message=f"a port is from 1 to {wellformed.MAX_PORT}, not {node.port}"
            )
        if node.dir is not None and (why := wellformed.why_no_dir(node.dir)) is not None:
            yield Fault(path=(*path, "dir"), message=why)
    yield from _jumps_in_circles(domain.nodes)


def _jumps_in_circles(nodes: Mapping[str, Node]) -> Iterator[Fault]:
    for name in nodes:
        seen = [name]
        while (jump := nodes[seen[-1]].jump) is not None and jump in nodes:
            if jump == name:
                way = " -> ".join([*seen, name])
                yield Fault(path=("nodes", name, "jump"), message=f"the jumps lead in a circle: {way}")
            if jump in seen:
                break
            seen.append(jump)


def _configs(domain: Domain) -> Iterator[Fault]:
    for name, config in domain.configs.items():
        path = ("configs", name)
        yield from wellformed.name(name, path)
        yield from _config(config, path)


def _config(config: Config, path: Path) -> Iterator[Fault]:
    if not config.start.strip():
        yield Fault(path=(*path, "start"), message="an empty command")
    if config.dump is not None and not config.dump.strip():
        yield Fault(path=(*path, "dump"), message="an empty command")
    for place, template, is_command in _templates(config, path):
        yield from wellformed.template(template, place, is_command=is_command)
    for key in config.env:
        if not names.is_variable(key):
            yield Fault(
                path=(*path, "env", key), message=f"{key!r} is not the name of an environment variable"
            )
        elif key.startswith("DASCTL_"):
            yield Fault(path=(*path, "env", key), message="names that begin with DASCTL_ are dasctl's own")
    yield from _ready(config.ready, (*path, "ready"))
    yield from _stop(config.stop, (*path, "stop"))
    if config.reload is not None:
        yield from _reload(config.reload, (*path, "reload"))
    for key, aside in (("drain", config.drain), ("undrain", config.undrain)):
        if aside is not None:
            yield from _aside(aside, (*path, key))
    yield from wellformed.patterns_in(config.restart_on, (*path, "restart-on"))
    yield from wellformed.chosen(config, path)
    yield from wellformed.properties_of(config.properties, (*path, "properties"))


def _ready(ready: Ready, path: Path) -> Iterator[Fault]:
    given = [kind for kind in _READY_KINDS if getattr(ready, kind) is not None]
    if len(given) > 1:
        yield Fault(
            path=path,
            message=f"only one of {', '.join(_READY_KINDS)} can be given, not {' and '.join(given)}",
        )
    yield from wellformed.duration(ready.timeout, (*path, "timeout"))
    if ready.command is not None and not ready.command.strip():
        yield Fault(path=(*path, "command"), message="an empty command")
    if ready.log is not None and "${" not in ready.log and (why := wellformed.why_no_regex(ready.log)):
        yield Fault(path=(*path, "log"), message=why)


def _stop(stop: Stop, path: Path) -> Iterator[Fault]:
    yield from _action(stop, path)
    yield from wellformed.duration(stop.grace, (*path, "grace"))


def _reload(reload: Reload, path: Path) -> Iterator[Fault]:
    if reload.signal is None and reload.command is None:
        yield Fault(path=path, message="one of signal, command must be given")
    yield from _action(reload, path)


def _aside(aside: Aside, path: Path) -> Iterator[Fault]:
    if not aside.command.strip():
        yield Fault(path=(*path, "command"), message="an empty command")
    yield from wellformed.duration(aside.timeout, (*path, "timeout"))
    yield from wellformed.duration(aside.wait, (*path, "wait"))


def _half_aside(domain: Domain) -> Iterator[Fault]:
    """Configs that say only one half of how a server leaves its load balancer and comes back."""
    for name, config in domain.configs.items():
        if config.drain is not None and config.undrain is None:
            message = "there is no undrain: after a rolling change nothing puts a server back"
            yield Fault(path=("configs", name, "drain"), message=message)
        if config.undrain is not None and config.drain is None:
            message = "there is no drain: a rolling change takes no server out before it stops it"
            yield Fault(path=("configs", name, "undrain"), message=message)


def _action(action: Stop | Reload, path: Path) -> Iterator[Fault]:
    if action.signal is not None and action.command is not None:
        yield Fault(path=path, message="only one of signal, command can be given")
    if action.command is not None and not action.command.strip():
        yield Fault(path=(*path, "command"), message="an empty command")
    if action.signal is not None and signal_name(action.signal) not in wellformed.signals():
        word = signal_name(action.signal)
        yield Fault(path=(*path, "signal"), message=no_such("signal", word, wellformed.signals()))


def _clusters(domain: Domain) -> Iterator[Fault]:
    for name, cluster in domain.clusters.items():
        path = ("clusters", name)
        yield from wellformed.name(name, path)
        if cluster.config not in domain.configs:
            yield Fault(path=(*path, "config"), message=no_such("config", cluster.config, domain.configs))
        yield from wellformed.properties_of(cluster.properties, (*path, "properties"))


def _instances(domain: Domain) -> Iterator[Fault]:
    for name, entry in domain.instances.items():
        path = ("instances", name)
        yield from wellformed.name(name, path)
        if name in domain.clusters:
            yield Fault(
                path=path,
                message=f"there is a cluster named {name!r}, too: both would use config/{name}-config",
            )
        if entry.node not in domain.nodes:
            yield Fault(path=(*path, "node"), message=no_such("node", entry.node, domain.nodes))
        if (entry.cluster is None) == (entry.config is None):
            yield Fault(path=path, message="exactly one of cluster, config must be given")
        if entry.cluster is not None and entry.cluster not in domain.clusters:
            yield Fault(path=(*path, "cluster"), message=no_such("cluster", entry.cluster, domain.clusters))
        if entry.config is not None and entry.config not in domain.configs:
            yield Fault(path=(*path, "config"), message=no_such("config", entry.config, domain.configs))
        yield from wellformed.properties_of(entry.properties, (*path, "properties"))


def _applications(domain: Domain) -> Iterator[Fault]:
    choices = [*domain.clusters, *domain.instances]
    for name, entry in domain.applications.items():
        yield from wellformed.name(name, ("applications", name))
        yield from wellformed.chosen(entry, ("applications", name))
        for number, target in enumerate(entry.targets):
            if target not in domain.clusters and target not in domain.instances:
                yield Fault(
                    path=("applications", name, "targets", str(number)),
                    message=no_such("cluster or instance", target, choices),
                )
        yield from _versions(domain, name, entry)


def _versions(domain: Domain, name: str, entry: Application) -> Iterator[Fault]:
    path = ("applications", name)
    if name == areas.INTERNAL_NAME:
        yield Fault(
            path=path, message=f"{name!r} is the folder of the archives, so no application has this name"
        )
    if entry.version is not None and (why := names.fault_of_version(entry.version)):
        yield Fault(path=(*path, "version"), message=why)
    for target, version in entry.versions.items():
        if why := names.fault_of_version(version):
            yield Fault(path=(*path, "versions", target), message=why)
        if version != entry.version and len(folder := f"{name}~{version}") > names.MAX_NAME:
            message = f"the folder of this version, {folder!r}, has more than {names.MAX_NAME} characters"
            yield Fault(path=(*path, "versions", target), message=message)
    said = [(target, ("versions", target)) for target in entry.versions]
    said += [(target, ("disabled", str(number))) for number, target in enumerate(entry.disabled)]
    for target, place in said:
        if not is_known_at(domain, entry, target):
            yield Fault(
                path=(*path, *place),
                message=f"{target!r} is no target of it, nor an instance of one ({', '.join(entry.targets) or 'none'})",
            )


# Across sections: properties and ports.


def _scopes(domain: Domain) -> dict[str, Scope]:
    """The scope of every instance whose references hold."""
    return {name: scope(domain, name) for name in domain.instances if _is_whole(domain, name)}


def _is_whole(domain: Domain, instance: str) -> bool:
    entry = domain.instances[instance]
    if entry.node not in domain.nodes or (entry.cluster is None) == (entry.config is None):
        return False
    if entry.cluster is not None and entry.cluster not in domain.clusters:
        return False
    return domain.config_of(instance) in domain.configs


def _unresolved(domain: Domain, scopes: Mapping[str, Scope]) -> Iterator[Fault]:
    """What some instance cannot resolve; one fault for all instances with the same trouble."""
    troubled: dict[tuple[Path, str], list[str]] = {}
    for name, known in scopes.items():
        for path, message in dict.fromkeys(_troubles(domain, name, known)):
            troubled.setdefault((path, message), []).append(name)
    for (path, message), instances in troubled.items():
        if message.startswith("no property") and path[:2] != ("instances", instances[0]):
            head, _, tail = message.partition(";")
            message = f"{head} for {targets.fold(instances)}" + (f";{tail}" if tail else "")
        yield Fault(path=path, message=message)


def _troubles(domain: Domain, instance: str, known: Scope) -> Iterator[tuple[Path, str]]:
    for name in known.given:
        try:
            known.value(name)
        except PropertyError as error:
            yield error.path or known.places[name], error.message
            yield from _unknown(known, known.given[name], known.places[name], is_command=False)
    path = ("configs", domain.config_of(instance))
    config = domain.configs[domain.config_of(instance)]
    for place, template, is_command in _templates(config, path):
        try:
            value = known.command(template) if is_command else known.text(template)
        except PropertyError as error:
            if not _is_malformed(template, is_command=is_command):  # told already, for the config
                yield error.path or place, error.message
                yield from _unknown(known, template, place, is_command=is_command)
        else:
            why = _CHECKS[place[2:]](value) if place[2:] in _CHECKS else None
            if why is not None:
                yield place, why


def _unknown(known: Scope, template: str, place: Path, *, is_command: bool) -> Iterator[tuple[Path, str]]:
    """All unknown names of `template`, not only the first; those of other properties are told where they stand."""
    if not _is_malformed(template, is_command=is_command):
        yield from (
            (place, error.message)
            for error in known.unknown(template, is_command=is_command)
            if not error.path
        )


def _templates(config: Config, path: Path) -> Iterator[tuple[Path, str, bool]]:
    """(path, template, whether it is a command) of everything in `config` that may hold `${name}`."""
    yield (*path, "start"), config.start, True
    for key, value in config.env.items():
        yield (*path, "env", key), scalar_text(value), False
    ready = config.ready
    for kind, template in (("http", ready.http), ("tcp", ready.tcp), ("log", ready.log)):
        if template is not None:
            yield (*path, "ready", kind), str(template), False
    for key, command in (
        ("ready", ready.command),
        ("stop", config.stop.command),
        ("reload", config.reload.command if config.reload is not None else None),
        ("drain", config.drain.command if config.drain is not None else None),
        ("undrain", config.undrain.command if config.undrain is not None else None),
    ):
        if command is not None:
            yield (*path, key, "command"), command, True
    if config.dump is not None:
        yield (*path, "dump"), config.dump, True


def _is_malformed(template: str, *, is_command: bool) -> bool:
    return any(True for _ in wellformed.template(template, (), is_command=is_command))


_CHECKS: dict[Path, Callable[[str], str | None]] = {
    ("ready", "http"): wellformed.why_no_url,
    ("ready", "tcp"): wellformed.why_no_address,
    ("ready", "log"): wellformed.why_no_regex,
}
