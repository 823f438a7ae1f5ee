"""How far a rolling change has come, written down after every transition.

What lives here: the one place where a rollout changes. What must not: the table of transitions (`core/rollout.py`).
"""

from __future__ import annotations

from dataclasses import replace

from dasctl.core.rollout import Rollout, State
from dasctl.errors import OperationFailed
from dasctl.operations.ports import Context, Rollouts


def kept_of(ctx: Context) -> Rollouts:
    """Where what is unfinished is kept. Raises OperationFailed where there is no such place."""
    if ctx.rollouts is None:
        raise OperationFailed("a rolling change needs a domain folder that it can be kept in")
    return ctx.rollouts


class Chronicle:
    """Of one rolling change, or (`of`) of the one that takes `of` back."""

    def __init__(self, ctx: Context, rollout: Rollout, *, of: Rollout | None = None) -> None:
        self._kept = kept_of(ctx)
        self._of = of
        self.rollout = rollout
        self.broken: OperationFailed | None = None  # why nothing can be written down any more

    def begin(self) -> None:
        """Write it down as it is. Raises OperationFailed where that cannot be done; from then on it is not tried again."""
        if self.broken is not None:
            return
        whole = self.rollout if self._of is None else replace(self._of, back=self.rollout)
        try:
            self._kept.write(whole.encoded())
        except OperationFailed as error:
            self.broken = error
            raise

    def next_batch(self) -> None:
        self.rollout = self.rollout.with_batch()

    def note(self, name: str, *, ran: bool) -> None:
        """Remember of an instance that is about to be begun whether its server runs. What was remembered first, stays."""
        if self.rollout.of(name).ran is None:
            members = (replace(m, ran=ran) if m.name == name else m for m in self.rollout.members)
            self.rollout = replace(self.rollout, members=tuple(members))

    def fail(self, name: str, message: str) -> None:
        """It has come to no good end; where it stands on its node is not known."""
        self.move(name, State.FAILED, message=message)

    def move(
        self,
        name: str,
        state: State,
        *,
        drained: bool | None = None,
        message: str = "",
    ) -> None:
        """Make a transition, and write it down. Raises OperationFailed where that cannot be done."""
        self.rollout = self.rollout.moved(name, state, drained=drained, message=message)
        self.begin()
