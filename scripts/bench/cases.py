"""What is measured: the situations of a working day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trees import OLD_S, Tree, change_one, change_small, set_modtimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One situation. `change` is done to the tree before each turn; `fresh` empties the nodes before each run."""

    name: str
    title: str
    nodes: int
    change: Callable[[Tree, int], None] | None = None
    fresh: bool = False


def _thousand(tree: Tree, turn: int) -> None:
    change_small(tree, turn, 1000)


def _all_modtimes(tree: Tree, turn: int) -> None:
    set_modtimes(tree, OLD_S + 86_400 * turn)


CASES = (
    Case(name="nothing-1", title="nothing to do", nodes=1),
    Case(name="nothing-8", title="nothing to do", nodes=8),
    Case(name="nothing-32", title="nothing to do", nodes=32),
    Case(name="one-file", title="one file changed", nodes=8, change=change_one),
    Case(name="small-files", title="1,000 small files changed", nodes=8, change=_thousand),
    Case(name="modtimes", title="all modtimes changed", nodes=8, change=_all_modtimes),
    Case(name="first", title="first synchronisation", nodes=8, fresh=True),
)
