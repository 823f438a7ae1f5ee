"""Staging on all, then committing on all: what a hold promises, and what can come between."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.remote.conversation import (
    DOMAIN,
    END,
    Das,
    Tree,
    content,
    instance,
    lead,
    on_disk,
    spoken,
    standing,
    sync_request,
    talk,
)
from tests.remote.scripted import conversed, meanwhile

from dasctl.remote import frames, words

OLD = Tree().file("lib/a", b"one").file("docroot/page", b"old page").file("lib/gone", b"gone")
NEW = Tree().file("lib/a", b"two").file("docroot/page", b"old page").file("docroot/new/x", b"new")
CONTENTS = content(b"two") + content(b"new")


def hold(node: Path, tree: Tree = NEW, expect: int | None = 1, name: str = "web1", **further: Any) -> bytes:
    item = instance(name, tree, 2, expect, **further)
    return sync_request(node, [item], [tree], hold=True)


def commit(node: Path) -> bytes:
    return frames.encode({"op": "commit", "dir": str(node), "domain": DOMAIN, "name": "shop", "epoch": 1})


def more(*frames_of: bytes) -> bytes:
    return frames.encode({"op": "contents"}) + b"".join(frames_of) + END


@pytest.fixture
def root(tmp_path: Path) -> Path:
    assert Das(tmp_path).one(OLD)["verdict"] == "done"
    return tmp_path / "web1"


def stands_at(root: Path) -> int:
    return int(json.loads((root / ".dasctl/state.json").read_text())["revision"])


def verdicts(replies: list[dict[str, Any]]) -> list[Any]:
    return [
        [item["verdict"] for item in reply["instances"]] if "instances" in reply else reply["reply"]
        for reply in replies
    ]


def test_nothing_changes_before_the_commit(tmp_path: Path, root: Path) -> None:
    seen: list[Any] = []
    replies = conversed(
        hold(tmp_path) + CONTENTS + END,
        meanwhile(lambda: seen.append((on_disk(root), stands_at(root))), commit(tmp_path)),
    )
    assert verdicts(replies) == [["staged"], ["done"]]
    assert seen == [(OLD.entries, 1)]
    assert (on_disk(root), stands_at(root)) == (NEW.entries, 2)
    staged, done = (reply["instances"][0] for reply in replies)
    assert staged["at"]["revision"] == 1
    assert (
        [staged[key] for key in ("changed", "deleted")]
        == [done[key] for key in ("changed", "deleted")]
        == [2, 1]
    )
    assert os.listdir(root / ".dasctl/staging") == []


def test_what_was_not_sent_is_asked_for_first(tmp_path: Path, root: Path) -> None:
    replies = conversed(
        hold(tmp_path) + content(b"two") + END, more(), more(content(b"new")), commit(tmp_path)
    )
    assert verdicts(replies) == [["needs"], ["needs"], ["staged"], ["done"]]
    assert on_disk(root) == NEW.entries


def test_staged_ones_wait_for_the_needy(tmp_path: Path, root: Path) -> None:
    """Two instances, one of which is staged at once; the commit is about both."""
    other = Tree().file("lib/other", b"other")
    items = [instance("web1", OLD, 2, 1), instance("web2", other, 2, None)]
    replies = conversed(
        sync_request(tmp_path, items, [OLD, other], hold=True) + END,
        more(content(b"other")),
        commit(tmp_path),
    )
    assert verdicts(replies) == [["staged", "needs"], ["staged"], ["unchanged", "done"]]
    assert (stands_at(root), stands_at(tmp_path / "web2")) == (2, 2)
    assert on_disk(tmp_path / "web2") == other.entries


def test_only_what_is_staged_is_committed(tmp_path: Path, root: Path) -> None:
    other = Tree().file("lib/other", b"other")
    items = [instance("web1", OLD, 2, 1), instance("web2", other, 2, None)]
    replies = conversed(sync_request(tmp_path, items, [OLD, other], hold=True) + END, commit(tmp_path))
    assert verdicts(replies) == [["staged", "needs"], ["unchanged"]]
    assert [item["name"] for item in replies[1]["instances"]] == ["web1"]
    assert on_disk(tmp_path / "web2") == {}


def test_the_stamp_alone_is_held_as_well(tmp_path: Path, root: Path) -> None:
    seen: list[int] = []
    replies = conversed(
        hold(tmp_path, OLD) + END, meanwhile(lambda: seen.append(stands_at(root)), commit(tmp_path))
    )
    assert (verdicts(replies), seen, stands_at(root)) == ([["staged"], ["unchanged"]], [1], 2)


def test_the_end_of_the_link_changes_nobody(tmp_path: Path, root: Path) -> None:
    assert verdicts(conversed(hold(tmp_path) + CONTENTS + END)) == [["staged"]]
    assert (on_disk(root), stands_at(root)) == (OLD.entries, 1)
    # What was staged is still there, and nobody has to wait for a lock.
    replies = conversed(hold(tmp_path) + END, commit(tmp_path))
    assert verdicts(replies) == [["staged"], ["done"]]
    assert on_disk(root) == NEW.entries


def test_another_request_ends_the_wait(tmp_path: Path, root: Path) -> None:
    ping = frames.encode({"op": "ping", "dir": str(tmp_path)})
    replies = conversed(hold(tmp_path) + CONTENTS + END, ping, commit(tmp_path))
    assert verdicts(replies) == [["staged"], "ping", "error"]
    assert on_disk(root) == OLD.entries


def test_the_lock_is_held_meanwhile(tmp_path: Path, root: Path) -> None:
    seen: list[bool] = []

    def try_it() -> None:
        with (root / ".dasctl/lock").open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                seen.append(True)
            except BlockingIOError:
                seen.append(False)

    conversed(hold(tmp_path) + CONTENTS + END, meanwhile(try_it, commit(tmp_path)))
    try_it()
    assert seen == [False, True]


def test_what_a_server_changes_in_between_is_a_deviation(tmp_path: Path, root: Path) -> None:
    def edit() -> None:
        (root / "lib/a").write_bytes(b"by a server")
        (root / "lib/gone").write_bytes(b"in use again")
        (root / "docroot/new").mkdir()
        (root / "docroot/new/x").write_bytes(b"in the way")

    done = conversed(hold(tmp_path) + CONTENTS + END, meanwhile(edit, commit(tmp_path)))[-1]["instances"][0]
    assert done["verdict"] == "done", done
    told = {item["path"]: item for item in done["deviations"]}
    assert {path: item["action"] for path, item in told.items()} == {
        "lib/a": "replaced", "lib/gone": "removed", "docroot/new/x": "replaced",
    }  # fmt: skip
    assert (root / told["lib/a"]["aside"]).read_bytes() == b"by a server"
    assert (root / told["docroot/new/x"]["aside"]).read_bytes() == b"in the way"
    assert on_disk(root) == NEW.entries


def test_with_keep_it_stays(tmp_path: Path, root: Path) -> None:
    edit = meanwhile(lambda: (root / "lib/a").write_bytes(b"by a server"), commit(tmp_path))
    done = conversed(hold(tmp_path, deviations="keep") + CONTENTS + END, edit)[-1]["instances"][0]
    assert [(item["path"], item["action"]) for item in done["deviations"]] == [("lib/a", "kept")]
    assert (root / "lib/a").read_bytes() == b"by a server"
    assert (root / "docroot/new/x").read_bytes() == b"new"


def test_with_fail_nothing_changes(tmp_path: Path, root: Path) -> None:
    edit = meanwhile(lambda: (root / "lib/a").write_bytes(b"by a server"), commit(tmp_path))
    failed = conversed(hold(tmp_path, deviations="fail") + CONTENTS + END, edit)[-1]["instances"][0]
    assert (failed["verdict"], "lib/a" in failed["message"]) == ("failed", True)
    assert (stands_at(root), (root / "docroot/new").exists()) == (1, False)


def test_a_content_that_is_lacking_only_now(tmp_path: Path, root: Path) -> None:
    replies = conversed(
        hold(tmp_path) + CONTENTS + END, meanwhile((root / "docroot/page").unlink, commit(tmp_path))
    )
    failed = replies[-1]["instances"][0]
    assert failed["verdict"] == "failed", failed
    assert "docroot/page" in failed["message"] and "between staging and commit" in failed["message"]
    assert (stands_at(root), (root / "docroot/new").exists()) == (1, False)
    # What was staged serves the next one.
    replies = conversed(hold(tmp_path) + content(b"old page") + END, commit(tmp_path))
    assert verdicts(replies) == [["staged"], ["done"]]
    assert on_disk(root) == NEW.entries


def test_a_folder_that_was_taken_away_meanwhile(tmp_path: Path, root: Path) -> None:
    def take_away() -> None:
        (root / ".dasctl").rename(root / "before")

    failed = conversed(hold(tmp_path) + CONTENTS + END, meanwhile(take_away, commit(tmp_path)))[-1][
        "instances"
    ][0]
    assert (failed["verdict"], "put aside or replaced" in failed["message"]) == ("failed", True)
    assert on_disk(root) == OLD.entries


def test_an_older_state_that_came_back_meanwhile(tmp_path: Path, root: Path) -> None:
    def restore() -> None:
        path = root / ".dasctl/state.json"
        path.write_text(path.read_text().replace('"revision": 1', '"revision": 0'))

    failed = conversed(hold(tmp_path) + CONTENTS + END, meanwhile(restore, commit(tmp_path)))[-1][
        "instances"
    ][0]
    assert failed["verdict"] == "failed"
    assert on_disk(root) == OLD.entries


def test_a_dry_run_holds_nothing(tmp_path: Path, root: Path) -> None:
    item = instance("web1", NEW, 2, 1)
    request = sync_request(tmp_path, [item], [NEW], hold=True, dry_run=True) + END
    assert verdicts(conversed(request, commit(tmp_path))) == [["done"], "error"]
    assert on_disk(root) == OLD.entries


@pytest.mark.parametrize("value", [1, "yes", []])
def test_a_hold_that_is_no_answer_to_yes_or_no(tmp_path: Path, value: object) -> None:
    request = sync_request(tmp_path, [instance("web1", NEW, 2, None)], [NEW], hold=value) + END
    assert verdicts(conversed(request)) == ["error"]


def test_a_commit_without_anything_staged(tmp_path: Path, root: Path) -> None:
    ping = frames.encode({"op": "ping", "dir": str(tmp_path)})
    assert verdicts(conversed(commit(tmp_path), ping)) == ["error", "ping"]
    needy = conversed(hold(tmp_path) + END, commit(tmp_path), more(content(b"two")))
    assert verdicts(needy) == [["needs"], "error", "error"]
    plain = sync_request(tmp_path, [instance("web1", NEW, 2, 1)], [NEW]) + CONTENTS + END
    assert verdicts(conversed(plain, commit(tmp_path))) == [["done"], "error"]


def test_twice_the_same_commit(tmp_path: Path, root: Path) -> None:
    replies = conversed(hold(tmp_path) + CONTENTS + END, commit(tmp_path), commit(tmp_path))
    assert verdicts(replies) == [["staged"], ["done"], "error"]
    assert on_disk(root) == NEW.entries


class Killed(BaseException):
    pass


def test_killed_at_any_instruction(tmp_path: Path) -> None:
    """Before the journal it is the old tree, behind it the new one; the next link finishes it."""
    tree = NEW.copy().file("docroot/new/deep/y", b"y" * 70_000)
    everything = CONTENTS + content(b"y" * 70_000) + END
    stop = 0
    while True:
        stop += 1
        base = tmp_path / str(stop)
        assert Das(base).one(OLD)["verdict"] == "done"
        left = [stop]

        def before(operation: str, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                raise Killed(operation)

        try:
            assert verdicts(conversed(hold(base, tree) + everything, commit(base), before=before))[-1] == [
                "done"
            ]
            break
        except Killed:
            pass
        root = base / "web1"
        looked = talk(
            frames.encode({"op": "look", "dir": str(base), "domain": DOMAIN, "instances": [{"name": "web1"}]})
        )[-1][0]["instances"][0]
        begun = looked["interrupted"]
        found, revision = on_disk(root), stands_at(root)
        assert begun or (revision, found) in ((1, OLD.entries), (2, tree.entries)), stop
        again = talk(sync_request(base, [instance("web1", tree, 2, revision)], [tree]) + everything)[-1][0]
        verdict = again["instances"][0]
        if verdict["verdict"] == "stands":
            assert begun and verdict["at"]["revision"] == 2
        else:
            assert verdict["verdict"] in ("done", "unchanged"), verdict
        assert on_disk(root) == tree.entries, stop
        shutil.rmtree(base)
    assert stop > 10


def test_beats_go_out_while_it_waits_and_its_end_is_the_links(tmp_path: Path, root: Path) -> None:
    program = "import sys; from dasctl.remote.main import main; main(sys.stdin.buffer, sys.stdout.buffer)"
    helper = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert helper.stdin is not None and helper.stdout is not None
    try:
        helper.stdin.write(hold(tmp_path) + CONTENTS + END)
        heard = b""
        while heard.count(b'"event":"beat"') < 2:
            assert select.select([helper.stdout], [], [], 15 * words.BEAT_S)[0], "no sign of life"
            piece = helper.stdout.read(1 << 16)
            assert piece
            heard += piece
        assert any(header.get("reply") == "sync" for header, _body in spoken(heard))
        helper.stdin.close()
        assert helper.wait(timeout=10 * words.BEAT_S) == 0
    finally:
        helper.kill()
        helper.wait()
        helper.stdout.close()
    assert on_disk(root) == OLD.entries
    with (root / ".dasctl/lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_guard_is_asked_at_the_sync(tmp_path: Path, root: Path) -> None:
    item = {**instance("web1", NEW, 2, 1), "expect": standing(9), "lead": lead(10)}
    replies = conversed(sync_request(tmp_path, [item], [NEW], hold=True) + CONTENTS + END, commit(tmp_path))
    assert verdicts(replies) == [["stands"], "error"]
    assert on_disk(root) == OLD.entries
