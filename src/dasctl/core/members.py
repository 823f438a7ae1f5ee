"""The conversation of a member with the DAS: what may be asked, and what a join makes of the domain.

What lives here: requests that check themselves on arrival (docs/protocol.md, "A member and the DAS"), and the plan of a
join. What must not: channels, files. Nothing that a member says is used before it went through `read_request`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dasctl.core import names, patterns
from dasctl.core.coordinates import is_host, is_port, is_user
from dasctl.core.domain import Domain, Node
from dasctl.core.edits import Edit, Put
from dasctl.core.faults import did_you_mean
from dasctl.core.outcome import Outcome, Problem, Result
from dasctl.errors import ExitCode, UsageError
from dasctl.remote import words

DEFAULT_PORT = 22
MOST_PATTERNS = 200
LONGEST_PATTERN = 1024  # bytes as characters
MOST_STARS = 8  # per pattern: each multiplies the time that a name which just misses may take
MOST_PROPERTIES = 200
LONGEST_TEXT = 4096
MOST_HOST_KEYS = 16
_PLAIN_AREAS = tuple(area for area in words.AREAS if area != "applications")
NO_ENTRY = "no entry"  # the reason of an error: the domain has no such instance on that node

_PUBLIC_KEY = re.compile(
    r"(ssh-(?:ed25519|rsa)|ecdsa-sha2-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+={0,3}\Z"
)
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")


class BadRequest(UsageError):
    """What a member sent is not a request, or one with a value that is not allowed."""


class NoEntry(UsageError):
    """The domain has no such instance on the node that asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who are you, and what do you know of `node`?"""

    node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Register an instance and its node. `host` None: as it is written down, or as the DAS sees the member."""

    name: str
    node: str | None = None  # what the member was told when it joined before
    host: str | None = None
    hostname: str | None = None  # by its own account, for a DAS that does not see where the member comes from
    port: int | None = None
    user: str | None = None
    dir: str | None = None
    cluster: str | None = None
    config: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    public_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncMember:
    """Bring an instance to the repository's state through this channel. `wait_s`: for the domain's lock."""

    instance: str
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    dry_run: bool = False
    full: bool = False
    command: str = "sync-local-instance"
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The entries of an instance's slice that match, with their contents if `contents`."""

    instance: str
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    contents: bool = False

    @property
    def name(self) -> str:
        return "contents" if self.contents else "modtimes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Remove the instance's entry."""

    instance: str
    node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Try to reach the node in return. `boot` tells its machine from another; `host_keys` are its own, as it says."""

    node: str
    boot: str = ""
    host_keys: tuple[str, ...] = ()


Request = Hello | Join | SyncMember | Files | Leave | Reach


def read_request(header: Mapping[str, Any]) -> Request:
    """The request in a frame's header. Raises BadRequest."""
    match header.get("request"):
        case "hello":
            return Hello(node=_name(header, "node", needed=False))
        case "join":
            return _join(header)
        case "sync":
            return _sync(header)
        case "modtimes" | "contents" as kind:
            return Files(
                instance=_needed_name(header, "instance"), paths=_patterns(header, "paths"),
                exclude=_patterns(header, "exclude"), contents=kind == "contents",
            )  # fmt: skip
        case "leave":
            return Leave(instance=_needed_name(header, "instance"), node=_name(header, "node", needed=False))
        case "reach":
            return Reach(
                node=_needed_name(header, "node"), boot=_text(header, "boot") or "",
                host_keys=tuple(
                    key for key in _list(header, "host_keys", MOST_HOST_KEYS) if _FINGERPRINT.match(key)
                ),
            )  # fmt: skip
        case other:
            raise BadRequest(f"not a request: {str(other)[:80]!r}")


def _join(header: Mapping[str, Any]) -> Join:
    host, user, key = _text(header, "host"), _text(header, "user"), _text(header, "public_key")
    hostname, folder, port = _text(header, "hostname"), _text(header, "dir"), header.get("port")
    if host is not None and not is_host(host):
        raise BadRequest(f"not a host: {host!r}")
    if user is not None and not is_user(user):
        raise BadRequest(f"not a user: {user!r}")
    if port is not None and not is_port(port):
        raise BadRequest(f"not a port: {str(port)[:80]}")
    if folder is not None and (not folder.startswith(("/", "~/")) or ".." in folder.split("/")):
        raise BadRequest(f"not a node's directory: {folder!r}: it is absolute, or begins with ~/")
    if key is not None and not _PUBLIC_KEY.match(key):
        raise BadRequest("not a public key")
    return Join(
        name=_needed_name(header, "name"), node=_name(header, "node", needed=False), host=host,
        hostname=hostname if hostname is not None and is_host(hostname) else None, port=port, user=user,
        dir=folder, cluster=_name(header, "cluster", needed=False),
        config=_name(header, "config", needed=False), properties=_properties(header), public_key=key,
    )  # fmt: skip


