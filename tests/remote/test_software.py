"""Releases of the servers' own software: they arrive as instances do, `current` is moved by one rename, and what is in use
stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import (
    DOMAIN,
    END,
    Das,
    Tree,
    ask,
    instance,
    on_disk,
    standing,
    sync_request,
    talk,
)
from tests.remote.test_servers import Node

from dasctl.remote import frames, words


class Releases(Tree):
    """The wanted content of NODE_DIR/software, a part for each release."""

    def __init__(self) -> None:
        super().__init__()
        self.entries.clear()
        self.folder("releases")

    def copy(self) -> Releases:
        other = Releases()
        other.entries, other.contents = dict(self.entries), dict(self.contents)
        return other

    def parts(self) -> list[tuple[str, str, bytes]]:
        from dasctl.remote import manifest

        grouped: dict[str, list[Any]] = {}
        for path in sorted(self.entries, key=manifest.order):
            grouped.setdefault(os.fsdecode(b"/".join(path.split(b"/")[:2])), []).append(self.entries[path])
        made = [(name, manifest.encode(entries)) for name, entries in grouped.items()]
        return [(name, manifest.digest_of(data), data) for name, data in made]


def jdk(version: str, java: bytes = b"#!/bin/sh\n", into: Releases | None = None) -> Releases:
    tree = into.copy() if into is not None else Releases()
    top = f"releases/{version}"
    tree.file(f"{top}/bin/java", java, 0o755).file(f"{top}/lib/modules", bytes(range(256)) * 800, 0o444)
    tree.link(f"{top}/bin/j", b"java").link(f"{top}/lib/again", b"../lib/modules").folder(
        f"{top}/empty", 0o555
    )
    return tree


def sync(das: Das, tree: Tree, **further: Any) -> dict[str, Any]:
    return das.sync(tree, words.SOFTWARE, software=True, **further)[0]


def look(node: Path, **further: Any) -> dict[str, Any]:
    item = {"name": words.SOFTWARE, **further}
    header = {"op": "software", "dir": str(node), "domain": DOMAIN, "epoch": 1, "instances": [item]}
    return ask(header)["instances"][0]


def switch_request(node: Path, to: str, was: str | None, revision: int | None, **further: Any) -> bytes:
    expect = None if revision is None else standing(revision)
    item = {"name": words.SOFTWARE, "expect": expect, "to": to, "from": was}
    header = {"op": "switch", "dir": str(node), "domain": DOMAIN, "epoch": 1, "instances": [item], **further}
    return frames.encode(header)


def switch(node: Path, to: str, was: str | None, revision: int | None, **further: Any) -> dict[str, Any]:
    return dict(talk(switch_request(node, to, was, revision, **further))[-1][0]["instances"][0])


def test_a_release_arrives_exactly_as_it_was_packed(tmp_path: Path) -> None:
    tree = jdk("17")
    assert sync(Das(tmp_path), tree)["verdict"] == "done"
    assert on_disk(tmp_path / "software", ["releases"]) == tree.entries
    assert sorted(os.listdir(tmp_path / "software")) == [".dasctl", "releases"]  # nothing of an instance's


def test_what_two_releases_share_is_copied_on_the_node(tmp_path: Path) -> None:
    das = Das(tmp_path)
    sync(das, jdk("17"))
    both = jdk("21", b"another", jdk("17"))
    item = instance(words.SOFTWARE, both, 2, 1, software=True)
    first = talk(sync_request(tmp_path, [item], [both]) + END)[-1][0]["instances"][0]
    assert first["verdict"] == "needs"
    assert len(first["contents"]) == 1, first  # bin/java alone
    assert sync(das, both)["verdict"] == "done"
    assert on_disk(tmp_path / "software", ["releases"]) == both.entries
    assert sync(das, both)["verdict"] == "unchanged"


def test_an_edit_by_hand_is_found_and_kept_aside(tmp_path: Path) -> None:
    das = Das(tmp_path)
    sync(das, jdk("17"))
    java = tmp_path / "software/releases/17/bin/java"
    java.write_bytes(b"somebody's")
    found = sync(das, jdk("17"))["deviations"]
    assert [(item["path"], item["action"]) for item in found] == [("releases/17/bin/java", "replaced")]
    assert java.read_bytes() == b"#!/bin/sh\n"
    assert (tmp_path / "software" / found[0]["aside"]).read_bytes() == b"somebody's"


@pytest.mark.parametrize("target", [b"../../../../etc", b"/etc", b"../../21/lib", b"../../../current/bin"])
def test_a_link_out_of_its_release_is_refused(tmp_path: Path, target: bytes) -> None:
    tree = jdk("17").link("releases/17/bin/out", target)
    verdict = sync(Das(tmp_path), tree)
    assert verdict["verdict"] == "failed"
    assert "leads out" in verdict["message"]
    assert not (tmp_path / "software/releases").exists()


def test_only_releases_lie_there_and_nowhere_else(tmp_path: Path) -> None:
    das = Das(tmp_path)
    for name, further in (("web1", {"software": True}), ("web1", {}), ("software", {})):
        item = instance(name, jdk("17"), 1, None, **further)
        reply = talk(sync_request(tmp_path, [item], [jdk("17")]) + END)[-1][0]
        assert reply["reply"] == "error", (name, further)
    plain = Tree().file("config/a")
    item = instance(words.SOFTWARE, plain, 1, None, software=True)
    assert talk(sync_request(tmp_path, [item], [plain]) + END)[-1][0]["reply"] == "error"
    assert sync(das, jdk("17"))["verdict"] == "done"
    told = das.sync(plain, "software")[0]  # an instance of that name
    assert told["verdict"] == "failed"
    assert "releases of software" in told["message"]


def test_an_instance_of_that_name_is_in_nobodys_way(tmp_path: Path) -> None:
    das = Das(tmp_path)
    assert das.sync(Tree().file("config/a"), "software")[0]["verdict"] == "done"
    assert "holds an instance" in sync(das, jdk("17"))["message"]
    assert (tmp_path / "software/config/a").read_bytes() == b"x"


def test_current_is_switched_by_compare_and_set(tmp_path: Path) -> None:
    das = Das(tmp_path)
    sync(das, jdk("21", b"new", jdk("17")))
    assert switch(tmp_path, "releases/17", None, 1)["verdict"] == "done"
    link = tmp_path / "software/current"
    assert link.readlink() == Path("releases/17")
    assert switch(tmp_path, "releases/17", None, 1)["verdict"] == "unchanged"
    late = switch(tmp_path, "releases/21", None, 1)
    assert late["verdict"] == "failed"
    assert "by now" in late["message"]
    assert switch(tmp_path, "releases/21", "releases/17", 1) == {
        "name": "software", "verdict": "done", "at": look(tmp_path)["at"], "was": "releases/17",
        "current": "releases/21", "path": str(tmp_path.resolve() / "software/releases/21"),
    }  # fmt: skip
    assert switch(tmp_path, "releases/99", "releases/21", 1)["message"].endswith(
        "releases/99 is not installed"
    )
    assert switch(tmp_path, "releases/17", "releases/21", 9)["verdict"] == "stands"
    assert switch(tmp_path, "releases/17", "releases/21", 1, domain="another")["reason"] == "another domain"
    assert link.readlink() == Path("releases/21")


def test_a_folder_of_somebody_else_is_used_as_it_is(tmp_path: Path) -> None:
    folder, node = tmp_path / "jvm", tmp_path / "node"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/java").write_bytes(b"x")
    (folder / "etc").symlink_to("/etc/java")
    assert switch(node, str(folder), None, None)["verdict"] == "done"
    assert (node / "software/current").readlink() == folder
    assert switch(node, str(tmp_path / "none"), str(folder), None)["verdict"] == "failed"
    told = look(node, folders=[str(folder), str(tmp_path / "none")])
    first, absent = told["folders"]
    assert (first["files"], first["bytes"], first["message"]) == (1, 1, "")
    assert (absent["digest"], absent["message"]) == (None, "No such file or directory")
    assert told["path"] == str(folder.resolve())
    os.utime(folder / "bin/java", (5, 5))  # a package manager's business
    assert look(node, folders=[str(folder)])["folders"][0]["digest"] == first["digest"]
    (folder / "bin/java").write_bytes(b"y")
    changed = look(node, folders=[str(folder)])["folders"][0]["digest"]
    assert changed not in (None, first["digest"])
    assert look(tmp_path / "elsewhere", folders=[str(folder)])["folders"][0]["digest"] == changed


def test_the_digest_of_a_folder_is_remembered_until_something_in_it_changes(tmp_path: Path) -> None:
    folder, node = tmp_path / "jvm", tmp_path / "node"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    switch(node, str(folder), None, None)
    first = look(node, folders=[str(folder)])["folders"][0]["digest"]
    kept = node / "software/.dasctl/folders.json"
    kept.write_text(kept.read_text().replace(first, "f" * 64))
    assert look(node, folders=[str(folder)])["folders"][0]["digest"] == "f" * 64  # it was not read again
    (folder / "a").chmod(0o600)
    assert look(node, folders=[str(folder)])["folders"][0]["digest"] not in (first, "f" * 64)
    kept.write_text("no longer json")
    (folder / "a").chmod(0o644)
    assert look(node, folders=[str(folder)])["folders"][0]["digest"] == first


def test_looking_tells_what_is_there_and_writes_nothing(tmp_path: Path) -> None:
    empty = look(tmp_path / "none")
    assert (empty["exists"], empty["current"], empty["releases"]) == (False, None, [])
    assert empty["free"] > 0
    assert not (tmp_path / "none").exists()
    das = Das(tmp_path)
    sync(das, jdk("17"))
    (tmp_path / "software/releases/old").mkdir()
    told = look(tmp_path)
    assert told["releases"] == [["17", 2, 10 + 256 * 800]]
    assert told["left"] == ["old"]
    assert told["at"]["revision"] == 1


def user_of(node: Path) -> Node:
    """An instance whose server names the node's release in its start command."""
    server = Node(node)
    server.define('test -x "$DASCTL_NODE_SOFTWARE/bin/java" && echo "$JAVA_HOME" && exec sleep 1000',
                  env={"JAVA_HOME": "${node.software}"})  # fmt: skip
    return server


