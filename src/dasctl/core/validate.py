"""The judgement over a domain as a whole: what its entries mean to each other, and every rule that a type cannot say.

What lives here: faults (the domain is not used) and warnings (it is). What must not: types of single keys (`decoding.py`),
lines (the adapter), and whether folders exist.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from dasctl.core import names, patterns, targets
from dasctl.core.definition import signal_name
from dasctl.core.domain import (
    FORMAT,
    Application,
    Config,
    Domain,
    Duration,
    Node,
    Patterns,
    Ready,
    Reload,
    Scalar,
    Settings,
    Stop,
)
from dasctl.core.durations import seconds
from dasctl.core.faults import Fault, Path, no_such
from dasctl.core.properties import (
    BUILT_IN,
    PropertyError,
    Scope,
    scalar_text,
    scope,
    shell_pieces,
    text_pieces,
)
from dasctl.remote import words

MAX_PORT = 65535
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_READY_KINDS = ("http", "tcp", "command", "log")


def faults(domain: Domain) -> tuple[Fault, ...]:
    """Everything that forbids using `domain`, in the order of the file's sections."""
    found = [
        *_settings(domain),
        *_areas(domain),
        *_nodes(domain),
        *_configs(domain),
        *_clusters(domain),
        *_instances(domain),
        *_applications(domain),
    ]
    scopes = _scopes(domain)
    found += _unresolved(domain, scopes)
    found += [fault for fault, hard in _same_ports(domain, scopes) if hard]
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
    found += [fault for fault, hard in _same_ports(domain, _scopes(domain)) if not hard]
    return tuple(found)


# One section each.


def _settings(domain: Domain) -> Iterator[Fault]:
    settings = domain.domain
    if domain.format != FORMAT:
        yield Fault(path=("format",), message=f"expected {FORMAT}, found {domain.format}")
    yield from _name(settings.name, ("domain", "name"))
    if not _UUID.match(settings.id):
        yield Fault(
            path=("domain", "id"),
            message=f"{settings.id!r} is not a UUID; create-domain makes one, as does uuidgen",
        )
    if settings.revisions < 1:
        yield Fault(path=("domain", "revisions"), message="at least 1 revision is kept")
    yield from _chosen(settings, ("domain",))
    yield from _properties(settings.properties, ("domain", "properties"))


def _areas(domain: Domain) -> Iterator[Fault]:
    for name in words.AREAS:
        yield from _chosen(getattr(domain.areas, name), ("areas", name))


def _nodes(domain: Domain) -> Iterator[Fault]:
    for name, node in domain.nodes.items():
        path = ("nodes", name)
        yield from _name(name, path)
        yield from _word(node.host, (*path, "host"))
        if node.user is not None:
            yield from _word(node.user, (*path, "user"))
        if node.jump is not None:
            yield from _word(node.jump, (*path, "jump"))
        if node.key is not None and not node.key.strip():
            yield Fault(path=(*path, "key"), message="an empty path")
        if node.port is not None and not 1 <= node.port <= MAX_PORT:
            yield Fault(path=(*path, "port"), message=f"a port is from 1 to {MAX_PORT}, not {node.port}")
        if node.dir is not None and (why := _why_no_dir(node.dir)) is not None:
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


def _why_no_dir(text: str) -> str | None:
    if not (text.startswith(("/", "~/")) and text.strip("/~")):
        return f"{text!r} is neither absolute nor begins with '~/'"
    if ".." in text.split("/"):
        return f"{text!r} contains '..'"
    if any(ord(char) < 32 for char in text):
        return f"{text!r} contains a control character"
    return None


def _configs(domain: Domain) -> Iterator[Fault]:
    for name, config in domain.configs.items():
        path = ("configs", name)
        yield from _name(name, path)
        yield from _config(config, path)


def _config(config: Config, path: Path) -> Iterator[Fault]:
    if not config.start.strip():
        yield Fault(path=(*path, "start"), message="an empty command")
    for place, template, is_command in _templates(config, path):
        yield from _template(template, place, is_command=is_command)
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
    yield from _patterns(config.restart_on, (*path, "restart-on"))
    yield from _chosen(config, path)
    yield from _properties(config.properties, (*path, "properties"))


