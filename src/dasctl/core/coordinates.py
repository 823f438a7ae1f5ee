"""The coordinates of a DAS: what a node keeps beside its instances, so that it can turn to the DAS by itself.

What lives here: the values, and their form in `das.json`. What must not: files (`adapters/coordinates.py`), connections.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dasctl.core import names
from dasctl.errors import FormatTooNew, OperationFailed, UsageError

FORMAT = 1
FILE = "das.json"
DEFAULT_COMMAND = "dasctl"

_USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@+-]{0,63}\Z")
_HOST = re.compile(r"[A-Za-z0-9_:.][A-Za-z0-9_:.%-]{0,254}\Z")
_MAX_PORT = 65535


def is_user(text: str) -> bool:
    """Whether `text` can be the name of a login."""
    return bool(_USER.match(text))


def is_host(text: str) -> bool:
    """Whether `text` can be a host's name or address; never one that a program could take for an option."""
    return bool(_HOST.match(text))


def is_port(value: object) -> bool:
    """Whether `value` can be a port."""
    return type(value) is int and 1 <= value <= _MAX_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Das:
    """Where the DAS's sshd answers. What is None is left to OpenSSH's configuration."""

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parsed(cls, text: str) -> Das:
        """`[USER@]HOST[:PORT]`; an IPv6 address with a port stands in brackets. Raises UsageError."""
        user, at, place = text.rpartition("@")
        host, port = place, ""
        if place.startswith("["):
            host, _, rest = place[1:].partition("]")
            port = rest.removeprefix(":")
        elif place.count(":") == 1:
            host, _, port = place.partition(":")
        number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else None
        wrong = (at and not is_user(user)) or not is_host(host) or (port and not is_port(number))
        if wrong or (":" in place and not port and not host.count(":") > 1):
            raise UsageError(
                f"not the address of a DAS: {text!r}", hint="it reads USER@HOST or USER@HOST:PORT"
            )
        return cls(host=host, user=user or None, port=number)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.port else self.host
        return f"{self.user + '@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinates:
    """A domain, its DAS, and this node's place in it. `key`: the private key's file; `host_key`: a line of known_hosts."""

    das: Das
    domain_dir: str
    domain_name: str = ""
    domain_id: str = ""
    node: str = ""
    instances: tuple[str, ...] = ()
    key: str | None = None
    host_key: str | None = None
    command: str = DEFAULT_COMMAND

    @property
    def remote_command(self) -> str:
        """What the DAS's login shell is asked to run. A restricted key runs its forced command instead."""
        return f"{self.command} --domain {shlex.quote(self.domain_dir)} serve-members"

    def with_instance(self, name: str) -> Coordinates:
        return self if name in self.instances else replace(self, instances=(*self.instances, name))

    def without_instance(self, name: str) -> Coordinates:
        return replace(self, instances=tuple(other for other in self.instances if other != name))

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "das": {
                "host": self.das.host, "port": self.das.port, "user": self.das.user, "key": self.key,
                "host_key": self.host_key, "command": self.command,
            },
            "domain": {"name": self.domain_name, "id": self.domain_id, "dir": self.domain_dir},
            "node": self.node,
            "instances": list(self.instances),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a node tells the DAS about itself. `host_keys`: fingerprints that its sshd may show; `boot`: of this boot."""

    name: str  # short
    hostname: str  # as full as it is known
    boot: str = ""
    host_keys: tuple[str, ...] = ()


def coordinates_of(document: object, where: str) -> Coordinates:
    """The coordinates in a parsed `das.json`; `where` names the file. Raises OperationFailed, FormatTooNew."""
    if not isinstance(document, dict):
        raise _damaged(where)
    if isinstance(document.get("format"), int) and document["format"] > FORMAT:
        raise FormatTooNew(f"{where} was written by a newer dasctl (format {document['format']})")
    try:
        return _read(document)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(where) from error


def _read(document: Mapping[str, Any]) -> Coordinates:
    das, domain = document["das"], document["domain"]
    if document["format"] != FORMAT or not is_host(das["host"]):
        raise ValueError(document["format"])
    if das["port"] is not None and not is_port(das["port"]):
        raise ValueError(das["port"])
    if das["user"] is not None and not is_user(das["user"]):
        raise ValueError(das["user"])
    names_here = [_text(document["node"]), *map(_text, document["instances"])]
    if any(names.fault_of(name) for name in names_here):
        raise ValueError(names_here)
    return Coordinates(
        das=Das(host=das["host"], user=das["user"], port=das["port"]),
        domain_dir=_text(domain["dir"]), domain_name=_text(domain["name"]), domain_id=_text(domain["id"]),
        node=names_here[0], instances=tuple(names_here[1:]), key=_optional(das["key"]),
        host_key=_optional(das["host_key"]), command=_text(das["command"]),
    )  # fmt: skip


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _damaged(where: str) -> OperationFailed:
    return OperationFailed(
        f"{where} is damaged: it does not say where the DAS is", hint="write it anew: dasctl join-domain"
    )
