"""Comparison: ancestor, disk and wish of one path, and what follows."""

from __future__ import annotations

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
    ancestor: Entry | None, actual: Entry | None, wanted: Entry | None, policy: str, full: bool = False
) -> compare.Plan:
    seen = Seen()
    if actual is not None:
        if actual == ancestor:
            seen.same.add(P)
        else:
            seen.other[P] = actual
    before = {P: manifest.line(ancestor)} if ancestor else {}
    after = {P: manifest.line(wanted)} if wanted else {}
    return compare.plan(before, after, seen, policy=policy, full=full)


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
