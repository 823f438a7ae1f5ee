"""Switches to another release that were begun: which servers ran then, and what their nodes had before.

What lives here: the text in which that is kept. What must not: links, files; `operations/switch_notes.py` keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from dasctl.errors import FormatTooNew, OperationFailed

FORMAT = 1
PLACE = ".dasctl/upgrading"


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """One node's switch. `was`: what its link `current` said before; `servers`: the instances that ran then, and are to run
    again, in the load balancer.
    """

    was: str | None
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunSwitches:
    """Those of all nodes."""

    nodes: Mapping[str, Begun] = field(default_factory=dict)
    format: int = FORMAT

    def encoded(self) -> bytes:
        """As it is kept: JSON, indented for people."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    format: int = field(default=0)


def decoded(data: bytes) -> BegunSwitches:
    """What was kept. Raises FormatTooNew, OperationFailed where it is damaged."""
    try:
        if msgspec.json.decode(data, type=_Head).format > FORMAT:
            raise FormatTooNew(f"{PLACE} was written by a newer dasctl", hint="use that dasctl")
        return msgspec.json.decode(data, type=BegunSwitches)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise OperationFailed(
            f"{PLACE}, where switches that were begun are kept, cannot be read: {error}",
            hint="look at the servers with list-instances, start those that should run, and remove the file",
        ) from error
