"""Files that are ours to create and the node's to change afterwards."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import Das, Tree, on_disk

from dasctl.remote import state, tree, work

KEEP = ["^docroot/data(?:/|$)", r"\.sav$"]


def shop(data: bytes = b"made by us") -> Tree:
    return Tree().file("docroot/data/counter", data).file("docroot/page", b"page").file("lib/x.sav", data)


def kept(das: Das, tree: Tree, **further: Any) -> dict[str, Any]:
    verdict = das.one(tree, **{"keep": KEEP, **further})
    assert (verdict["verdict"] in ("done", "unchanged"), verdict["problems"]) == (True, []), verdict
    return verdict


def made(path: Path, tree: Tree | None = None) -> tuple[Das, Path]:
    das = Das(path)
    assert kept(das, tree or shop())["verdict"] == "done"
    return das, path / "web1"


def told(verdict: dict[str, Any]) -> tuple[str, list[str], list[str]]:
    return (
        verdict["verdict"],
        [item["path"] for item in verdict["changes"]],
        [item["path"] for item in verdict["deviations"]],
    )


def test_it_is_made_once_like_any_other(tmp_path: Path) -> None:
    _das, root = made(tmp_path)
    assert on_disk(root) == shop().entries


@pytest.mark.parametrize("policy", ["overwrite", "keep", "fail"])
@pytest.mark.parametrize("criterion", ["modtime", "hash"])
@pytest.mark.parametrize("full", [False, True])
def test_what_the_node_made_of_it_stays(tmp_path: Path, policy: str, criterion: str, full: bool) -> None:
    das, root = made(tmp_path)
    how = {"deviations": policy, "criterion": criterion, "full": full}
    (root / "docroot/data/counter").write_bytes(b"42")
    (root / "docroot/data/counter").chmod(0o600)
    (root / "docroot/data/more").mkdir()
    (root / "docroot/data/more/own").write_bytes(b"own")
    (root / "docroot/data").chmod(0o700)
    (root / "lib/x.sav").unlink()
    assert told(kept(das, shop(), **how)) == ("unchanged", [], [])
    # The repository changes it, removes it, and puts something else beside it: still the node's.
    other = shop(b"of ours, later").file("lib/new", b"new")
    assert told(kept(das, other, **how)) == ("done", ["lib/new"], [])
    gone = other.copy().without("docroot/data").without("lib/x.sav")
    assert told(kept(das, gone, **how))[2] == []
    assert told(kept(das, gone, **how)) == ("unchanged", [], [])
    assert (root / "docroot/data/counter").read_bytes() == b"42"
    assert (root / "docroot/data/counter").stat().st_mode & 0o777 == 0o600
    assert (root / "docroot/data").stat().st_mode & 0o777 == 0o700
    assert (root / "docroot/data/more/own").read_bytes() == b"own"
    assert not (root / "lib/x.sav").exists()


def test_what_is_there_at_first_is_the_nodes(tmp_path: Path) -> None:
    own = tmp_path / "web1/docroot/data/counter"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"by hand")
    das, _root = made(tmp_path)
    assert own.read_bytes() == b"by hand"
    assert told(kept(das, shop(b"later"))) == ("unchanged", [], [])


def test_one_that_comes_later_is_made_in_a_folder_that_the_node_removed(tmp_path: Path) -> None:
    das, root = made(tmp_path)
    shutil.rmtree(root / "docroot/data")
    later = shop().file("docroot/data/a/b/new", b"later")
    verdict = kept(das, later)
    assert told(verdict)[1:] == (
        ["docroot/data", "docroot/data/a", "docroot/data/a/b", "docroot/data/a/b/new"],
        [],
    )
    assert sorted(os.listdir(root / "docroot/data")) == ["a"]
    assert (root / "docroot/data/a/b/new").read_bytes() == b"later"
    assert told(kept(das, later)) == ("unchanged", [], [])


def test_without_the_pattern_the_ordinary_rules_apply(tmp_path: Path) -> None:
    das, root = made(tmp_path)
    (root / "docroot/data/counter").write_bytes(b"42")
    (root / "lib/x.sav").unlink()
    changed = shop(b"of ours, later")
    kept(das, changed)
    verdict = das.one(changed, keep=None)
    assert [(item["path"], item["kind"]) for item in verdict["deviations"]] == [
        ("docroot/data/counter", "changed"),
        ("lib/x.sav", "missing"),
    ]
    assert (root / verdict["deviations"][0]["aside"]).read_bytes() == b"42"
    assert on_disk(root) == changed.entries


def test_it_comes_back_where_the_node_has_none(tmp_path: Path) -> None:
    das, root = made(tmp_path)
    (root / "lib/x.sav").unlink()
    kept(das, shop().without("lib/x.sav"))
    assert told(kept(das, shop(b"again")))[1] == ["lib/x.sav"]
    assert (root / "lib/x.sav").read_bytes() == b"again"


def test_a_file_does_not_take_the_place_of_a_folder_that_holds_one(tmp_path: Path) -> None:
    tree = Tree().file("lib/app/x.sav", b"1").file("lib/app/code", b"c")
    das, root = made(tmp_path, tree)
    instead = Tree().file("lib/app", b"a file now")
    for _round in range(2):
        verdict = kept(das, instead)
        assert [(item["path"], item["kind"], item["action"]) for item in verdict["deviations"]] == [
            ("lib/app", "extra", "kept")
        ]
        assert (root / "lib/app/x.sav").read_bytes() == b"1"
    (root / "lib/app/x.sav").unlink()
    assert told(kept(das, instead))[2] == ["lib/app"]
    assert on_disk(root) == instead.entries


def test_a_kept_file_stands_where_a_folder_is_wanted(tmp_path: Path) -> None:
    das, root = made(tmp_path, Tree().file("docroot/data", b"a file"))
    tree = Tree().file("docroot/data/x", b"1")
    for _round in range(2):
        assert told(kept(das, tree)) == ("unchanged", [], [])
    (root / "docroot/data").unlink()
    assert told(kept(das, tree))[1] == ["docroot/data", "docroot/data/x"]
    assert on_disk(root) == tree.entries


def test_local_wins_over_it(tmp_path: Path) -> None:
    das, root = made(tmp_path)
    (root / "local/lib").mkdir()
    (root / "local/lib/x.sav").write_bytes(b"local")
    assert [item["kind"] for item in kept(das, shop())["deviations"]] == ["overridden"]
    assert (root / "lib/x.sav").read_bytes() == b"local"
    (root / "local/lib/x.sav").unlink()
    kept(das, shop())
    assert (root / "lib/x.sav").read_bytes() == b"made by us"
    (root / "lib/x.sav").write_bytes(b"the node's again")
    assert told(kept(das, shop())) == ("unchanged", [], [])


def test_one_whose_making_failed_is_made_the_next_time(tmp_path: Path) -> None:
    das, root = made(tmp_path, Tree().file("lib/code", b"c"))
    wanted = Tree().file("lib/code", b"c").file("docroot/data/counter", b"0")

    failed: list[str] = []

    def fail(operation: str) -> None:
        if (
            operation in ("rename", "mkdir")
            and (root / ".dasctl/journal").exists()
            and operation not in failed
        ):
            failed.append(operation)
            raise PermissionError(13, "Permission denied")

    verdict = das.one(wanted, keep=KEEP, before=fail)
    assert (verdict["verdict"], failed[0]) == ("failed", "rename"), verdict
    assert [item["path"] for item in verdict["problems"]][-1].startswith("docroot/data")
    assert not (root / "docroot/data/counter").exists()
    das.expects["web1"] = das.revision
    kept(das, wanted)
    assert (root / "docroot/data/counter").read_bytes() == b"0"


def test_a_partial_synchronisation_forgets_nothing_of_the_others(tmp_path: Path) -> None:
    das, root = made(tmp_path, Tree().file("docroot/data", b"a file").file("lib/code", b"1"))
    tree = Tree().file("docroot/data/x", b"1").file("lib/code", b"1")
    kept(das, tree)  # a file of the node stands where the folder is wanted
    kept(das, tree.file("lib/code", b"2"), only=["^lib/"])
    (root / "docroot/data").unlink()
    kept(das, tree)
    assert on_disk(root) == tree.entries


def test_a_folder_of_the_nodes_keeps_its_mode_when_something_new_comes(tmp_path: Path) -> None:
    das, root = made(tmp_path)
    (root / "docroot/data").chmod(0o770)
    kept(das, shop().file("docroot/data/new", b"new"))
    assert (root / "docroot/data").stat().st_mode & 0o777 == 0o770
    assert (root / "docroot/data/new").read_bytes() == b"new"


def test_what_is_the_nodes_is_not_read(tmp_path: Path) -> None:
    _das, _root = made(tmp_path)
    place = state.open_place(str(tmp_path), "web1", create=False)
    assert place is not None
    one = work.Work({"name": "web1", "only": None, "except": None})
    one.digests, one.keep = tree.Digests(place.handles), lambda path: path.endswith(b".sav")
    status = os.stat(tmp_path)
    assert one.reader()(b"lib/not there.sav", status) == b""
    with pytest.raises(FileNotFoundError):
        one.reader()(b"lib/not there", status)
    place.close()


def test_a_pattern_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="not a pattern"):
        Das(tmp_path).one(shop(), keep=["("])
