"""Going back: the files of a revision as they were, to the nanosecond, and nothing that is in no revision is lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dasctl.adapters.tree import FolderRepository
from dasctl.adapters.working import FolderWorking
from dasctl.errors import OperationFailed, RepositoryError
from dasctl.operations.diff import diff
from dasctl.operations.history import history
from dasctl.operations.recording import current
from dasctl.operations.rollback import rollback
from dasctl.operations.show_revision import show_revision
from tests.operations.folder_shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    umask = os.umask(0o022)
    yield Shop(tmp_path / "shop")
    os.umask(umask)


# The whole domain.


def test_everything_is_as_it_was_to_the_nanosecond(shop: Shop) -> None:
    shop.write("docroot/old", b"x", mtime=1_600_000_000_123_456_789)
    (shop.root / "docroot/link").symlink_to("old")
    os.utime(shop.root / "docroot/link", ns=(5, 7), follow_symlinks=False)
    (shop.root / "docroot/index.html").chmod(0o640)
    assert shop.record() == 1
    then = shop.seen()
    shop.edit("http.size: 8080", "http.size: 9090")
    shop.write(b"docroot/odd \xff\n name", b"odd")
    shop.write("docroot/old", b"new")
    (shop.root / "docroot/link").unlink()
    (shop.root / "docroot/link").mkdir()
    shop.write("docroot/link/in it", b"x")
    (shop.root / "docroot/index.html").chmod(0o600)
    (shop.root / "docroot/deep/er/page").unlink()
    (shop.root / "docroot/deep/er").rmdir()
    shop.write("docroot/deep/er", b"a file now")
    (shop.root / "applications/hello").rename(shop.root / "applications/other")
    outcome = shop.rollback(1)
    assert shop.seen() == then | {
        path: now for path, now in shop.seen().items() if path.startswith(b"applications/other")
    }
    assert (outcome.status, outcome.revision) == ("ok", 3)
    assert "rolled back to revision 1" in outcome.results[0].fields["summary"]
    # What was edited in place since is a revision of its own, and can be brought back as well.
    shop.rollback(2)
    assert shop[os.fsdecode(b"docroot/odd \xff\n name")] == b"odd"
    assert shop["docroot/deep/er"] == b"a file now"
    assert "9090" in shop.yaml


def test_nothing_to_do_is_no_revision(shop: Shop) -> None:
    shop.record()
    before = shop.seen()
    outcome = shop.rollback(1)
    assert (outcome.status, outcome.revision) == ("unchanged", 1)
    assert shop.seen() == before


def test_modtimes_alone_come_back(shop: Shop) -> None:
    shop.record()
    then = shop.seen()
    for path in ("docroot/index.html", "docroot", "lib"):
        os.utime(shop.root / path, ns=(1, 1))
    shop.rollback(1)
    assert shop.seen() == then


def test_what_is_excluded_is_left_alone(shop: Shop) -> None:
    shop.record()
    shop.write("docroot/new/secret.tmp", b"mine")
    shop.write("docroot/new/page", b"page")
    shop.write("docroot/deep/er/other.tmp", b"mine too")
    outcome = shop.rollback(1)
    assert (shop["docroot/new/secret.tmp"], shop["docroot/deep/er/other.tmp"]) == (b"mine", b"mine too")
    assert not shop.has("docroot/new/page")
    assert "docroot/new stays: it holds what is in no revision" in outcome.warnings


def test_what_was_excluded_then_is_left_alone(shop: Shop) -> None:
    shop.write("docroot/was.tmp", b"mine")
    shop.record()
    shop.edit('exclude: ["*.tmp"]', "exclude: []")
    shop.record()
    shop.rollback(1)
    assert shop["docroot/was.tmp"] == b"mine"


def test_what_is_in_no_revision_is_never_replaced(shop: Shop) -> None:
    shop.write("docroot/it.log", b"then")
    shop.record()
    shop.edit('exclude: ["*.tmp"]', 'exclude: ["*.log"]')
    shop.write("docroot/it.log", b"in no revision")
    shop.record()
    before = shop.seen()
    with pytest.raises(OperationFailed, match=r"docroot/it\.log would be lost: it is in no revision"):
        shop.rollback(1)
    assert shop.seen() == before
    shop.write("docroot/it.log", b"then", mtime=3)
    shop.rollback(1)
    assert shop["docroot/it.log"] == b"then"


def test_a_folder_that_holds_what_is_in_no_revision_does_not_give_way(shop: Shop) -> None:
    shop.write("docroot/x", b"a file")
    shop.record()
    (shop.root / "docroot/x").unlink()
    shop.write("docroot/x/mine.tmp", b"mine")
    with pytest.raises(OperationFailed, match="docroot/x would be lost"):
        shop.rollback(1)
    assert shop["docroot/x/mine.tmp"] == b"mine"


def test_the_membership_that_goes_back_is_told(shop: Shop) -> None:
    shop.record()
    shop.edit("  api1:", "  web3: {node: n1, cluster: web}\n  api1:")
    shop.edit("  web2: {node: n2, cluster: web}\n", "")
    shop.record()
    outcome = shop.rollback(1)
    told = "\n".join(outcome.warnings)
    assert (
        "web3 is not in the domain any more: its server, if it runs, and its folder on node n1 stay as they are"
        in told
    )
    assert "in the domain again: web2" in told


def test_a_revision_that_is_kept_no_more_is_named(shop: Shop) -> None:
    shop.edit("revisions: 200", "revisions: 2")
    shop.record()
    for number in range(3):
        shop.write("docroot/index.html", b"page %d" % number)
        shop.record()
    with pytest.raises(
        OperationFailed, match="what revision 1 was is not kept any more: revisions 3 to 4 are"
    ):
        shop.rollback(1)
    with pytest.raises(OperationFailed, match="there is no revision 99: the last one is 4"):
        shop.rollback(99)
    shop.ctx().history.restart_at(9)  # as behind a backup
    shop.edit("revisions: 2", "revisions: 3")
    shop.record()
    with pytest.raises(OperationFailed, match="revisions 3 to 4, 9 are"):
        shop.rollback(1)


def test_a_revision_of_an_earlier_release_has_no_domain_yaml(shop: Shop) -> None:
    class Old(FolderRepository):
        def scan(self, *args: Any, **more: Any) -> Any:
            return replace(super().scan(*args, **more), domain_file=None)

    ctx = replace(shop.ctx(), repository=Old(shop.root))
    current(ctx)
    shop.write("docroot/index.html", b"page 2")
    shop.record()
    with pytest.raises(OperationFailed, match="revision 1 was recorded by an earlier release of dasctl"):
        shop.rollback(1)
    outcome = asyncio.run(diff(shop.ctx(), one=1, other=2))
    assert [row.fields["path"] for row in outcome.results] == ["docroot/index.html"]
    assert "config/domain.yaml is not compared: revision 1 is of an earlier release" in outcome.warnings[0]
    told = asyncio.run(history(shop.ctx(), long=True)).results
    assert [row.fields["restorable"] for row in told] == [True, False]
    assert told[0].fields["summary"] == "1 file changed in docroot"


def test_a_dry_run_touches_nothing(shop: Shop) -> None:
    shop.record()
    shop.write("docroot/index.html", b"page 2")
    shop.record()
    shop.write("docroot/more", b"not recorded")
    before = shop.seen()
    outcome = shop.rollback(1, dry_run=True)
    told = {(change["why"], change["path"]) for change in outcome.results[0].fields["changes"]}
    assert {("changed", "docroot/index.html"), ("deleted", "docroot/more")} <= told
    assert shop.seen() == before
    revisions = shop.ctx().history.revisions()
    assert [revision.number for revision in revisions] == [2, 1]


def test_what_is_written_meanwhile_is_not_replaced(shop: Shop) -> None:
    shop.record()
    shop.write("docroot/index.html", b"page 2")
    shop.record()

    class Meanwhile(FolderWorking):
        def write(self, *args: Any) -> None:
            super().write(*args)
            shop.write("docroot/index.html", b"written meanwhile")

    ctx = replace(shop.ctx(), working=Meanwhile(shop.root))
    with pytest.raises(RepositoryError, match="were changed while the old ones were made ready"):
        asyncio.run(rollback(ctx, to=1, no_apply=True))
    assert shop["docroot/index.html"] == b"written meanwhile"


def test_a_lost_object_leaves_all_as_it_is(shop: Shop) -> None:
    shop.record()
    shop.write("docroot/index.html", b"page 2")
    shop.record()
    import hashlib

    digest = hashlib.sha256(b"page 1").hexdigest()
    (shop.root / ".dasctl/objects" / digest[:2] / digest).unlink()
    before = shop.seen()
    with pytest.raises(RepositoryError, match=digest[:12]):
        shop.rollback(1)
    assert shop.seen() == before


def test_a_domain_yaml_that_is_not_valid_is_kept_aside(shop: Shop) -> None:
    shop.record()
    then = shop.seen()
    shop.edit("http.size: 8080", "http.size: 9090")
    shop.record()
    shop.write("docroot/index.html", b"edited, not recorded")
    shop.write("config/domain.yaml", b"format: 1\nnonsense: [\n")
    outcome = shop.rollback(1)
    assert shop.seen() == then
    (aside,) = (shop.root / ".dasctl").glob("domain.yaml-not-valid-*")
    assert aside.read_bytes() == b"format: 1\nnonsense: [\n"
    assert outcome.warnings[0].startswith(
        "config/domain.yaml was not valid, and in no revision: it is kept as .dasctl/"
    )
    assert [revision.number for revision in shop.ctx().history.revisions()] == [4, 3, 2, 1]
    shop.rollback(3)
    assert shop["docroot/index.html"] == b"edited, not recorded"
    assert "9090" in shop.yaml


def test_revisions_can_be_looked_at_with_a_domain_yaml_that_is_not_valid(shop: Shop) -> None:
    shop.record()
    shop.write("docroot/index.html", b"page 2")
    shop.record()
    shop.write("config/domain.yaml", b"format: [")
    assert len(asyncio.run(history(shop.ctx())).results) == 2
    assert asyncio.run(show_revision(shop.ctx())).results[0].fields["revision"] == 2
    assert [row.fields["path"] for row in asyncio.run(diff(shop.ctx(), one=1, other=2)).results] == [
        "docroot/index.html"
    ]
