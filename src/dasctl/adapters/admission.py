"""Letting nodes in: looking at a host key, accepting it, and putting the user's key on the node. Fits ports.HostKeys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dasctl.adapters import host_keys
from dasctl.adapters.host_keys import Known
from dasctl.adapters.ssh import SshLinks
from dasctl.core.domain import Node
from dasctl.core.exchange import HostKey
from dasctl.errors import ChangedHostKey, UnknownHostKey, UsageError


class Admission:
    """ports.HostKeys over SSH."""

    def __init__(self, links: SshLinks) -> None:
        self._links = links

    async def admit(
        self, name: str, node: Node, *, accept_any: bool = False, fingerprint: str | None = None
    ) -> HostKey:
        """See ports.HostKeys.admit."""
        if fingerprint is not None:
            fingerprint = host_keys.parsed_fingerprint(fingerprint)
        shown, trusted = await self._links.seen(name, node)
        known = self._links.known_keys(name, node)
        verdict = trusted or _known_instead(known)
        if fingerprint is not None and fingerprint != shown.fingerprint:
            raise ChangedHostKey(
                f"node {name} ({node.host}) shows the {shown.type} key {shown.fingerprint}, not {fingerprint}",
                hint="somebody may be listening in between: look at the key on the node itself",
            )
        if verdict is True:
            self._keep(shown, known)
        elif accept_any or fingerprint is not None:
            self._links.host_keys.replace(shown)
        elif verdict is None:
            raise UnknownHostKey(
                f"node {name} ({node.host}) shows a {shown.type} key that nobody has accepted: {shown.fingerprint}",
                fingerprint=shown.fingerprint,
            )
        else:
            raise ChangedHostKey(
                f"node {name} ({node.host}) shows the {shown.type} key {shown.fingerprint}, "
                f"but {verdict} was accepted for it",
                hint="if it was changed on purpose: dasctl update-node-ssh "
                f"{name} --host-key {shown.fingerprint}; otherwise somebody may be listening in between",
            )
        return HostKey(kind=shown.type, fingerprint=shown.fingerprint, known=verdict is True)

    def _keep(self, shown: host_keys.HostKey, known: Known) -> None:
        """What the user knows, the domain knows from now on; certificates come and go, their authority is the user's."""
        own = self._links.host_keys.known(shown.host, "", shown.port, ())
        if not own.trusted and shown.fingerprint in _fingerprints(known):
            self._links.host_keys.replace(shown)

    def forget(self, node: Node) -> None:
        """See ports.HostKeys.forget."""
        self._links.forget(node)

    async def install_key(
        self,
        name: str,
        node: Node,
        public_key: Path | None,
        *,
        generate: bool,
        ask_password: Callable[[str], str],
    ) -> str:
        """See ports.HostKeys.install_key."""
        from dasctl.adapters import setup_ssh

        configured = self._links.key_files(name, node)
        key = _without_pub(public_key) if public_key is not None else setup_ssh.key_of(node, configured)
        if key is None or not Path(f"{key}.pub").is_file():
            if not generate:
                raise UsageError(
                    f"there is no public key to put on node {name}",
                    hint="give one with --sshpublickeyfile, or let one be made with --generatekey",
                )
            key = setup_ssh.make_key(key or Path("~/.ssh/id_ed25519").expanduser(), comment="dasctl")
        text = setup_ssh.public_key_of(key)
        if await setup_ssh.set_up(self._links, name, node, public_key=text, ask_password=ask_password):
            return f"{key}.pub is authorised now"
        return "already lets us in"


def _without_pub(path: Path) -> Path:
    """The private key that belongs to a public one."""
    path = path.expanduser()
    return path.with_suffix("") if path.suffix == ".pub" else path


def _known_instead(known: Known) -> str | None:
    """The fingerprints that are known for a node that shows another one; None: it is a new one."""
    return ", ".join(_fingerprints(known)) if known.trusted and known.exact else None


def _fingerprints(known: Known) -> list[str]:
    return [key.get_fingerprint() for key in known.trusted]
