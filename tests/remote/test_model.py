"""Whatever a tree was, synchronising it to another gives exactly that other, and then nothing is left to do."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.remote.conversation import Das, Tree, on_disk

from dasctl.remote.manifest import Entry

NAMES = st.sampled_from([b"a", b"b", b"c", b"-x", b"\xff", b"n\nl", b"sp ace", b"a.b", b"a%20"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
AREAS = st.sampled_from([b"config", b"lib", b"docroot", b"applications/app"])
TIMES = st.integers(min_value=-(10**18), max_value=4 * 10**18)
ITEMS = st.tuples(
    AREAS, PATHS, st.sampled_from("ffffdl"), st.sampled_from([b"", b"one", b"two", b"three" * 50]),
    st.sampled_from([0o644, 0o600, 0o755, 0o555, 0o444, 0o4755, 0o700]), TIMES,
)  # fmt: skip


def tree_of(items: list[tuple[bytes, bytes, str, bytes, int, int]]) -> Tree:
    tree = Tree()
    for area, path, kind, data, mode, mtime in items:
        where = area + b"/" + path
        tree.without(where)
        if kind == "f":
            tree.file(where, data, mode, mtime)
        elif kind == "d":
            tree.folder(where, mode | 0o500, mtime)
        else:
            tree.link(where, b"a b%", mtime)
        for other in list(tree.entries):
            above = other.rpartition(b"/")[0]
            if above and tree.entries.get(above) is not None and tree.entries[above].kind != "d":
                tree.without(other)
    return tree


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ITEMS, max_size=8), st.lists(ITEMS, max_size=8), st.lists(ITEMS, max_size=4), st.booleans())
def test_any_tree_becomes_any_other(
    first: list[tuple[bytes, bytes, str, bytes, int, int]],
    second: list[tuple[bytes, bytes, str, bytes, int, int]],
    by_hand: list[tuple[bytes, bytes, str, bytes, int, int]],
    full: bool,
) -> None:
    base = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    try:
        das = Das(base)
        before, after = tree_of(first), tree_of(second)
        verdict = das.one(before)
        assert verdict["verdict"] == "done", verdict
        assert on_disk(base / "web1") == before.entries
        meddle(base / "web1", by_hand)
        verdict = das.one(after, full=full)
        assert verdict["verdict"] in ("done", "unchanged"), verdict
        assert verdict["problems"] == []
        found = on_disk(base / "web1")
        assert {path: entry for path, entry in found.items() if path in after.entries} == after.entries
        if full:
            assert found == after.entries
        again = das.one(after, full=full)
        assert (again["verdict"], again["deviations"]) == ("unchanged", []), again
        assert on_disk(base / "web1") == found
    finally:
        for folder, _folders, _files in os.walk(base):
            os.chmod(folder, 0o755)
        shutil.rmtree(base)


def meddle(root: Path, items: list[tuple[bytes, bytes, str, bytes, int, int]]) -> None:
    """What people and servers do to files: make, change, remove, put one kind in the place of another."""
    for area, path, kind, data, mode, _mtime in items:
        where = os.path.join(os.fsencode(root), area, path)
        try:
            if os.path.lexists(where):
                if os.path.isdir(where) and not os.path.islink(where):
                    shutil.rmtree(where)
                else:
                    os.unlink(where)
            if kind == "f":
                os.makedirs(os.path.dirname(where), exist_ok=True)
                with open(where, "wb") as file:
                    file.write(data + b"by hand")
                os.chmod(where, mode | 0o400)
            elif kind == "d":
                os.makedirs(where, exist_ok=True)
            else:
                os.symlink(b"/etc", where)
        except OSError:
            continue


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(ITEMS, max_size=8),
    st.lists(ITEMS, max_size=8),
    st.lists(ITEMS, max_size=4),
    st.lists(ITEMS, max_size=4),
)
def test_kept_deviations_and_local_files_leave_nothing_behind(
    first: list[tuple[bytes, bytes, str, bytes, int, int]],
    second: list[tuple[bytes, bytes, str, bytes, int, int]],
    by_hand: list[tuple[bytes, bytes, str, bytes, int, int]],
    local: list[tuple[bytes, bytes, str, bytes, int, int]],
) -> None:
    """Whatever was kept or overridden: once the policy is overwrite and `local/` is empty, the tree is the wanted one."""
    base = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    root = base / "web1"
    try:
        das = Das(base)
        assert das.one(tree_of(first))["verdict"] == "done"
        meddle(root, by_hand)
        meddle(root / "local", local)
        after = tree_of(second)
        kept = das.one(after, deviations="keep")
        assert (kept["verdict"] in ("done", "unchanged"), kept["problems"]) == (True, []), kept
        again = das.one(after, deviations="keep")
        assert again["verdict"] == "unchanged", again
        # A kept file that is wanted no more is a stranger from then on.
        told = [item for item in kept["deviations"] if os.fsencode(item["path"]) in after.entries]
        assert [item for item in again["deviations"] if item in told] == told
        overwritten = das.one(after)
        assert overwritten["problems"] == []
        for entry in overwritten["deviations"]:
            if entry["kind"] == "overridden" and not (root / "local" / entry["path"]).is_symlink():
                assert (root / entry["path"]).read_bytes() == (root / "local" / entry["path"]).read_bytes()
        assert das.one(after)["verdict"] == "unchanged"
        shutil.rmtree(root / "local")
        assert das.one(after)["problems"] == []
        found = on_disk(root)
        assert {path: entry for path, entry in found.items() if path in after.entries} == after.entries
        das.one(after, full=True)
        assert on_disk(root) == after.entries
    finally:
        for folder, _folders, _files in os.walk(base):
            os.chmod(folder, 0o755)
        shutil.rmtree(base)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(ITEMS, max_size=8),
    st.lists(ITEMS, max_size=8),
    st.lists(ITEMS, max_size=5),
    st.booleans(),
    st.sampled_from(["overwrite", "keep"]),
)
def test_what_is_the_nodes_survives_everything(
    first: list[tuple[bytes, bytes, str, bytes, int, int]],
    second: list[tuple[bytes, bytes, str, bytes, int, int]],
    by_hand: list[tuple[bytes, bytes, str, bytes, int, int]],
    full: bool,
    policy: str,
) -> None:
    """Once made, it changes by nothing that the repository does; what was never made is; without the pattern all is ours."""
    base = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    root = base / "web1"
    pattern = "/a(?:/|$)"
    try:
        das = Das(base)
        before, after = tree_of(first), tree_of(second)
        assert das.one(before, keep=[pattern])["verdict"] == "done"
        meddle(root, by_hand)
        own = nodes_own(root, pattern)
        known = before.entries.keys() | on_disk(root).keys()
        verdict = das.one(after, keep=[pattern], full=full, deviations=policy)
        assert (verdict["verdict"] in ("done", "unchanged"), verdict["problems"]) == (True, []), verdict
        found = nodes_own(root, pattern)
        assert {path: found.get(path) for path in own} == own
        # What comes besides is what the repository has for the first time.
        assert {path for path in found if path not in own} <= after.entries.keys() - known
        whole = on_disk(root)
        again = das.one(after, keep=[pattern], full=full, deviations=policy)
        assert again["verdict"] == "unchanged", again
        assert on_disk(root) == whole
        last = das.one(after, full=True)
        assert (last["problems"], on_disk(root)) == ([], after.entries), last
    finally:
        for folder, _folders, _files in os.walk(base):
            os.chmod(folder, 0o755)
        shutil.rmtree(base)


def nodes_own(root: Path, pattern: str) -> dict[bytes, Entry]:
    """The files and links that the pattern is about, as they are on disk."""
    return {
        path: entry
        for path, entry in on_disk(root).items()
        if entry.kind != "d" and re.search(pattern, path.decode("latin-1"))
    }


KILLED = 42


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(ITEMS, max_size=6),
    st.lists(ITEMS, max_size=4),
    st.booleans(),
    st.lists(st.integers(1, 60), min_size=1, max_size=3),
)
def test_whatever_is_killed_whenever_the_next_synchronisation_mends_it(
    first: list[tuple[bytes, bytes, str, bytes, int, int]],
    second: list[tuple[bytes, bytes, str, bytes, int, int]],
    moves: bool,
    kills: list[int],
) -> None:
    """Files move, folders come whole, helpers die ahead of any change, several times in a row; a neighbour looks on."""
    base = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    try:
        das = Das(base)
        before = tree_of(first)
        assert das.sync(before, "web1", "web2")[0]["verdict"] == "done"
        after = tree_of([(area, b"moved/" + path, *rest) for area, path, *rest in first] if moves else [])
        for path, entry in tree_of(second).entries.items():
            if path not in after.entries:
                after.entries[path] = entry
        after.contents.update(tree_of(second).contents)
        for path in list(after.entries):
            above = path.rpartition(b"/")[0]
            if above and (above not in after.entries or after.entries[above].kind != "d"):
                after.without(path)
        for number in kills:
            killed_ahead_of(das, after, number)
        verdict = das.one(after, mass_deletion=True)
        if verdict["verdict"] == "stands":
            das.expects["web1"] = verdict["at"]["revision"]
            verdict = das.one(after, mass_deletion=True)
        assert verdict["verdict"] in ("done", "unchanged"), verdict
        assert on_disk(base / "web1") == after.entries
        assert on_disk(base / "web2") == before.entries
        assert os.listdir(base / "web1/.dasctl/staging") == []
        for folder, _folders, files in os.walk(os.fsencode(base)):
            assert {os.lstat(os.path.join(folder, name)).st_nlink for name in files} <= {1}
    finally:
        for folder, _folders, _files in os.walk(base):
            os.chmod(folder, 0o755)
        shutil.rmtree(base)


def killed_ahead_of(das: Das, tree: Tree, number: int) -> None:
    """Synchronise in a child that is killed ahead of its change `number`."""
    pid = os.fork()
    if pid == 0:
        left = number

        def before(operation: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(KILLED)

        try:
            das.one(tree, before=before, mass_deletion=True)
        finally:
            os._exit(KILLED)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == KILLED