def _sync(header: Mapping[str, Any]) -> SyncMember:
    wait = header.get("wait_s", 0.0)
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait < 1e9:
        raise BadRequest(f"wait_s: not seconds: {str(wait)[:80]}")
    command = header.get("command", "sync-local-instance")
    if command not in ("sync-local-instance", "start-local-instance", "join-domain"):
        raise BadRequest(f"not a command of a member: {str(command)[:80]!r}")
    return SyncMember(
        instance=_needed_name(header, "instance"), paths=_patterns(header, "paths"),
        exclude=_patterns(header, "exclude"), dry_run=_flag(header, "dry_run"), full=_flag(header, "full"),
        command=command, wait_s=float(wait),
    )  # fmt: skip


def _needed_name(header: Mapping[str, Any], key: str) -> str:
    return _name(header, key, needed=True) or ""


def _name(header: Mapping[str, Any], key: str, *, needed: bool) -> str | None:
    value = header.get(key)
    if value is None and not needed:
        return None
    if not isinstance(value, str) or (why := names.fault_of(value)) is not None:
        raise BadRequest(f"{key}: {why if isinstance(value, str) else 'a name is needed'}")
    return value


def _text(header: Mapping[str, Any], key: str, longest: int = LONGEST_TEXT) -> str | None:
    value = header.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise BadRequest(f"{key}: not a plain text of at most {longest} characters")
    return value


def _flag(header: Mapping[str, Any], key: str) -> bool:
    value = header.get(key, False)
    if not isinstance(value, bool):
        raise BadRequest(f"{key}: true or false is needed")
    return value


def _list(header: Mapping[str, Any], key: str, most: int) -> list[str]:
    value = header.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > most or not all(isinstance(item, str) for item in value):
        raise BadRequest(f"{key}: not a list of at most {most} texts")
    return value