def _ready(ready: Ready, path: Path) -> Iterator[Fault]:
    given = [kind for kind in _READY_KINDS if getattr(ready, kind) is not None]
    if len(given) > 1:
        yield Fault(
            path=path,
            message=f"only one of {', '.join(_READY_KINDS)} can be given, not {' and '.join(given)}",
        )
    yield from _duration(ready.timeout, (*path, "timeout"))
    if ready.command is not None and not ready.command.strip():
        yield Fault(path=(*path, "command"), message="an empty command")
    if ready.log is not None and "${" not in ready.log and (why := _why_no_regex(ready.log)):
        yield Fault(path=(*path, "log"), message=why)


def _stop(stop: Stop, path: Path) -> Iterator[Fault]:
    yield from _action(stop, path)
    yield from _duration(stop.grace, (*path, "grace"))


def _reload(reload: Reload, path: Path) -> Iterator[Fault]:
    if reload.signal is None and reload.command is None:
        yield Fault(path=path, message="one of signal, command must be given")
    yield from _action(reload, path)


def _action(action: Stop | Reload, path: Path) -> Iterator[Fault]:
    if action.signal is not None and action.command is not None:
        yield Fault(path=path, message="only one of signal, command can be given")
    if action.command is not None and not action.command.strip():
        yield Fault(path=(*path, "command"), message="an empty command")
    if action.signal is not None and signal_name(action.signal) not in _signals():
        word = signal_name(action.signal)
        yield Fault(path=(*path, "signal"), message=no_such("signal", word, _signals()))


def _clusters(domain: Domain) -> Iterator[Fault]:
    for name, cluster in domain.clusters.items():
        path = ("clusters", name)
        yield from _name(name, path)
        if cluster.config not in domain.configs:
            yield Fault(path=(*path, "config"), message=no_such("config", cluster.config, domain.configs))
        yield from _properties(cluster.properties, (*path, "properties"))


def _instances(domain: Domain) -> Iterator[Fault]:
    for name, entry in domain.instances.items():
        path = ("instances", name)
        yield from _name(name, path)
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
        yield from _properties(entry.properties, (*path, "properties"))


def _applications(domain: Domain) -> Iterator[Fault]:
    choices = [*domain.clusters, *domain.instances]
    for name, entry in domain.applications.items():
        yield from _name(name, ("applications", name))
        yield from _chosen(entry, ("applications", name))
        for number, target in enumerate(entry.targets):
            if target not in domain.clusters and target not in domain.instances:
                yield Fault(
                    path=("applications", name, "targets", str(number)),
                    message=no_such("cluster or instance", target, choices),
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
    ):
        if command is not None:
            yield (*path, key, "command"), command, True


def _is_malformed(template: str, *, is_command: bool) -> bool:
    return any(True for _ in _template(template, (), is_command=is_command))


def _same_ports(domain: Domain, scopes: Mapping[str, Scope]) -> Iterator[tuple[Fault, bool]]:
    """Ports that two instances of one machine claim. Certain (True) on one node or behind one `sshd`; nodes that share a
    host, but not the port of their `sshd`, may be containers, so that is a warning (False).
    """
    claimed: dict[tuple[str, str | None, str], list[tuple[str, str]]] = {}
    for instance, known in scopes.items():
        node = domain.nodes[domain.instances[instance].node]
        for name, port in _ports(known):
            if int(port) > MAX_PORT:
                path = known.places[name]
                yield Fault(path=path, message=f"a port is at most {MAX_PORT}, not {port}"), True
                continue
            claims = claimed.setdefault((node.host.lower(), node.jump, port), [])
            other = next((claim for claim in claims if claim[0] != instance), None)
            if other is not None:
                yield _clash(domain, (instance, name), other, port)
            claims.append((instance, name))


