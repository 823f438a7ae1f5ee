"""The helper is killed ahead of every single change that it makes while a release comes, goes, or becomes `current`: what
was there stays whole, and the same request finishes what was begun."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dasctl.remote import words
from tests.remote.conversation import Das, on_disk, talk
from tests.remote.test_software import Releases, jdk, look, switch, switch_request, sync

KILLED = 42


def killed_at(number: int, act: Callable[[Callable[[str], None]], object]) -> bool:
    """`act` in a child that is killed ahead of its change `number`; False if it had fewer."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def before(operation: str) -> None:
            nonlocal count
            count += 1
            if count == number:
                os._exit(KILLED)

        try:
            act(before)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, KILLED)
    return status == KILLED


def prepared(path: Path) -> tuple[Das, Releases]:
    path.mkdir()
    das, old = Das(path), jdk("17")
    assert sync(das, old)["verdict"] == "done"
    assert switch(path, "releases/17", None, 1)["verdict"] == "done"
    return das, old


def again(das: Das, tree: Releases) -> None:
    """As a DAS does: expecting what the node says."""
    das.expects[words.SOFTWARE] = look(das.node, finish=True)["at"]["revision"]
    das.revision = 5
    assert sync(das, tree)["verdict"] in ("done", "unchanged")


def test_killed_while_a_release_comes(tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        das, old = prepared(tmp_path / str(number))
        both = jdk("21", b"new", old)
        if not killed_at(number, lambda before, das=das, both=both: sync(das, both, before=before)):  # type: ignore[misc]
            break
        found = on_disk(das.node / "software", ["releases"])
        here = {path: entry for path, entry in old.entries.items() if path != b"releases"}
        assert {path: found.get(path) for path in here} == here, number
        assert (das.node / "software/current").readlink() == Path("releases/17")
        again(das, both)
        assert on_disk(das.node / "software", ["releases"]) == both.entries, number
        assert os.listdir(das.node / "software/.dasctl/staging") == []
    assert number > 20


def test_killed_while_a_release_goes(tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        das, old = prepared(tmp_path / str(number))
        again(das, jdk("21", b"new", old))
        if not killed_at(number, lambda before, das=das, old=old: sync(das, old, before=before)):  # type: ignore[misc]
            break
        again(das, old)
        assert on_disk(das.node / "software", ["releases"]) == old.entries, number
        assert (das.node / "software/current/bin/java").exists()
    assert number > 8


def test_killed_while_current_is_switched(tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        das, old = prepared(tmp_path / str(number))
        again(das, jdk("21", b"new", old))
        request = switch_request(das.node, "releases/21", "releases/17", 6)
        if not killed_at(number, lambda before, request=request: talk(request, before=before)):  # type: ignore[misc]
            break
        assert (das.node / "software/current/bin/java").exists(), number
        was = look(das.node)["current"]
        assert was in ("releases/17", "releases/21")
        assert switch(das.node, "releases/21", was, 6)["verdict"] in ("done", "unchanged")
        assert (das.node / "software/current/bin/java").read_bytes() == b"new"
        assert sorted(os.listdir(das.node / "software/.dasctl")) == [
            "lock",
            "manifest",
            "staging",
            "state.json",
        ]
    assert number >= 3
