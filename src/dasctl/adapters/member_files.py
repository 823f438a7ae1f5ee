"""What the DAS keeps and knows of members: public keys, how this dasctl is run, where a member came from.

What lives here: `.dasctl/members/NODE.pub`, the environment of an SSH session. What must not: the channel, decisions.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from dasctl.adapters.beside import write_beside
from dasctl.errors import OperationFailed, UsageError

if TYPE_CHECKING:
    from dasctl.adapters.member_channel import ServedChannel

MOST_KEY = 16 << 10  # bytes of a public key's file
DEFAULT_KEYS = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub", "id_ed25519_sk.pub", "id_ecdsa_sk.pub")


class FolderMembers:
    """ports.Members of the domain at `root`."""

    def __init__(
        self, root: Path, *, environment: Mapping[str, str] = os.environ, home: Path | None = None
    ) -> None:
        self._root = root
        self._environment = environment
        self._home = home

    def channel(self, *, restricted: bool) -> AbstractAsyncContextManager[ServedChannel]:
        from dasctl.adapters.member_channel import standard_channel

        return standard_channel(restricted=restricted)

    def caller(self) -> str | None:
        from dasctl.core.coordinates import is_host  # this class is made for every command, and asked by few

        address = self._environment.get("SSH_CONNECTION", "").split(" ")[0]
        return address if address and is_host(address) else None

    def program(self) -> tuple[str, ...]:
        own = Path(sys.argv[0])
        if own.name == "dasctl" and (found := shutil.which(sys.argv[0])) is not None:
            return (os.path.abspath(found),)  # noqa: PTH100 (a link to the program stays one)
        return (sys.executable, "-m", "dasctl")

    def own_keys(self) -> tuple[str, ...]:
        folder = (self._home or Path.home()) / ".ssh"
        keys = []
        for name in DEFAULT_KEYS:
            with contextlib.suppress(UsageError):
                keys.append(self.read_key(folder / name))
        return tuple(keys)

    def keep_key(self, node: str, public_key: str) -> None:
        path = self._path(node)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_beside(os.fsencode(path), f"{public_key}\n".encode("ascii"), mode=0o600)
        except OSError as error:
            raise OperationFailed(f"{path} cannot be written: {error.strerror}") from error

    def key(self, node: str) -> str | None:
        path = self._path(node)
        return self.read_key(path) if path.exists() else None

    def forget_key(self, node: str) -> None:
        with contextlib.suppress(OSError):
            self._path(node).unlink(missing_ok=True)

    def read_key(self, path: Path) -> str:
        return read_public_key(path.expanduser())

    def _path(self, node: str) -> Path:
        return self._root / ".dasctl" / "members" / f"{node}.pub"


def read_public_key(path: Path) -> str:
    """`TYPE BASE64` of a public key's file. Raises UsageError where it is none."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_KEY)
    except OSError as error:
        raise UsageError(f"the public key {path} cannot be read: {error.strerror}") from error
    if b"PRIVATE KEY" in data:
        raise UsageError(f"{path} is a private key", hint=f"give the public one: {path}.pub")
    for line in data.decode("ascii", "replace").splitlines():
        words = line.split()
        if len(words) >= 2 and not line.startswith("#") and _is_key(words[0], words[1]):
            return f"{words[0]} {words[1]}"
    raise UsageError(f"no public key in {path}", hint="it reads `ssh-ed25519 AAAA…`")


def _is_key(kind: str, blob: str) -> bool:
    """Whether `blob` really is a key of this kind: its first field names it."""
    import base64

    try:
        data = base64.b64decode(blob, validate=True)
    except ValueError:
        return False
    size = int.from_bytes(data[:4], "big")
    return len(data) > 4 + size and data[4 : 4 + size] == kind.encode("ascii", "replace")
