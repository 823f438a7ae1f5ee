"""Comparison: ancestor, disk and wish of one path, and what follows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dasctl.remote import compare, manifest
from dasctl.remote.manifest import Entry
from dasctl.remote.tree import Seen

P = b"lib/p"
A = Entry(P, "f", 0o644, 1, 10, b"a" * 64)
B = Entry(P, "f", 0o644, 1, 20, b"b" * 64)
C = Entry(P, "f", 0o644, 1, 30, b"c" * 64)
A_TOUCHED = A._replace(mtime=99)
A_OPENED = A._replace(mode=0o666)
FOLDER = Entry(P, "d", 0o755, 0, 10, b"-")
FOLDER_LATER = FOLDER._replace(mtime=11)
LINK = Entry(P, "l", 0o777, 0, 10, b"x")

# ancestor, disk, wanted → why, and the deviation with policy overwrite; the action with policy keep
ROWS = [
    ("as it was", A, A, A, None, None, None),
    ("a change", A, A, B, "content", None, None),
    ("a new file", None, None, B, "new", None, None),
    ("a removal", A, A, None, "deleted", None, None),
    ("gone from both", A, None, None, None, None, None),
    ("there already", None, B, B, None, None, None),
    ("edited", A, C, A, "content", ("changed", "replaced"), "kept"),
    ("edited, and changed", A, C, B, "content", ("changed", "replaced"), "kept"),
    ("edited to what is wanted", A, B, B, None, None, None),
    ("edited, and to be removed", A, C, None, "deleted", ("changed", "removed"), "kept"),
    ("removed by hand", A, None, A, "new", ("missing", "restored"), "kept"),
    ("removed by hand, and changed", A, None, B, "new", ("missing", "restored"), "kept"),
    ("in the way", None, C, B, "content", ("extra", "replaced"), "kept"),
    ("a stranger", None, C, None, None, None, None),
    ("touched only", A, A_TOUCHED, A, "modtime", None, None),
    ("another mode by hand", A, A_OPENED, A, "mode", ("changed", "restored"), "kept"),
    ("another mode wanted", A, A, A_OPENED, "mode", None, None),
    ("file to folder", A, A, FOLDER, "kind", None, None),
    ("folder to file", FOLDER, FOLDER, A, "kind", None, None),
    ("folder to link", FOLDER, FOLDER, LINK, "kind", None, None),
    ("a link in the place of a folder", FOLDER, LINK, FOLDER, "kind", ("changed", "replaced"), "kept"),
    ("a folder in the place of a file", A, FOLDER, A, "kind", ("changed", "replaced"), "kept"),
    ("a folder's modtime counts as nothing", FOLDER, FOLDER_LATER, FOLDER, None, None, None),
    ("a folder is removed", FOLDER, FOLDER, None, None, None, None),
]


def planned(
    ancestor: Entry | None,
    actual: Entry | None,
    wanted: Entry | None,
    policy: str,
    full: bool = False,
    keep: Callable[[bytes], bool] | None = None,
) -> compare.Plan:
    seen = Seen()
    if actual is not None:
        if actual == ancestor:
            seen.same.add(P)
        else:
            seen.other[P] = actual
    before = {P: manifest.line(ancestor)} if ancestor else {}
    after = {P: manifest.line(wanted)} if wanted else {}
    return compare.plan(before, after, seen, policy=policy, full=full, keep=keep)


@pytest.mark.parametrize(
    "ancestor, actual, wanted, why, deviation, kept", [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
def test_table(
    ancestor: Entry | None, actual: Entry | None, wanted: Entry | None,
    why: str | None, deviation: tuple[str, str] | None, kept: str | None,
) -> None:  # fmt: skip
    plan = planned(ancestor, actual, wanted, "overwrite")
    assert [item[1] for item in plan.changes] == ([why] if why else [])
    assert [(item.kind, item.action) for item in plan.deviations] == ([deviation] if deviation else [])
    plan = planned(ancestor, actual, wanted, "keep")
    assert [item.action for item in plan.deviations] == ([kept] if kept else [])
    if kept:
        assert plan.changes == []


def test_full_moves_strangers_aside() -> None:
    plan = planned(None, C, None, "overwrite", full=True)
    assert (plan.move, plan.changes) == ([P], [(P, "deleted")])


def test_only_files_of_a_size_that_can_be_equal_are_read() -> None:
    seen = Seen()
    seen.other = {b"x": A._replace(path=b"x", digest=b""), b"y": A._replace(path=b"y", size=2, digest=b"")}
    wanted = {path: manifest.line(B._replace(path=path)) for path in (b"x", b"y")}
    assert compare.questions({}, wanted, seen) == [b"x"]


# ancestor, disk, wanted → what becomes of a path that is the node's once it was made
KEPT_ROWS = [
    ("never made", None, None, B, "new"),
    ("there at first", None, C, B, None),
    ("as it was made", A, A, A, None),
    ("changed by us", A, A, B, None),
    ("changed by the node", A, C, A, None),
    ("changed by both", A, C, B, None),
    ("removed by the node", A, None, A, None),
    ("removed by the node, changed by us", A, None, B, None),
    ("removed by us", A, A, None, None),
    ("removed by us, changed by the node", A, C, None, None),
    ("a stranger", None, C, None, None),
    ("touched", A, A_TOUCHED, A, None),
    ("another mode", A, A_OPENED, A, None),
    ("another mode wanted", A, A, A_OPENED, None),
    ("file to folder", A, A, FOLDER, None),
    ("folder to file", FOLDER, FOLDER, A, None),
    ("a folder that we remove", FOLDER, FOLDER, None, None),
    ("a folder with another mode", FOLDER, FOLDER._replace(mode=0o700), FOLDER, None),
    ("a folder that the node removed", FOLDER, None, FOLDER, None),
]


@pytest.mark.parametrize("policy", ["overwrite", "keep", "fail"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    "ancestor, actual, wanted, why", [r[1:] for r in KEPT_ROWS], ids=[r[0] for r in KEPT_ROWS]
)
def test_what_is_the_nodes(
    ancestor: Entry | None,
    actual: Entry | None,
    wanted: Entry | None,
    why: str | None,
    full: bool,
    policy: str,
) -> None:
    plan = planned(ancestor, actual, wanted, policy, full, keep=lambda path: path == P)
    assert plan.changes == ([(P, why)] if why else [])
    assert (plan.deviations, plan.kept) == ([], {})
    assert plan.nothing() is (why is None)


def test_folders_stay_above_what_stays() -> None:
    before = {}
    seen = Seen()
    for path, kind in (
        (b"lib", "d"),
        (b"lib/p", "d"),
        (b"lib/p/q", "d"),
        (b"lib/p/q/x.sav", "f"),
        (b"lib/r", "d"),
    ):
        before[path] = manifest.line((FOLDER if kind == "d" else A)._replace(path=path))
        seen.same.add(path)
    plan = compare.plan(before, {}, seen, full=True, keep=lambda path: path.endswith(b".sav"))
    assert (plan.rmdir, plan.remove, plan.changes) == ([b"lib/r"], [], [])


def test_folders_stay_above_what_is_excluded() -> None:
    seen = Seen()
    seen.other = {
        b"lib/p": FOLDER,
        b"lib/p/x": C._replace(path=b"lib/p/x"),
        b"lib/r": FOLDER._replace(path=b"lib/r"),
    }
    plan = compare.plan({}, {}, seen, full=True, excluded=lambda path: path.endswith(b"x"))
    assert (plan.rmdir, plan.move) == ([b"lib/r"], [])


def test_what_the_node_may_change_is_not_read() -> None:
    seen = Seen()
    seen.other = {P: A._replace(mtime=99, digest=b"")}
    before = {P: manifest.line(A)}
    assert compare.questions(before, before, seen) == [P]
    assert compare.questions(before, before, seen, keep=lambda path: True) == []
