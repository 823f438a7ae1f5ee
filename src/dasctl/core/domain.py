"""`domain.yaml` as typed values, as written: names not resolved, properties not merged.

What lives here: the shapes. What must not: judgement across entries (`validate.py`), properties (`properties.py`).
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

Criterion = Literal["modtime", "hash"]
Deviations = Literal["overwrite", "keep", "fail"]
Commit = Literal["each", "together"]
Scalar = str | int | float | bool
Duration = str | int | float  # `30s`, `2m`, `500ms`; a bare number is in seconds (core/durations.py)

FORMAT = 1
FILE = "config/domain.yaml"  # how messages name it


class _Base(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    pass


class Settings(_Base, frozen=True, kw_only=True):
    """`domain:`, what holds for the whole domain.

    `exclude` holds gitignore patterns over paths of the repository, `keep` over paths of an instance
    (core/exclusion.py).
    """

    name: str
    id: str
    criterion: Criterion = "modtime"
    deviations: Deviations = "overwrite"
    commit: Commit = "each"
    revisions: int = 20
    max_skew: int | None = (
        None  # releases of the servers' software that may lie between two running instances of a cluster
    )
    exclude: list[str] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)
    properties: dict[str, Scalar] = field(default_factory=dict)


class Patterns(_Base, frozen=True, kw_only=True):
    """What an area leaves out, and what of it is the node's to change: gitignore patterns that begin at its folder."""

    exclude: list[str] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)


class Areas(_Base, frozen=True, kw_only=True):
    """`areas:`, what holds for one area of the repository alone."""

    config: Patterns = field(default_factory=Patterns)
    applications: Patterns = field(default_factory=Patterns)
    lib: Patterns = field(default_factory=Patterns)
    docroot: Patterns = field(default_factory=Patterns)


class Node(_Base, frozen=True, kw_only=True):
    """One entry of `nodes:`. `dir` None is `~/dasctl/DOMAIN`; `user`, `port` and `key` None are left to OpenSSH's config."""

    host: str
    port: int | None = None
    user: str | None = None
    key: str | None = None
    dir: str | None = None
    jump: str | None = None
    software: str | None = None  # the release of `releases:` that its instances run with


class Ready(_Base, frozen=True, kw_only=True):
    """How a server is judged ready: exactly one of http, tcp, command, log; none of them: it lives for a second."""

    http: str | None = None
    tcp: str | int | None = None
    command: str | None = None
    log: str | None = None
    timeout: Duration = "30s"


class Stop(_Base, frozen=True, kw_only=True):
    """How a server is stopped: a signal to its process group (TERM where nothing is said), or a command."""

    signal: str | None = None
    command: str | None = None
    grace: Duration = "10s"


class Reload(_Base, frozen=True, kw_only=True):
    """How a running server takes over changes that need no restart: exactly one of signal, command."""

    signal: str | None = None
    command: str | None = None


class Aside(_Base, frozen=True, kw_only=True):
    """How an instance is taken out of a load balancer, or put back: a command on its node, and how long to wait then."""

    command: str
    timeout: Duration = "30s"
    wait: Duration = 0


class Config(_Base, frozen=True, kw_only=True):
    """One entry of `configs:`. `restart_on`, `exclude` and `keep` hold gitignore patterns over paths of the instance."""

    start: str
    env: dict[str, Scalar] = field(default_factory=dict)
    ready: Ready = field(default_factory=Ready)
    stop: Stop = field(default_factory=Stop)
    reload: Reload | None = None
    drain: Aside | None = None
    undrain: Aside | None = None
    dump: str | None = None  # a command that tells about a server that misbehaves
    restart_on: list[str] = field(default_factory=lambda: ["config/**", "applications/**", "lib/**"])
    exclude: list[str] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)
    properties: dict[str, Scalar] = field(default_factory=dict)


class Cluster(_Base, frozen=True, kw_only=True):
    """One entry of `clusters:`."""

    config: str
    properties: dict[str, Scalar] = field(default_factory=dict)


class Instance(_Base, frozen=True, kw_only=True):
    """One entry of `instances:`. A stand-alone instance names a `config` of its own instead of a `cluster`."""

    node: str
    cluster: str | None = None
    config: str | None = None
    properties: dict[str, Scalar] = field(default_factory=dict)


class Application(_Base, frozen=True, kw_only=True):
    """One entry of `applications:`; `targets` are clusters and instances. Patterns begin at the application's folder.

    `version` is what `applications/NAME` holds; `versions` names the targets that have another one, from
    `applications/NAME~VERSION`. `disabled` are targets that it is deployed to and that do not get it now.
    """

    targets: list[str] = field(default_factory=list)
    version: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    disabled: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)


class Release(_Base, frozen=True, kw_only=True):
    """One entry of `releases:`: a release of the servers' own software, oldest first in the file.

    Either put on nodes by `install-node` (`archive`: the name of the file that it came in; `digest`: of its manifest), or
    a `folder` of the nodes that is used as it is.
    """

    archive: str | None = None
    folder: str | None = None
    digest: str | None = None


class Domain(_Base, frozen=True, kw_only=True):
    """The whole of `domain.yaml`."""

    format: int
    domain: Settings
    areas: Areas = field(default_factory=Areas)
    releases: dict[str, Release] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    configs: dict[str, Config] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    applications: dict[str, Application] = field(default_factory=dict)

    def config_of(self, instance: str) -> str:
        """The name of the config that `instance` runs with."""
        entry = self.instances[instance]
        if entry.cluster is not None:
            return self.clusters[entry.cluster].config
        assert entry.config is not None  # validated: one of both is given
        return entry.config

    def node_dir(self, node: str) -> str:
        """The node's directory as the helper is told: absolute, or beginning with `~/`."""
        return self.nodes[node].dir or f"~/dasctl/{self.domain.name}"

    def instances_on(self, node: str) -> tuple[str, ...]:
        """The names of the instances of `node`, in the file's order."""
        return tuple(name for name, entry in self.instances.items() if entry.node == node)

    def members(self, cluster: str) -> tuple[str, ...]:
        """The names of the instances of `cluster`, in the file's order."""
        return tuple(name for name, entry in self.instances.items() if entry.cluster == cluster)
