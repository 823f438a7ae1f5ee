"""What the history tells: diffs of anything, who was changed by which revision, where commands failed."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from dasctl.core.exchange import Who
from dasctl.core.outcome import Problem, Result
from dasctl.errors import HistoryError, OperationFailed, UsageError
from dasctl.operations.diff import diff
from dasctl.operations.failing import remember
from dasctl.operations.history import history
from dasctl.operations.show_revision import show_revision
from dasctl.operations.verify_domain import verify_domain
from tests.operations.folder_shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


def diffs(
    shop: Shop, one: int, other: int | None = None, *paths: str, here: Path | None = None
) -> dict[str, str]:
    outcome = asyncio.run(diff(shop.ctx(), one=one, other=other, paths=paths, here=here))
    assert int(outcome.exit_code) == (7 if outcome.results else 0)
    assert outcome.status == ("different" if outcome.results else "unchanged")
    return {row.fields["path"]: row.fields["diff"] for row in outcome.results}


def numbers(shop: Shop, *targets: str, **more: Any) -> list[int]:
    return [
        row.fields["revision"] for row in asyncio.run(history(shop.ctx(), targets=targets, **more)).results
    ]


# Diffs.


def test_a_diff_tells_of_everything(shop: Shop) -> None:
    shop.write("docroot/binary", b"\0\1")
    shop.write("docroot/large", b"x" * (2 << 20))
    shop.write("docroot/kind", b"a file")
    shop.write("lib/only-touched", b"same")
    shop.write("lib/mode", b"same")
    (shop.root / "lib/folder").mkdir()
    (shop.root / "lib/link").symlink_to("a.jar")
    shop.record()
    shop.write("docroot/binary", b"\0\2\3")
    shop.write("docroot/large", b"y" * (2 << 20))
    (shop.root / "docroot/kind").unlink()
    shop.write("docroot/kind/x", b"in a folder\n")
    os.utime(shop.root / "lib/only-touched", ns=(1, 1_500_000_000_000_000_001))
    (shop.root / "lib/mode").chmod(0o755)
    (shop.root / "lib/folder").chmod(0o700)
    (shop.root / "lib/link").unlink()
    (shop.root / "lib/link").symlink_to("mode")
    shop.write(b"lib/odd \xff\n\x1b", b"odd\n")
    shop.record()
    found = diffs(shop, 1, 2)
    assert found["docroot/binary"].endswith(
        "Binary files a/docroot/binary and b/docroot/binary differ (2 bytes and 3 bytes)\n"
    )
    assert "Large files a/docroot/large and b/docroot/large differ" in found["docroot/large"]
    assert found["docroot/kind"].startswith("docroot/kind is no file any more\n")
    assert "deleted file mode 100644" in found["docroot/kind"]
    assert found["docroot/kind/x"].endswith("@@ -0,0 +1 @@\n+in a folder\n")
    assert found["lib/only-touched"].startswith("Modtime alone of lib/only-touched: ")
    assert found["lib/only-touched"].endswith(" to 2017-07-14T02:40:00.000000001Z\n")
    assert found["lib/mode"] == "diff --git a/lib/mode b/lib/mode\nold mode 100644\nnew mode 100755\n"
    assert found["lib/folder"] == "Mode of folder lib/folder: 755 to 700\n"
    assert "-a.jar" in found["lib/link"] and "+mode" in found["lib/link"]
    odd = found[os.fsdecode(b"lib/odd \xff\n\x1b")]
    assert '+++ "b/lib/odd \\377\\n\\033"\n' in odd and "\x1b" not in odd
    assert "lib" not in found, "that a folder's modtime follows what came into it tells nothing"
    assert diffs(shop, 2) == {}
    assert set(diffs(shop, 2, 1)) == set(found)


def test_a_diff_with_the_repository_as_it_is_records_nothing(shop: Shop) -> None:
    shop.record()
    shop.write("docroot/index.html", b"page 2")
    before = shop.seen()
    assert "+page 2" in diffs(shop, 1)["docroot/index.html"]
    assert shop.seen() == before
    assert numbers(shop) == [1]


def test_paths_of_a_diff(shop: Shop) -> None:
    shop.record()
    for name in ("docroot/index.html", "lib/a.jar", "docroot/deep/er/page"):
        shop.write(name, b"2")
    shop.record()
    assert set(diffs(shop, 1, 2, "docroot")) == {"docroot/index.html", "docroot/deep/er/page"}
    assert set(diffs(shop, 1, 2, "./docroot/deep/", "lib")) == {"docroot/deep/er/page", "lib/a.jar"}
    assert set(diffs(shop, 1, 2, "index.html", here=shop.root / "docroot")) == {"docroot/index.html"}
    assert set(diffs(shop, 1, 2, "docroot/index.html", here=shop.root / "lib")) == {"docroot/index.html"}
    assert diffs(shop, 1, 2, "config") == {}
    for path in ("nowhere", "docroot/nothing", "../lib", ""):
        with pytest.raises(UsageError):
            diffs(shop, 1, 2, path)


def test_revisions_that_are_not_there(shop: Shop) -> None:
    with pytest.raises(OperationFailed, match="there is no revision 1: nothing has been recorded yet"):
        diffs(shop, 1)
    with pytest.raises(OperationFailed, match="nothing has been recorded yet"):
        asyncio.run(show_revision(shop.ctx()))


# Whom a revision changed something for.


def test_a_folder_that_was_touched_for_somebody_else_is_nobodys_news(shop: Shop) -> None:
    shop.record()
    shop.write("applications/unknown-to-all/x", b"1")
    shop.write("lib/a-new.jar", b"1")
    shop.record()  # 2: a file for everybody
    os.utime(shop.root / "config", ns=(1, 1_500_000_000_000_000_001))
    os.utime(shop.root / "lib", ns=(1, 1_500_000_000_000_000_001))
    shop.record()  # 3: modtimes of folders alone
    assert numbers(shop) == [3, 2, 1]
    assert numbers(shop, "web1") == [2, 1]


def test_only_what_changed_something_for_the_targets(shop: Shop) -> None:
    shop.record()
    shop.write("config/web-config/own", b"web 2")  # 2: web
    shop.record()
    shop.write("config/api1-config/own", b"api 2")  # 3: api1
    shop.record()
    shop.write("docroot/index.html", b"page 2")  # 4: all
    shop.record()
    shop.edit(
        "web1: {node: n1, cluster: web}", "web1: {node: n1, cluster: web, properties: {x: y}}"
    )  # 5: web1
    shop.record()
    shop.edit("hello: {targets: [web]}", "hello: {targets: [web, api1]}")  # 6: api1
    shop.record()
    shop.write("applications/hello/app.py", b"hello 2")  # 7: all
    shop.record()
    shop.write("config/domain.yaml", shop.yaml.encode() + b"# a comment\n")  # 8: nobody
    shop.record()
    assert numbers(shop) == [8, 7, 6, 5, 4, 3, 2, 1]
    assert numbers(shop, "api1") == numbers(shop, "api") == [7, 6, 4, 3, 1]
    assert numbers(shop, "web2") == [7, 4, 2, 1]
    assert numbers(shop, "web") == [7, 5, 4, 2, 1]
    assert numbers(shop, "web", limit=2) == [7, 5]
    assert numbers(shop, "domain") == [7, 6, 5, 4, 3, 2, 1]
    with pytest.raises(UsageError, match="no instance or cluster named 'nobody'"):
        numbers(shop, "nobody")


def test_an_instance_that_is_no_more_has_a_history(shop: Shop) -> None:
    shop.record()
    shop.edit("  api1: {node: n2, cluster: api}\n", "")
    shop.record()
    shop.write("docroot/index.html", b"page 2")
    shop.record()
    assert numbers(shop, "api1") == [2, 1]


def test_what_is_not_known_is_said(shop: Shop) -> None:
    shop.edit("revisions: 200", "revisions: 2")
    for number in range(4):
        shop.write("docroot/index.html", b"page %d" % number)
        shop.record()
    outcome = asyncio.run(history(shop.ctx(), targets=["web1"]))
    assert [row.fields["revision"] for row in outcome.results] == [4]
    assert outcome.notes == (
        "not known of revisions 1 to 3: they, or the ones before, are not kept as a whole any more",
    )
    long = asyncio.run(history(shop.ctx(), long=True)).results
    assert [row.fields["restorable"] for row in long] == [True, True, False, False]


# Where commands failed.


def failed(name: str, message: str) -> Result:
    return Result(status="failed", instance=name, node="n1", error=Problem(message=message))


def test_where_commands_failed(shop: Shop) -> None:
    shop.record()
    good = Result(status="started", instance="web1", node="n1")
    ctx = shop.ctx()
    remember(ctx, [good, failed("web2", "the disk is full\nmore")])
    row = asyncio.run(history(ctx)).results[0]
    assert row.fields["failed_on"] == ["web2"], "it is the revision's own command"
    shop.write("docroot/index.html", b"page 2")
    shop.record()
    other = shop.ctx()
    object.__setattr__(other, "who", Who(user="eve", host="laptop", command="start-cluster web"))
    for _ in range(3):
        remember(other, [failed("web1", "gone"), failed("web2", "gone")])
    remember(other, [Result(status="unchanged", instance="web1", node="n1")])
    rows = asyncio.run(history(other)).results
    assert [row.fields["failed_on"] for row in rows] == [["web[1-2] (start-cluster web)"], ["web2"]]
    (told,) = asyncio.run(show_revision(other)).results[0].fields["outcomes"]
    assert (told["times"], told["who"], told["succeeded"]) == (3, "eve", 0)
    assert told["instances"] == {"web1": "gone", "web2": "gone"}
    (first,) = asyncio.run(show_revision(other, number=1)).results[0].fields["outcomes"]
    assert (first["succeeded"], first["instances"]) == (1, {"web2": "the disk is full"})


def test_show_revision_names_what_changed(shop: Shop) -> None:
    shop.record()
    shop.write("docroot/new", b"new")
    shutil.rmtree(shop.root / "docroot/deep")
    shop.record()
    fields = asyncio.run(show_revision(shop.ctx())).results[0].fields
    assert fields["summary"] == "1 file new and 1 deleted in docroot"
    told = {(change["what"], change["path"]) for change in fields["changes"]}
    assert {("new", "docroot/new"), ("deleted", "docroot/deep/er/page"), ("deleted", "docroot/deep")} <= told
    first = asyncio.run(show_revision(shop.ctx(), number=1)).results[0].fields
    assert {change["what"] for change in first["changes"]} == {"new"}


def test_a_forged_history_is_found_out(shop: Shop) -> None:
    shop.record()
    shop.write("docroot/index.html", b"page 2")
    shop.record()
    assert asyncio.run(verify_domain(shop.ctx())).exit_code == 0
    with sqlite3.connect(shop.root / ".dasctl/history.db") as database:
        database.execute("UPDATE revisions SET who = 'somebody else' WHERE number = 1")
    database.close()
    with pytest.raises(HistoryError, match="revision 1 of somebody else@das does not fit its digest"):
        asyncio.run(verify_domain(shop.ctx()))
