"""What is measured: the situations of a working day, and the trees that they happen in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from archives import make_war, rebuild_war
from trees import (
    OLD_S,
    Tree,
    change_one,
    change_small,
    insert_in_large,
    make_large,
    make_many,
    make_tree,
    set_modtimes,
)

MIXED, WAR, LARGE, MANY = "mixed", "war", "large", "many"
QUICK = {MIXED: 500, MANY: 3_000}
FULL = {MIXED: 10_000, MANY: 100_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One situation. `change` is done to the tree before each turn; `fresh` empties the nodes before each run; `around`
    holds while the case is measured. `delay_ms` is added to every round trip, by a proxy before the servers.
    """

    name: str
    title: str
    nodes: int
    goal: float  # dasctl / rsync in seconds that we aim at
    ground: str = MIXED
    change: Callable[[Tree, int], None] | None = None
    fresh: bool = False
    around: Callable[[Tree], AbstractContextManager[None]] = lambda tree: nullcontext()
    delay_ms: float = 0.0

    def on(self, nodes: int) -> Case:
        return replace(self, nodes=nodes)


def ground_of(kind: str, root: Path, *, quick: bool) -> Tree:
    """Make the tree of that kind at `root`."""
    counts = QUICK if quick else FULL
    match kind:
        case "war":
            return make_war(root)
        case "large":
            return make_large(root, megabytes=10 if quick else 100)
        case "many":
            return make_many(root, files=counts[MANY])
        case _:
            return make_tree(root, files=counts[MIXED])


def _thousand(tree: Tree, turn: int) -> None:
    change_small(tree, turn, 1000)


def _all_modtimes(tree: Tree, turn: int) -> None:
    set_modtimes(tree, OLD_S + 86_400 * turn)


@contextmanager
def _in_one_folder(tree: Tree) -> Iterator[None]:
    """A fifth of the tree (2,000 of 10,000 files) in one folder, which every turn renames; put back in the end."""
    folder = tree.root / "release-0"
    folder.mkdir()
    parts = [tree.root / f"part{number:02}" for number in range(4)]
    for part in parts:
        part.rename(folder / part.name)
    try:
        yield
    finally:
        (last,) = tree.root.glob("release-*")
        for part in parts:
            (last / part.name).rename(part)
        last.rmdir()
        set_modtimes(tree, OLD_S)


def _rename(tree: Tree, turn: int) -> None:
    (last,) = tree.root.glob("release-*")
    last.rename(tree.root / f"release-{turn}")


def _large(tree: Tree, turn: int) -> None:
    insert_in_large(tree, turn)


CASES = (
    Case(name="nothing-1", title="nothing to do", nodes=1, goal=1.0),
    Case(name="nothing-8", title="nothing to do", nodes=8, goal=0.45),
    Case(name="nothing-32", title="nothing to do", nodes=32, goal=0.33),
    Case(name="one-file", title="one file changed", nodes=8, goal=0.45, change=change_one),
    Case(name="one-file-32", title="one file changed", nodes=32, goal=0.33, change=change_one),
    Case(name="small-files", title="1,000 small files changed", nodes=8, goal=0.5, change=_thousand),
    Case(name="first", title="first synchronisation", nodes=8, goal=0.8, fresh=True),
    Case(name="modtimes", title="all modtimes changed", nodes=8, goal=0.5, change=_all_modtimes),
    Case(name="war", title="a rebuilt .war of 17 MB", nodes=8, goal=0.4, ground=WAR, change=rebuild_war),
    Case(name="insert", title="1 MB inserted in 100 MB", nodes=8, goal=0.4, ground=LARGE, change=_large),
    Case(
        name="rename",
        title="a folder of 2,000 renamed",
        nodes=8,
        goal=0.3,
        change=_rename,
        around=_in_one_folder,
    ),
    Case(name="many", title="100,000 files, nothing to do", nodes=8, goal=0.5, ground=MANY),
    Case(name="far", title="one file, 40 ms away", nodes=8, goal=0.7, change=change_one, delay_ms=40.0),
)