def test_the_current_release_and_one_that_a_server_uses_stay(tmp_path: Path) -> None:
    das = Das(tmp_path)
    both = jdk("21", b"new", jdk("17"))
    sync(das, both)
    switch(tmp_path, "releases/17", None, 1)
    refused = sync(das, jdk("21", b"new"))
    assert refused["verdict"] == "failed"
    assert refused["message"] == "17 is the current release"
    server = user_of(tmp_path)
    assert server.do("start")["release"] == "releases/17"
    try:
        switch(tmp_path, "releases/21", "releases/17", 1)
        (told,) = look(tmp_path)["servers"]
        assert (told["name"], told["release"]) == ("web1", "releases/17")
        assert sync(das, jdk("21", b"new"))["message"] == "17 is used by web1, which runs"
    finally:
        assert server.do("stop")["verdict"] == "done"
    assert sync(das, jdk("21", b"new"))["verdict"] == "done"
    assert os.listdir(tmp_path / "software/releases") == ["21"]


def test_a_server_runs_with_the_real_path_and_requires_a_restart_after_a_switch(tmp_path: Path) -> None:
    sync(Das(tmp_path), jdk("21", b"new", jdk("17")))
    server = user_of(tmp_path)
    assert "names ${node.software}" in server.do("start")["message"]
    switch(tmp_path, "releases/17", None, 1)
    server.do("start")
    try:
        home = f"{tmp_path.resolve()}/software/releases/17"
        assert (server.root / "logs/server.log").read_text() == home + "\n"
        assert (server.look()["requires_restart"], server.look()["release"]) == (False, "releases/17")
        switch(tmp_path, "releases/21", "releases/17", 1)
        assert server.look()["requires_restart"]
        switch(tmp_path, "releases/17", "releases/21", 1)
        assert not server.look()["requires_restart"]
    finally:
        server.do("stop")


def test_a_server_that_does_not_name_the_release_has_no_part_in_a_switch(tmp_path: Path) -> None:
    sync(Das(tmp_path), jdk("21", b"new", jdk("17")))
    switch(tmp_path, "releases/17", None, 1)
    server = Node(tmp_path)
    server.define()
    server.do("start")
    try:
        switch(tmp_path, "releases/21", "releases/17", 1)
        assert not server.look()["requires_restart"]
    finally:
        server.do("stop")
