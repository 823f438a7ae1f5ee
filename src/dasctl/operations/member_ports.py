"""What operations need of the outside world that concern members: nodes that talk to the DAS by themselves.

The other ports, and what these protocols share with them, are in `ports.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dasctl.core.coordinates import Coordinates, Machine
from dasctl.operations.backup_ports import Backups, Restoring
from dasctl.operations.ports import Clock, Context, Event, Links, Store, Who


class MemberChannel(Protocol):
    """A conversation with one member, on this process's standard input and output. Raises ProtocolError, LinkLost,
    NodeTimeout: after one of these nothing more can be received. Every wait is bounded.
    """

    async def greet(self, facts: Mapping[str, Any]) -> None:
        """Speak first."""

    async def receive(self) -> dict[str, Any] | None:
        """The next request's header; None when the member has nothing more to ask."""

    async def send(self, header: Mapping[str, Any]) -> None:
        """Send one frame without a body."""

    async def send_frames(self, data: bytes) -> None:
        """Send frames that are encoded already (contents)."""

    def links(self, node: str) -> Links:
        """Links to a helper that the member starts on its side, relayed through this channel; to `node` alone.

        A member that holds up a conversation for longer than the bytes that it took can explain counts as gone.
        """


class Members(Protocol):
    """What the DAS knows of members beside `domain.yaml`."""

    def channel(self, *, restricted: bool) -> AbstractAsyncContextManager[MemberChannel]:
        """The channel on standard input and output. `restricted`: standard error is the member's too, and gets nothing."""

    def caller(self) -> str | None:
        """The address from which the member came, as the sshd says; None where it does not."""

    def program(self) -> tuple[str, ...]:
        """The words that run this dasctl from anywhere, absolute."""

    def own_keys(self) -> tuple[str, ...]:
        """The public keys with which the DAS would log in to nodes, a line each."""

    def keep_key(self, node: str, public_key: str) -> None:
        """Keep the public key that `node` sent."""

    def key(self, node: str) -> str | None:
        """The kept one, if any."""

    def forget_key(self, node: str) -> None:
        """Drop it; nothing happens where there is none."""

    def read_key(self, path: Path) -> str:
        """The public key (`TYPE BASE64`) in a file. Raises UsageError."""


class DasConversation(Protocol):
    """A member's conversation with the DAS. Raises LinkLost, NodeTimeout, ProtocolError."""

    @property
    def greeting(self) -> Mapping[str, Any]:
        """What the DAS said first: `domain` (name, id), `node` (of a restricted key, or None)."""

    async def ask(
        self,
        request: Mapping[str, Any],
        *,
        on_frame: Callable[[dict[str, Any], bytes], None] | None = None,
    ) -> dict[str, Any]:
        """Send a request and return its reply's header. Meanwhile a helper of this machine serves the DAS, where it wants
        one. `on_frame` gets the other frames. An error that the DAS tells is raised as a DasctlError with its exit code.
        """


class DasLinks(Protocol):
    """Opens conversations with the DAS."""

    def open(self, coordinates: Coordinates) -> AbstractAsyncContextManager[DasConversation]:
        """Log in and start `serve-members` there. Only `coordinates.host_key` is trusted, or, where there is none, what the
        user's known_hosts say. Raises NodeUnreachable and its kin, NodeNotUsable.
        """

    async def admit(
        self, coordinates: Coordinates, *, accept_any: bool, fingerprint: str | None
    ) -> Coordinates:
        """The coordinates with the host key that the DAS shows, if it is known or accepted (see HostKeys.admit)."""

    def public_key(self, key: str | None) -> str | None:
        """The public key (`TYPE BASE64`) of the key file, or of the user's first own one; None where there is none."""


class NodeDirs(Protocol):
    """Nodes' directories on this machine, and the coordinates in them."""

    def find(self, given: Path | None) -> Path:
        """The directory that is meant: `given`, DASCTL_NODE_DIR, one upwards from here, or the only one below ~/dasctl.

        Raises UsageError where there is none, or more than one.
        """

    def default(self, domain: str) -> Path:
        """`~/dasctl/DOMAIN`."""

    def absolute(self, path: Path) -> Path:
        """`path` without `~` and `..`, from the current folder."""

    def instance_here(self, node_dir: Path) -> str | None:
        """The instance in whose folder we stand."""

    def instances(self, node_dir: Path) -> tuple[str, ...]:
        """The instances that have been synchronised in `node_dir`, by name."""

    def standing(self, node_dir: Path, instance: str) -> Mapping[str, Any] | None:
        """The instance's `.dasctl/state.json` (domain, epoch, revision …); None where nothing stands."""

    def kept(self) -> tuple[Coordinates, ...]:
        """The coordinates in all directories below ~/dasctl that can be read."""

    def load(self, node_dir: Path) -> Coordinates | None:
        """The coordinates of the DAS; None for a directory that the DAS alone has filled."""

    def save(self, node_dir: Path, coordinates: Coordinates) -> None:
        """Keep them, readable for the user alone; replaced in one step."""

    def clear(self, node_dir: Path) -> None:
        """Drop the coordinates, and the directory if nothing is left in it."""


class SshServer(Protocol):
    """The embedded SSH server."""

    async def serve(
        self,
        *,
        dir: Path,
        authorized_keys: Path,
        address: str,
        port: int,
        host_key: Path | None,
        on_ready: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """Serve until cancelled. `on_ready` gets `address`, `port`, `fingerprint`. Raises OperationFailed, UsageError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """All that an operation without a domain's folder is given. Times in seconds."""

    clock: Clock
    who: Who
    make_domain: Callable[..., Store]  # (root, name, sample=…, id=…); raises UsageError, OperationFailed
    machine: Machine
    local_links: Links
    das: DasLinks
    node_dirs: NodeDirs
    ssh_server: SshServer
    wait_s: float = 0.0
    timeout_s: float = 10.0
    on_event: Callable[[Event], None] = field(default=lambda event: None)
    backups: Backups | None = None  # for the commands of backups alone, as are these two
    restoring: Restoring | None = None
    open_domain: Callable[[Path], Context] | None = None
