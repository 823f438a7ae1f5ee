"""Stamps and revisions: who has authority over the state of an instance, and where it stands.

What lives here: the values and the chain of digests. What must not: the judgement of a node (`remote/guard.py`), storage.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A place in a history: the number of a revision, and the digest of it and all before it."""

    revision: int
    digest: str

    def as_wire(self) -> list[Any]:
        return [self.revision, self.digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One state change of the domain. `when` is in seconds since the epoch; `digest` closes the chain, see `sealed`."""

    number: int
    epoch: int
    config_id: int
    who: str
    host: str
    when: float
    command: str
    summary: str
    state: str  # digest of the whole repository and domain.yaml, see core/slices.py
    digest: str = ""

    @property
    def standing(self) -> Standing:
        return Standing(revision=self.number, digest=self.digest)

    def sealed(self, previous: str) -> Revision:
        """The same revision with its digest, given the digest of the one before it ("" before the first)."""
        text = "\0".join(
            str(part)
            for part in (
                previous, self.number, self.epoch, self.config_id, self.who, self.host,
                repr(self.when), self.command, self.summary, self.state,
            )
        )  # fmt: skip
        return Revision(
            number=self.number, epoch=self.epoch, config_id=self.config_id, who=self.who, host=self.host,
            when=self.when, command=self.command, summary=self.summary, state=self.state,
            digest=hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest(),
        )  # fmt: skip

    def as_lead(self) -> dict[str, Any]:
        """What a request carries as `lead`: the stamp, and who made the revision for whoever is refused later."""
        return {
            "epoch": self.epoch, "config_id": self.config_id, "revision": self.number, "digest": self.digest,
            "who": self.who, "host": self.host, "when": self.when, "command": self.command,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """What an instance confirmed last: where it stands, and the parts it has (name, digest), in order."""

    standing: Standing
    parts: tuple[tuple[str, str], ...]
    when: float
    node: str = ""  # where it was then
