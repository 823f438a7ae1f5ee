"""Host keys: those that the domain has accepted, beside those that the user knows.

What lives here: `.dasctl/known_hosts` (OpenSSH's format), reading the user's and the machine's files, the judgement
whether a key is known. What must not: connections. asyncssh is imported only to match.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dasctl.errors import ChangedHostKey, OperationFailed, UsageError

if TYPE_CHECKING:
    import asyncssh

DEFAULT_PORT = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """The key that an sshd at `host`, `port` has shown. `blob` is its base64 as in OpenSSH's files."""

    host: str
    port: int
    type: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as `ssh-keygen -l` prints it."""
        return fingerprint(base64.b64decode(self.blob))

    @property
    def line(self) -> str:
        """The line of known_hosts."""
        return f"{host_entry(self.host, self.port)} {self.type} {self.blob}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known about one sshd. `exact`: the keys stand under this host and port, not under the host alone."""

    trusted: tuple[asyncssh.SSHKey, ...]
    authorities: tuple[asyncssh.SSHKey, ...]
    revoked: tuple[asyncssh.SSHKey, ...]
    exact: bool


class HostKeys:
    """The domain's accepted keys and the user's. A host that the domain knows is judged by the domain alone."""

    def __init__(self, domain_root: Path) -> None:
        self._path = domain_root / ".dasctl" / "known_hosts"
        self._parsed: dict[Path, tuple[tuple[int, int], asyncssh.SSHKnownHosts]] = {}

    @property
    def path(self) -> Path:
        """The domain's file."""
        return self._path

    def accept(self, key: HostKey, *, fingerprint: str | None = None) -> bool:
        """Trust `key`; with `fingerprint` only if it has that one. False: it was trusted already.

        Raises ChangedHostKey if another key of this type is accepted, or if the fingerprint is another one.
        """
        _check_fingerprint(key, fingerprint)
        lines = self._lines()
        if key.line in lines:
            return False
        for line in lines:
            fields = line.split()
            if len(fields) >= 3 and fields[0] == host_entry(key.host, key.port) and fields[1] == key.type:
                other = _fingerprint_of(fields[2])
                raise ChangedHostKey(
                    f"{key.host}:{key.port} shows the {key.type} key {key.fingerprint}, "
                    f"but {other} is accepted for it",
                    hint="if its key was changed on purpose, forget the old one first",
                )
        self._write([*lines, key.line])
        return True

    def replace(self, key: HostKey, *, fingerprint: str | None = None) -> None:
        """Trust `key` instead of whatever was accepted for its host and port."""
        _check_fingerprint(key, fingerprint)
        self._write([*self._others(key.host, key.port), key.line])

    def forget(self, host: str, port: int = DEFAULT_PORT) -> bool:
        """Drop all accepted keys of `host` and `port`; False if there was none."""
        others = self._others(host, port)
        if others == self._lines():
            return False
        self._write(others)
        return True

    def known(self, host: str, address: str, port: int, user_files: Sequence[Path]) -> Known:
        """What the domain knows about `host` (or `address`), or else what the user and the machine know."""
        number = None if port == DEFAULT_PORT else port
        own = _matched([self._read(self._path)], host, address, number)
        others = _matched([self._read(path) for path in user_files], host, address, number)
        chosen = own if own.trusted or own.authorities else others
        return Known(
            trusted=chosen.trusted,
            authorities=chosen.authorities,
            revoked=(*own.revoked, *others.revoked),
            exact=chosen.exact,
        )

    def _lines(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return self._path.read_text("utf-8", "surrogateescape").splitlines()
        return []

    def _others(self, host: str, port: int) -> list[str]:
        entry = host_entry(host, port)
        return [line for line in self._lines() if line.split(maxsplit=1)[:1] != [entry]]

    def _write(self, lines: Iterable[str]) -> None:
        self._path.parent.mkdir(exist_ok=True)
        text = "".join(f"{line}\n" for line in lines)
        handle, name = tempfile.mkstemp(prefix="known_hosts.", dir=self._path.parent)
        try:
            with open(handle, "w", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _read(self, path: Path) -> asyncssh.SSHKnownHosts:
        """The file, parsed once for as long as it does not change. A line that makes no sense is nobody's key."""
        import asyncssh

        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if path in self._parsed and self._parsed[path][0] == stamp:
                return self._parsed[path][1]
            lines = path.read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return asyncssh.SSHKnownHosts()
        except OSError as error:
            if path == self._path:
                raise OperationFailed(f"{path} cannot be read: {error.strerror}") from error
            return asyncssh.SSHKnownHosts()
        known = asyncssh.SSHKnownHosts()
        for line in lines:
            with contextlib.suppress(ValueError):
                known.load(line)
        self._parsed[path] = (stamp, known)
        return known


def host_entry(host: str, port: int) -> str:
    """How known_hosts names an sshd."""
    return host if port == DEFAULT_PORT else f"[{host}]:{port}"


def fingerprint(blob: bytes) -> str:
    """`SHA256:…` of a public key's bytes."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


def parsed_fingerprint(text: str) -> str:
    """`text` as `fingerprint` writes it. Raises UsageError."""
    if not text.startswith("SHA256:"):
        raise UsageError(f"not a fingerprint: {text}", hint="it reads SHA256:… as `ssh-keygen -l` prints it")
    return text.rstrip("=")


def _check_fingerprint(key: HostKey, wanted: str | None) -> None:
    if wanted is not None and parsed_fingerprint(wanted) != key.fingerprint:
        raise ChangedHostKey(
            f"{key.host}:{key.port} shows the {key.type} key {key.fingerprint}, not {wanted}",
            hint="do not go on before you know why: another machine may answer in its place",
        )


def _matched(files: Sequence[asyncssh.SSHKnownHosts], host: str, address: str, port: int | None) -> Known:
    trusted: list[asyncssh.SSHKey] = []
    authorities: list[asyncssh.SSHKey] = []
    revoked: list[asyncssh.SSHKey] = []
    exact = False
    for file in files:
        keys, cas, bad = file.match(host, address, port)[:3]
        # asyncssh falls back to the host's own entries where there is none for this port.
        plain = file.match(host, address, None)[0] if port else ()
        exact = exact or (bool(keys) and list(keys) != list(plain))
        trusted += keys
        authorities += cas
        revoked += bad
    return Known(trusted=tuple(trusted), authorities=tuple(authorities), revoked=tuple(revoked), exact=exact)


def _fingerprint_of(text: str) -> str:
    try:
        return fingerprint(base64.b64decode(text))
    except ValueError:
        return "a key that cannot be read"
