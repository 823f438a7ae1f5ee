"""How far a rolling change has come, and what is next: a state machine, kept in a file, so that no kill is the end of it.

What lives here: the states of an instance, the table of their transitions, the decision about the next step, the text that
is kept. What must not: links, files, time. `operations/rolling.py` acts, and writes down each transition when it was made.

    waiting ─ draining ─ stopping ─ synchronising ─ starting ─ ready ─ undraining ─ done
                 any of these ─ failed                            interrupted: waiting, begun anew
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

import msgspec

from dasctl.core.domain import Criterion, Deviations
from dasctl.core.rolling import Rolling
from dasctl.errors import FormatTooNew, OperationFailed

FORMAT = 1
Restart = Literal["needed", "always", "never"]


class State(StrEnum):
    """Where one instance is in a rolling change."""

    WAITING = "waiting"
    DRAINING = "draining"  # out of the load balancer, or on its way; it serves
    STOPPING = "stopping"
    SYNCHRONISING = "synchronising"
    STARTING = "starting"
    READY = "ready"  # its ready check said so; not yet back in the load balancer
    UNDRAINING = "undraining"
    DONE = "done"
    FAILED = "failed"
    ROLLED_BACK = "rolled back"
    SKIPPED = "skipped"  # not begun, and it will not be


_S = State
TRANSITIONS: Mapping[State, frozenset[State]] = {
    _S.WAITING: frozenset(
        {
            *(_S.DRAINING, _S.STOPPING, _S.SYNCHRONISING, _S.STARTING, _S.UNDRAINING),
            *(_S.DONE, _S.FAILED, _S.SKIPPED),
        }
    ),
    _S.DRAINING: frozenset({_S.STOPPING, _S.FAILED, _S.WAITING}),
    _S.STOPPING: frozenset({_S.SYNCHRONISING, _S.STARTING, _S.FAILED, _S.WAITING}),
    # A running server whose files need no restart is synchronised first, and may turn out to need one all the same.
    _S.SYNCHRONISING: frozenset(
        {_S.STARTING, _S.DRAINING, _S.STOPPING, _S.UNDRAINING, _S.DONE, _S.FAILED, _S.WAITING}
    ),
    _S.STARTING: frozenset({_S.READY, _S.FAILED, _S.WAITING}),
    _S.READY: frozenset({_S.UNDRAINING, _S.DONE, _S.FAILED, _S.WAITING}),
    _S.UNDRAINING: frozenset({_S.DONE, _S.FAILED, _S.WAITING}),
    # What was confirmed could not be written down: then it was not.
    _S.DONE: frozenset({_S.ROLLED_BACK, _S.FAILED}),
    _S.FAILED: frozenset({_S.WAITING, _S.ROLLED_BACK}),
    _S.ROLLED_BACK: frozenset(),
    _S.SKIPPED: frozenset({_S.WAITING}),
}
ENDED = frozenset({State.DONE, State.ROLLED_BACK})
AT_REST = frozenset({_S.WAITING, _S.DONE, _S.FAILED, _S.ROLLED_BACK, _S.SKIPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One instance. `ran`: its server ran when it was begun first; None: it was not begun. `before`: the revision that it
    had. `drained`: it may be out of the load balancer. `message`: why it failed.
    """

    name: str
    state: State = State.WAITING
    ran: bool | None = None
    before: int | None = None
    drained: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """What each instance goes through. `sync`: how it is synchronised; `starts`: servers that do not run are started."""

    restart: Restart = "needed"
    sync: Literal["none", "normal", "full"] = "normal"
    starts: bool = False
    kill: bool = False
    reload: bool = True
    criterion: Criterion | None = None
    deviations: Deviations | None = None
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    verify: bool = False
    yes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """The next batch: its instances, its number, and how many there will have been."""

    names: tuple[str, ...]
    number: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Every instance has had its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Too many have failed: nothing more is begun."""

    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BringBack:
    """Too many have failed, and these, the last one first, shall have again what they had before."""

    names: tuple[str, ...]


Decision = Begin | Finished | Stopped | BringBack


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One rolling change. `line`: the command as it was typed; `revision` and `digest`: what is rolled out, None where
    nothing is synchronised. `begun`: how many batches were. `returning`: it is to be taken back; `back`: how.
    """

    command: str
    line: str
    who: str
    host: str
    when: float
    rolling: Rolling
    ordered: Ordered
    members: tuple[Member, ...]
    revision: int | None = None
    digest: str = ""
    begun: int = 0
    format: int = FORMAT
    returning: bool = False
    back: Rollout | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    def of(self, name: str) -> Member:
        return next(member for member in self.members if member.name == name)

    def those(self, *states: State) -> tuple[str, ...]:
        """The instances in one of these states, in their order."""
        return tuple(member.name for member in self.members if member.state in states)

    @property
    def under_way(self) -> tuple[str, ...]:
        """The instances that were begun, and have come to no end."""
        return tuple(member.name for member in self.members if member.state not in AT_REST)

    def moved(
        self,
        name: str,
        state: State,
        *,
        drained: bool | None = None,
        ran: bool | None = None,
        message: str = "",
    ) -> Rollout:
        """The same after one transition. ValueError where the table has none like it."""
        known = self.of(name)
        if state not in TRANSITIONS[known.state]:
            raise ValueError(f"{name}: from {known.state} to {state}")
        moved = replace(
            known, state=state, message=message, drained=known.drained if drained is None else drained,
            ran=known.ran if ran is None else ran,
        )  # fmt: skip
        return replace(self, members=tuple(moved if m.name == name else m for m in self.members))

    @property
    def out(self) -> tuple[str, ...]:
        """The instances that may be out of the load balancer."""
        found = self.members if self.back is None else (*self.members, *self.back.members)
        return tuple(dict.fromkeys(member.name for member in found if member.drained))

    def inherited(self, other: Rollout | None) -> Rollout:
        """The same, knowing what `other`, which it takes the place of, left half done: it is begun anew here."""
        if other is None:
            return self
        half = {
            m.name: m
            for m in (*other.members, *(other.back.members if other.back else ()))
            if m.state not in ENDED
        }
        members = (
            replace(m, ran=half[m.name].ran, drained=m.name in other.out) if m.name in half else m
            for m in self.members
        )
        return replace(self, members=tuple(members))

    def with_batch(self) -> Rollout:
        """The same with one more batch begun."""
        return replace(self, begun=self.begun + 1)

    def resumed(self) -> Rollout:
        """The same, ready to go on: what failed or was interrupted is begun anew. What is taken back is taken back on."""
        if self.returning:
            return replace(self, back=self.back.resumed() if self.back is not None else None)
        waiting = tuple(
            member if member.state in ENDED else replace(member, state=State.WAITING, message="")
            for member in self.members
        )
        return replace(self, members=waiting)

    def next(self) -> Decision:
        """What is to be done now, where no instance is under way."""
        failed = self.those(State.FAILED)
        if self.rolling.tolerance.exceeded(len(failed), len(self.members)):
            back = self.changed if self.rolling.auto_rollback else ()
            return BringBack(names=back) if back else Stopped(failed=failed)
        waiting = self.those(State.WAITING)
        if not waiting:
            return Finished()
        size = self.rolling.size(len(self.members))
        left = -(-len(waiting) // size)
        return Begin(names=waiting[:size], number=self.begun + 1, of=self.begun + left)

    @property
    def changed(self) -> tuple[str, ...]:
        """Whoever may have another revision than before, the last one first."""
        return tuple(
            member.name
            for member in reversed(self.members)
            if member.state in (State.DONE, State.FAILED)
            and member.ran is not None
            and member.before not in (None, self.revision)
        )

    def backwards(self, names: Sequence[str], revision: int, digest: str) -> Rollout:
        """The change that brings `names` to `revision`, which holds what they had before. Failures do not stop it."""
        members = tuple(
            Member(name=name, before=self.revision, ran=self.of(name).ran, drained=self.of(name).drained)
            for name in names
        )
        rolling = replace(self.rolling, auto_rollback=False, max_failures="100%")
        ordered = replace(self.ordered, restart="needed", only=(), exclude=(), starts=False, yes=True)
        return replace(
            self, rolling=rolling, ordered=ordered, members=members, revision=revision, digest=digest, begun=0,
            returning=False,
        )  # fmt: skip

    def encoded(self) -> bytes:
        """As it is kept: JSON in ASCII, indented for people; what was typed and said may hold any bytes."""
        return json.dumps(msgspec.to_builtins(self), indent=1).encode("ascii") + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    format: int = field(default=0)


def decoded(data: bytes) -> Rollout:
    """What was kept. Raises FormatTooNew, OperationFailed where it is damaged."""
    try:
        found = json.loads(data)
        if msgspec.convert(found, _Head).format > FORMAT:
            raise FormatTooNew(".dasctl/rolling was written by a newer dasctl", hint="use that dasctl")
        return msgspec.convert(found, Rollout)
    except (ValueError, RecursionError) as error:
        raise OperationFailed(
            f".dasctl/rolling, where an unfinished rolling change is kept, cannot be read: {error}",
            hint="look at the servers with list-instances; --rolling --anew forgets it",
        ) from error