def _clash(domain: Domain, claim: tuple[str, str], other: tuple[str, str], port: str) -> tuple[Fault, bool]:
    (instance, name), (other_instance, other_name) = claim, other
    entry, other_entry = domain.instances[instance], domain.instances[other_instance]
    node, other_node = domain.nodes[entry.node], domain.nodes[other_entry.node]
    where = f"the node {entry.node!r}"
    if entry.node != other_entry.node:
        where = f"the host {node.host!r} (nodes {other_entry.node!r} and {entry.node!r})"
    message = f"{name} is {port}, and so is {other_name} of {other_instance!r} on {where}"
    certain = entry.node == other_entry.node or (node.port or 22) == (other_node.port or 22)
    path: Path = ("instances", instance)
    if name in entry.properties:
        path = (*path, "properties", name)
    return Fault(path=path, message=message), certain


def _ports(known: Scope) -> Iterator[tuple[str, str]]:
    """(property, port) of what an instance claims; other texts and numbers (-1 means "off" to Tomcat) claim nothing."""
    for name in known.given:
        if not names.is_port(name):
            continue
        try:
            text = "".join(part for part in known.value(name) if isinstance(part, str)).strip()
        except PropertyError:
            continue
        if text.isascii() and text.isdigit() and len(text) < 20 and int(text) > 0:
            yield name, str(int(text))


# Single values.


def _name(name: str, path: Path) -> Iterator[Fault]:
    if (why := names.fault_of(name)) is not None:
        yield Fault(path=path, message=why)


def _word(text: str, path: Path) -> Iterator[Fault]:
    """A host or user: handed to SSH, so nothing that could be an option or two words."""
    if not text or text.startswith("-") or any(char.isspace() or ord(char) < 32 for char in text):
        yield Fault(path=path, message=f"{text!r} is not one word that can be a {path[-1]}")


def _properties(properties: Mapping[str, Scalar], path: Path) -> Iterator[Fault]:
    for name, value in properties.items():
        if not names.is_property(name):
            yield Fault(
                path=(*path, name),
                message=f"{name!r} is not the name of a property: letters, digits, '_', '-', '.'",
            )
        elif name in BUILT_IN:
            yield Fault(path=(*path, name), message=f"{name!r} is a built-in name")
        yield from _template(scalar_text(value), (*path, name), is_command=False)


def _template(template: str, path: Path, *, is_command: bool) -> Iterator[Fault]:
    if "\0" in template:
        yield Fault(path=path, message="a NUL character")
    try:
        for _ in shell_pieces(template) if is_command else text_pieces(template):
            pass
    except PropertyError as error:
        yield Fault(path=path, message=error.message)


def _patterns(given: Sequence[str], path: Path) -> Iterator[Fault]:
    for number, pattern in enumerate(given):
        if (why := patterns.fault_of(pattern)) is not None:
            yield Fault(path=(*path, str(number)), message=why)


def _chosen(entry: Settings | Patterns | Config | Application, path: Path) -> Iterator[Fault]:
    """The patterns of whatever leaves files out, or leaves them to the node."""
    yield from _patterns(entry.exclude, (*path, "exclude"))
    yield from _patterns(entry.keep, (*path, "keep"))


def _duration(value: Duration, path: Path) -> Iterator[Fault]:
    try:
        seconds(value)
    except ValueError as error:
        yield Fault(path=path, message=str(error))


def _why_no_regex(text: str) -> str | None:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        return f"{text!r} is not a regular expression: {error}"
    return None


def _why_no_url(text: str) -> str | None:
    try:
        url = urlsplit(text)
        fits = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        fits = False
    if not fits or any(char.isspace() for char in text):
        return f"{text!r} is not a URL: write http://HOST:PORT/PATH"
    return None


def _why_no_address(text: str) -> str | None:
    host, _, port = text.rpartition(":")
    fits = port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= MAX_PORT
    if not fits or host.startswith("-") or any(char.isspace() for char in text) or text.startswith(":"):
        return f"{text!r} is not an address: write PORT or HOST:PORT"
    return None


_CHECKS: dict[Path, Callable[[str], str | None]] = {
    ("ready", "http"): _why_no_url,
    ("ready", "tcp"): _why_no_address,
    ("ready", "log"): _why_no_regex,
}


def _signals() -> Iterable[str]:
    return [entry.name.removeprefix("SIG") for entry in signal.Signals]