def _patterns(header: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = _list(header, key, MOST_PATTERNS)
    for pattern in found:
        if len(pattern) > LONGEST_PATTERN or pattern.count("*") > MOST_STARS:
            raise BadRequest(f"{key}: a pattern that is too long or has more than {MOST_STARS} stars")
        if (why := patterns.fault_of(pattern)) is not None:
            raise BadRequest(f"{key}: {why}")
    return tuple(found)


def area_relative(found: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns, and those with a folder of their own below each area as well: `images/big*.png` is in any area.

    In git's words a pattern with a slash in it begins at the top: here that is the instance, or an area of it.
    """
    more = []
    for pattern in found:
        more.append(pattern)
        sign, plain = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
        first, slash, rest = plain.partition("/")
        if slash and rest and first and first not in (*words.AREAS, "**"):
            more += [f"{sign}{area}/{plain}" for area in (*_PLAIN_AREAS, "applications/*")]
    return tuple(more)


def _properties(header: Mapping[str, Any]) -> dict[str, str]:
    value = header.get("properties")
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MOST_PROPERTIES:
        raise BadRequest(f"properties: not an object of at most {MOST_PROPERTIES} texts")
    for key, text in value.items():
        if not names.is_property(key) or len(key) > names.MAX_NAME:
            raise BadRequest(f"not the name of a property: {key[:80]!r}")
        if not isinstance(text, str) or len(text) > LONGEST_TEXT:
            raise BadRequest(f"the property {key}: not a text of at most {LONGEST_TEXT} characters")
    return value


# What a join makes of the domain.


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinPlan:
    """The instance's node, and the edits that register what is missing: none where all is there already."""

    node: str
    edits: tuple[Edit, ...] = ()
    note: str = ""


def plan_join(domain: Domain, request: Join, *, seen_at: str | None, only_node: str | None) -> JoinPlan:
    """What has to be written down for `request`. Raises UsageError where a name is another's.

    `seen_at` is the member's address as the DAS sees it; `only_node` the node of a restricted key, which registers nothing.
    """
    if only_node is not None:
        return _confirmed(domain, request, only_node)
    host = request.host or _written_host(domain, request) or seen_at or request.hostname
    if host is None:
        raise UsageError("it is not known how the DAS reaches this node", hint="give --nodehost HOST")
    node = _matching_node(domain, request, host)
    if request.name in domain.instances:
        _check_same(domain, request, node, host)
        return JoinPlan(node=domain.instances[request.name].node)
    return _registration(domain, request, node, host)


def _confirmed(domain: Domain, request: Join, node: str) -> JoinPlan:
    entry = domain.instances.get(request.name)
    if entry is None or entry.node != node:
        raise NoEntry(
            f"node {node} has no instance '{request.name}', and its key may not register one",
            hint=f"on the DAS: dasctl create-instance {request.name} --node {node} --cluster CLUSTER; "
            "or join with a login of your own",
        )
    if request.host is not None and request.host != domain.nodes[node].host:
        raise UsageError(
            f"node {node} is written down with another host, and its key may not change that",
            hint=f"on the DAS: dasctl update-node-ssh {node} --nodehost {request.host}",
        )
    return JoinPlan(node=node)


def _written_host(domain: Domain, request: Join) -> str | None:
    """The host of the node that this member says it has joined as, if the instance really is there."""
    entry = domain.instances.get(request.name)
    if (
        request.node is not None
        and request.node in domain.nodes
        and (entry is None or entry.node == request.node)
    ):
        return domain.nodes[request.node].host
    return None


def _matching_node(domain: Domain, request: Join, host: str) -> str | None:
    """The node with the same host, port and directory."""
    wanted = (host, request.port or DEFAULT_PORT, request.dir or f"~/dasctl/{domain.domain.name}")
    for name, node in domain.nodes.items():
        if (node.host, node.port or DEFAULT_PORT, domain.node_dir(name)) == wanted:
            return name
    return None


def _check_same(domain: Domain, request: Join, node: str | None, host: str) -> None:
    entry = domain.instances[request.name]
    if entry.node != node:
        there = domain.nodes[entry.node]
        raise UsageError(
            f"there is an instance '{request.name}' already, on node {entry.node} ({there.host}, "
            f"{domain.node_dir(entry.node)}); this is {host}, port {request.port or DEFAULT_PORT}, "
            f"{request.dir or '~/dasctl/' + domain.domain.name}",
            hint="choose another name; if it is the same machine, say so with --nodehost, --sshport and --node-dir",
        )
    for kind, asked, written in (
        ("cluster", request.cluster, entry.cluster),
        ("config", request.config, entry.config),
    ):
        if asked is not None and asked != written:
            raise UsageError(
                f"'{request.name}' is written down with the {kind} {written or 'of none'}, not {asked}",
                hint=f"change its entry on the DAS, or leave out --{kind}",
            )
    for key, text in request.properties.items():
        if str(entry.properties.get(key)) != text:
            raise UsageError(
                f"'{request.name}' is written down with another {key}", hint="change its entry on the DAS"
            )


def _registration(domain: Domain, request: Join, node: str | None, host: str) -> JoinPlan:
    cluster, note = request.cluster, ""
    if cluster is None and request.config is None:
        if len(domain.clusters) != 1:
            raise UsageError(
                "an instance has a cluster or a config of its own",
                hint=f"give --cluster ({', '.join(domain.clusters) or 'there is none yet'}) or --config",
            )
        cluster = next(iter(domain.clusters))
        note = f"in {cluster}, the only cluster"
    if cluster is not None and request.config is not None:
        raise UsageError("an instance has a cluster or a config of its own, not both")
    _known("cluster", cluster, domain.clusters)
    _known("config", request.config, domain.configs)
    edits: list[Edit] = []
    if node is None:
        node = request.name
        if node in domain.nodes:
            raise UsageError(
                f"there is a node '{node}' already: {domain.nodes[node].host}, {domain.node_dir(node)}",
                hint="choose another name; if it is the same machine, say so with --nodehost, --sshport and --node-dir",
            )
        edits.append(Put(path=("nodes", node), value=_node_value(request, host)))
    value: dict[str, Any] = {"node": node}
    value |= {"cluster": cluster} if cluster is not None else {"config": request.config}
    if request.properties:
        value["properties"] = {key: _plain(text) for key, text in request.properties.items()}
    edits.append(Put(path=("instances", request.name), value=value))
    return JoinPlan(node=node, edits=tuple(edits), note=note)


def _known(kind: str, name: str | None, choices: Mapping[str, Any]) -> None:
    if name is not None and name not in choices:
        raise UsageError(f"no {kind} named '{name}'{did_you_mean(name, choices)}")


def _node_value(request: Join, host: str) -> dict[str, Any]:
    node = Node(host=host, port=request.port, user=request.user, dir=request.dir)
    values = {"host": node.host, "port": node.port, "user": node.user, "dir": node.dir}
    return {key: value for key, value in values.items() if value is not None}


def _plain(text: str) -> str | int:
    """A property as a person would write it into YAML: a port is a number."""
    return int(text) if text.isascii() and text.isdigit() and str(int(text)) == text else text


# Outcomes on their way to a member.


def outcome_of(document: Mapping[str, Any], command: str) -> Outcome:
    """The outcome in a reply, under the member's own command. Raises BadRequest where it is none."""
    try:
        code = ExitCode(document["exit_code"])
        error = _problem(document.get("error"), code)
        return Outcome(
            command=command, status=str(document["status"]), exit_code=code, revision=document.get("revision"),
            results=tuple(_result(row, code) for row in document["results"]), error=error,
            warnings=tuple(str(line) for line in document.get("warnings", ())),
            data={"dry_run": True} if document.get("dry_run") else {},
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error_:
        raise BadRequest("the DAS sent an outcome that does not fit the protocol") from error_


def _result(row: Mapping[str, Any], code: ExitCode) -> Result:
    own = ("instance", "node", "status", "note", "error")
    return Result(
        status=str(row["status"]), instance=row.get("instance"), node=row.get("node"),
        fields={key: value for key, value in row.items() if key not in own},
        error=_problem(row.get("error"), code), note=str(row.get("note", "")),
    )  # fmt: skip


def _problem(value: Mapping[str, Any] | None, code: ExitCode) -> Problem | None:
    if value is None:
        return None
    return Problem(message=str(value["message"]), hint=str(value.get("hint", "")), exit_code=code)
