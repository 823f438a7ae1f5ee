"""The user's keys: files, certificates, the agent. Each file is read once, however many nodes it opens.

What lives here: which keys are offered, in which order. What must not: connections to nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from dasctl.adapters.link import Peer
from dasctl.errors import AuthenticationFailed

_DEFAULT_FILES = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")  # below ~/.ssh

KeyPair = asyncssh.SSHKeyPair | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate] | asyncssh.SSHKey


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """One private key file. `key` None: it is encrypted, or only its public half is there.

    `public` is None only for an encrypted one without a .pub beside it.
    """

    key: asyncssh.SSHKey | None
    public: bytes | None
    certificate: asyncssh.SSHCertificate | None
    encrypted: bool = False

    @property
    def identities(self) -> tuple[bytes, ...]:
        """How an agent names this key."""
        certificate = (self.certificate.public_data,) if self.certificate else ()
        return (*certificate, self.public) if self.public else certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which keys a node is offered. `only`: no others, even if the agent has some. `key`: the node's own."""

    key: str | None
    files: tuple[str, ...]  # of the SSH configuration; none: the defaults
    only: bool
    agent: str  # the agent's socket, or empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a node is offered. `locked`: files that it is not, encrypted and in no agent."""

    pairs: tuple[KeyPair, ...]
    locked: tuple[Path, ...] = ()

    def holds(self, public: bytes) -> bool:
        """Whether the key with these public data is among them."""
        return any(_public_of(pair) == public for pair in self.pairs)


class Keys:
    """All that can open a node; one agent for all."""

    def __init__(self) -> None:
        self._files: dict[Path, KeyFile] = {}
        self._agents: dict[str, asyncssh.SSHAgentClient] = {}

    async def offered(self, wanted: Wanted, peer: Peer) -> Offer:
        """The keys, in the order of OpenSSH: the agent's first. Raises AuthenticationFailed where that is certain."""
        if wanted.key is not None:
            return Offer(pairs=tuple(await self._own(wanted.key, wanted.agent, peer)))
        found = self._configured(self.candidates(wanted))
        identities = [name for file in found.values() for name in file.identities]
        agent = await self._of_agent(wanted.agent, identities if wanted.only else None)
        held = {pair.key_public_data for pair in agent}
        rest = {path: file for path, file in found.items() if file.public not in held}
        return Offer(
            pairs=(*agent, *_pairs(list(rest.values()))),
            locked=tuple(path for path, file in rest.items() if file.encrypted),
        )

    def only_file(self, wanted: Wanted) -> Path | None:
        """The file of the only key that is offered; None: there are others, or an agent or a certificate is involved."""
        if wanted.key is None and wanted.agent:
            return None
        found = self._configured(self.candidates(wanted))
        usable = [(path, file) for path, file in found.items() if file.key is not None]
        if len(usable) != 1:
            return None
        path, file = usable[0]
        of_device = file.key is not None and file.key.algorithm.startswith(b"sk-")
        return path if path.is_absolute() and file.certificate is None and not of_device else None

    def candidates(self, wanted: Wanted) -> list[Path]:
        """The files that are looked at for keys, there or not."""
        if wanted.key is not None:
            return [Path(wanted.key).expanduser()]
        if wanted.files:
            return [Path(name).expanduser() for name in wanted.files]
        return [Path("~/.ssh").expanduser() / name for name in _DEFAULT_FILES]

    def close(self) -> None:
        """Let go of the agents."""
        for agent in self._agents.values():
            agent.close()
        self._agents.clear()

    async def _own(self, name: str, agent: str, peer: Peer) -> list[KeyPair]:
        path = Path(name).expanduser()
        try:
            file = self._read(path)
        except FileNotFoundError as error:
            raise AuthenticationFailed(
                f"{peer}: the key file {path} does not exist",
                hint=f"correct it: dasctl update-node-ssh {peer.name} --sshkeyfile FILE",
            ) from error
        except (OSError, asyncssh.KeyImportError) as error:
            raise AuthenticationFailed(f"{peer}: the key file {path} cannot be used: {error}") from error
        if file.key is not None:
            return _pairs([file])
        pairs = await self._of_agent(agent, file.identities) if file.identities else []
        if not pairs:
            why = "is encrypted" if file.encrypted else "has no private half here"
            raise AuthenticationFailed(
                f"{peer}: the key file {path} {why}, and no agent holds its key",
                hint=f"start an agent and give it the key: eval $(ssh-agent); ssh-add {path}",
            )
        return list(pairs)

    def _configured(self, paths: Sequence[Path]) -> dict[Path, KeyFile]:
        """Those that can be read; as with OpenSSH, a configured key that is not there is passed over."""
        files = {}
        for path in paths:
            with contextlib.suppress(OSError, asyncssh.KeyImportError):
                files[path] = self._read(path)
        return files

    def _read(self, path: Path) -> KeyFile:
        if path not in self._files:
            self._files[path] = _key_file(path)
        return self._files[path]

    async def _of_agent(self, path: str, identities: Sequence[bytes] | None) -> list[asyncssh.SSHKeyPair]:
        """The agent's keys, anew for each connection: a pair remembers what was chosen for its connection."""
        if not path or (identities is not None and not identities):
            return []
        agent = self._agents.setdefault(path, asyncssh.SSHAgentClient(path))
        with contextlib.suppress(ValueError, OSError, asyncio.IncompleteReadError):
            return list(await agent.get_keys(identities))
        return []


def _public_of(pair: KeyPair) -> bytes:
    match pair:
        case asyncssh.SSHKeyPair():
            return pair.key_public_data
        case (key, _):
            return key.public_data
        case _:
            return pair.public_data


def agent_socket(configured: object) -> str:
    """The agent's socket: IdentityAgent of the configuration, or SSH_AUTH_SOCK."""
    if configured is None:
        return ""  # `IdentityAgent none`
    if not configured or configured == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK", "")
    return str(Path(str(configured)).expanduser())


def _pairs(files: Sequence[KeyFile]) -> list[KeyPair]:
    pairs: list[KeyPair] = []
    for file in files:
        if file.key is None:
            continue
        pairs.append((file.key, file.certificate) if file.certificate else file.key)
    return pairs


def _key_file(path: Path) -> KeyFile:
    certificate = None
    with contextlib.suppress(OSError, asyncssh.KeyImportError):
        certificate = asyncssh.read_certificate(f"{path}-cert.pub")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        public = _public_beside(path)
        if public is None:
            raise
        return KeyFile(key=None, public=public, certificate=certificate)  # an agent may hold the private half
    try:
        key = asyncssh.import_private_key(data)
    except asyncssh.KeyEncryptionError:
        return KeyFile(key=None, public=_public_beside(path), certificate=certificate, encrypted=True)
    except asyncssh.KeyImportError as error:
        if "assphrase" in str(error):
            return KeyFile(key=None, public=_public_beside(path), certificate=certificate, encrypted=True)
        # A public key in the place of a private one: the agent holds the other half.
        public = asyncssh.import_public_key(data).public_data
        return KeyFile(key=None, public=public, certificate=certificate)
    return KeyFile(key=key, public=key.public_data, certificate=certificate)


def _public_beside(path: Path) -> bytes | None:
    with contextlib.suppress(OSError, asyncssh.KeyImportError):
        return asyncssh.read_public_key(f"{path}.pub").public_data
    return None
