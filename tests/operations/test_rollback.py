"""Going back: the files of a revision as they were, to the nanosecond, and nothing that is in no revision is lost."""

from __future__ import annotations

import asyncio
import os
import random
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dasctl.adapters.clock import ManualClock
from dasctl.adapters.history import SqliteHistory
from dasctl.adapters.memory_links import MemoryLinks
from dasctl.adapters.objects import FolderObjects
from dasctl.adapters.store import YamlStore
from dasctl.adapters.tree import FolderRepository
from dasctl.adapters.working import FolderWorking
from dasctl.core.exchange import Who
from dasctl.errors import OperationFailed, RepositoryError
from dasctl.operations.diff import diff
from dasctl.operations.history import history
from dasctl.operations.ports import Context
from dasctl.operations.recording import current
from dasctl.operations.restoring import back_to
from dasctl.operations.rollback import rollback
from dasctl.operations.show_revision import show_revision

ID = "7d0f8a52-4c1e-4b7e-9a55-3f1c6f0b2d11"
TEXT = f"""\
format: 1
domain: {{name: shop, id: {ID}, revisions: 200, exclude: ["*.tmp"]}}
nodes:
  n1: {{host: a.example.com}}
  n2: {{host: b.example.com}}
configs:
  web-config: {{start: serve, properties: {{http.size: 8080}}}}
  api-config: {{start: api}}
clusters:
  web: {{config: web-config}}
  api: {{config: api-config}}
instances:
  web1: {{node: n1, cluster: web}}
  web2: {{node: n2, cluster: web}}
  api1: {{node: n2, cluster: api}}
applications:
  hello: {{targets: [web]}}
  both: {{targets: [web, api]}}
"""
START = {
    "config/common.properties": b"common 1",
    "config/web-config/own": b"web 1",
    "config/api1-config/own": b"api 1",
    "applications/hello/app.py": b"hello 1",
    "applications/both/app.py": b"both 1",
    "lib/a.jar": b"jar 1",
    "docroot/index.html": b"page 1",
    "docroot/deep/er/page": b"deep 1",
}

Seen = dict[bytes, tuple[str, int, int, bytes]]  # kind, mode, modtime, content


class Shop:
    """A domain on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, data in {"config/domain.yaml": TEXT.encode(), **START}.items():
            self.write(name, data)

    def write(self, name: str | bytes, data: bytes, *, mtime: int | None = None) -> None:
        path = os.fsencode(self.root) + b"/" + os.fsencode(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        if mtime is not None:
            os.utime(path, ns=(mtime, mtime))

    def edit(self, old: str, new: str) -> None:
        text = self.yaml
        assert old in text
        self.write("config/domain.yaml", text.replace(old, new).encode())

    @property
    def yaml(self) -> str:
        return (self.root / "config/domain.yaml").read_text()

    def __getitem__(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def has(self, name: str) -> bool:
        return os.path.lexists(self.root / name)

    def ctx(self, **more: Any) -> Context:
        root = self.root
        return Context(
            store=YamlStore(root), repository=FolderRepository(root), working=FolderWorking(root),
            history=SqliteHistory(root), objects=FolderObjects(root), links=MemoryLinks(), clock=ManualClock(),
            host_keys=None, who=Who(user="anna", host="das", command="test"), **more,  # type: ignore[arg-type]
        )  # fmt: skip

    def record(self) -> int:
        return current(self.ctx()).revision.number

    def rollback(self, to: int, *targets: str, **more: Any) -> Any:
        more = {"no_apply": True, **more}
        return asyncio.run(rollback(self.ctx(), to=to, targets=targets, **more))

    def seen(self) -> Seen:
        base = os.fsencode(self.root)
        found: Seen = {}
        for folder, folders, files in os.walk(base):
            if folder == base:
                folders.remove(b".dasctl") if b".dasctl" in folders else None
            for name in folders + files:
                path = folder + b"/" + name
                found[path[len(base) + 1 :]] = _seen(path)
        return found


def _seen(path: bytes) -> tuple[str, int, int, bytes]:
    stats = os.lstat(path)
    mode, mtime = stat.S_IMODE(stats.st_mode), stats.st_mtime_ns
    if stat.S_ISLNK(stats.st_mode):
        return "l", mode, mtime, os.readlink(path)
    if stat.S_ISDIR(stats.st_mode):
        return "d", mode, mtime, b""
    with open(path, "rb") as file:
        return "f", mode, mtime, file.read()


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


# Some instances.


def changed_everywhere(shop: Shop) -> None:
    """Something else of every area, and of domain.yaml."""
    for name, data in START.items():
        shop.write(name, data.replace(b"1", b"2"))
    shop.edit("http.size: 8080", "http.size: 9090")
    shop.edit("start: api", "start: api2")


def test_a_cluster_gets_back_what_it_has_alone(shop: Shop) -> None:
    shop.record()
    changed_everywhere(shop)
    shop.record()
    outcome = shop.rollback(1, "web")
    assert (shop["config/web-config/own"], shop["applications/hello/app.py"]) == (b"web 1", b"hello 1")
    for name in (
        "config/common.properties", "config/api1-config/own", "applications/both/app.py", "lib/a.jar",
        "docroot/index.html",
    ):  # fmt: skip
        assert shop[name].endswith(b"2"), name
    assert "http.size: 8080" in shop.yaml and "start: api2" in shop.yaml
    told = "\n".join(outcome.warnings)
    for what in ("docroot", "lib", "applications/both", "config"):
        assert f"in {what}, which api1 has too" in told, told
    assert outcome.data["instances"] == ["web1", "web2"]


def test_one_instance_of_a_cluster_has_little_alone(shop: Shop) -> None:
    shop.write("config/web1-config/mine", b"mine 1")
    shop.record()
    changed_everywhere(shop)
    shop.write("config/web1-config/mine", b"mine 2")
    shop.edit("web1: {node: n1, cluster: web}", "web1: {node: n1, cluster: web, properties: {x: y}}")
    shop.record()
    outcome = shop.rollback(1, "web1")
    assert shop["config/web1-config/mine"] == b"mine 1"
    assert shop["config/web-config/own"] == b"web 2"
    assert "x: y" not in shop.yaml
    assert "9090" in shop.yaml
    assert any(
        "configs: web-config in config/domain.yaml, which web2 has too" in line for line in outcome.warnings
    )


def test_a_target_that_covers_all_is_the_whole_domain(shop: Shop) -> None:
    shop.record()
    then = shop.seen()
    changed_everywhere(shop)
    shop.rollback(1, "web", "api")
    assert shop.seen() == then


def test_an_application_that_came_later_goes_again(shop: Shop) -> None:
    shop.record()
    shop.write("applications/late/app.py", b"late")
    shop.edit("  both:", "  late: {targets: [web]}\n  both:")
    shop.edit("hello: {targets: [web]}", "hello: {targets: [web, api]}")
    shop.record()
    shop.rollback(1, "web")
    assert not shop.has("applications/late")
    assert "late" not in shop.yaml
    assert "hello: {targets: [web, api]}" in shop.yaml, "that api has it is not web's to take back"
    shop.rollback(1, "api")
    assert "api" not in shop.yaml.split("hello:")[1].split("\n")[0]


def test_an_application_that_was_there_then_comes_back(shop: Shop) -> None:
    shop.record()
    shop.edit("  hello: {targets: [web]}\n", "")
    import shutil

    shutil.rmtree(shop.root / "applications/hello")
    shop.record()
    shop.rollback(1, "web")
    assert shop["applications/hello/app.py"] == b"hello 1"
    assert YamlStore(shop.root).load().applications["hello"].targets == ["web"]


def test_one_instance_gets_back_its_own_version_of_what_the_cluster_has(shop: Shop) -> None:
    shop.edit("hello: {targets: [web]}", 'hello: {targets: [web], version: "1"}')
    shop.record()
    shop.write("applications/hello~2/app.py", b"hello 2")
    shop.edit('version: "1"}', 'version: "1", versions: {web2: "2"}, disabled: [web1]}')
    with_both = shop.record()
    shop.rollback(1, "web2")
    assert not shop.has("applications/hello~2")
    assert YamlStore(shop.root).load().applications["hello"].versions == {}
    assert YamlStore(shop.root).load().applications["hello"].disabled == ["web1"], "not web2's to take back"
    shop.rollback(1, "web1")
    assert YamlStore(shop.root).load().applications["hello"].disabled == []
    shop.rollback(with_both, "web2")
    assert shop["applications/hello~2/app.py"] == b"hello 2"
    assert YamlStore(shop.root).load().applications["hello"].versions == {"web2": "2"}


def deployed(shop: Shop, version: str, content: bytes | None = None) -> int:
    """`hello` in a version, for the whole cluster, as `redeploy` leaves it."""
    content = content or f"hello {version}".encode()
    shop.write("applications/hello/app.py", content, mtime=int(version) * 10**18)
    shop.write(f"applications/__internal/hello/{version}/hello.war", b"packed " + content)
    text = YamlStore(shop.root).load().applications["hello"].version
    if text is None:
        shop.edit("hello: {targets: [web]}", f'hello: {{targets: [web], version: "{version}"}}')
    else:
        shop.edit(f'version: "{text}"', f'version: "{version}"')
    return shop.record()


def test_one_instance_goes_back_to_a_version_that_its_whole_cluster_had(shop: Shop) -> None:
    first, second = deployed(shop, "1"), deployed(shop, "2")
    dry = shop.rollback(first, "web2", dry_run=True)
    (row,) = dry.results
    assert ("new", "applications/hello~1/app.py") in {
        (one["why"], one["path"]) for one in row.fields["changes"]
    }
    outcome = shop.rollback(first, "web2")
    hello = YamlStore(shop.root).load().applications["hello"]
    assert (hello.version, hello.versions, hello.targets) == ("2", {"web2": "1"}, ["web"])
    assert shop["applications/hello~1/app.py"] == b"hello 1"
    assert (shop.root / "applications/hello~1/app.py").stat().st_mtime_ns == 10**18
    assert shop["applications/hello/app.py"] == b"hello 2"
    assert not any("hello" in line for line in outcome.warnings), outcome.warnings
    shop.rollback(second, "web2")
    hello = YamlStore(shop.root).load().applications["hello"]
    assert (hello.version, hello.versions) == ("2", {})
    assert not shop.has("applications/hello~1")
    third = deployed(shop, "3")
    shop.rollback(first, "web1")
    shop.rollback(second, "web2")
    hello = YamlStore(shop.root).load().applications["hello"]
    assert (hello.version, hello.versions) == ("3", {"web1": "1", "web2": "2"})
    assert [shop[f"applications/hello{own}/app.py"] for own in ("", "~1", "~2")] == [
        b"hello 3", b"hello 1", b"hello 2",
    ]  # fmt: skip
    shop.rollback(third, "web")
    hello = YamlStore(shop.root).load().applications["hello"]
    assert (hello.version, hello.versions) == ("3", {})


def test_who_is_disabled_or_no_more_in_the_cluster_gets_no_version_of_his_own(shop: Shop) -> None:
    first = deployed(shop, "1")
    deployed(shop, "2")
    shop.edit("web2: {node: n2, cluster: web}", "web2: {node: n2, config: web-config}")
    shop.record()
    outcome = shop.rollback(first, "web2")
    assert YamlStore(shop.root).load().applications["hello"].versions == {}
    assert any("where web2 is" in line for line in outcome.warnings)


def test_a_version_that_has_another_archive_by_now_is_not_had_alone(shop: Shop) -> None:
    first = deployed(shop, "1")
    deployed(shop, "2")
    shop.write("applications/__internal/hello/1/hello.war", b"another one")
    shop.record()
    outcome = shop.rollback(first, "web2")
    assert YamlStore(shop.root).load().applications["hello"].versions == {}
    assert not shop.has("applications/hello~1")
    assert any("1 file changed in applications/hello, which web1 has too" in w for w in outcome.warnings)


def test_what_was_made_by_hand_is_not_had_alone(shop: Shop) -> None:
    shop.record()
    deployed(shop, "1")
    outcome = shop.rollback(1, "web2")
    assert YamlStore(shop.root).load().applications["hello"].versions == {}
    assert any("in applications/hello, which web1 has too" in line for line in outcome.warnings)


def test_no_archive_comes_beside_another_of_its_version(shop: Shop) -> None:
    shop.write("applications/__internal/hello/1/old.war", b"old")
    shop.record()
    (shop.root / "applications/__internal/hello/1/old.war").unlink()
    shop.write("applications/__internal/hello/1/new.war", b"new")
    shop.record()
    shop.rollback(1, "web2")
    assert shop.has("applications/__internal/hello/1/new.war")
    assert not shop.has("applications/__internal/hello/1/old.war")


def test_what_the_cluster_has_no_more_does_not_come_back_for_one(shop: Shop) -> None:
    import shutil

    shop.edit("hello: {targets: [web]}", 'hello: {targets: [web], version: "1", versions: {web2: "2"}}')
    shop.write("applications/hello~2/app.py", b"hello 2")
    shop.record()
    shop.edit('  hello: {targets: [web], version: "1", versions: {web2: "2"}}\n', "")
    for folder in ("hello", "hello~2"):
        shutil.rmtree(shop.root / "applications" / folder)
    shop.record()
    outcome = shop.rollback(1, "web2")
    assert "not taken back: application hello, which web1 had too" in outcome.warnings
    assert "hello" not in YamlStore(shop.root).load().applications


def test_who_is_in_the_cluster_stays_where_some_go_back(shop: Shop) -> None:
    shop.record()
    shop.edit("web2: {node: n2, cluster: web}", "web2: {node: n1, cluster: web, properties: {x: y}}")
    shop.record()
    outcome = shop.rollback(1, "web2")
    assert YamlStore(shop.root).load().instances["web2"].node == "n1"
    assert "x: y" not in shop.yaml
    assert any("where web2 is (then: n2, cluster web)" in line for line in outcome.warnings)


def test_back_to_takes_also_what_others_have(shop: Shop) -> None:
    shop.record()
    changed_everywhere(shop)
    shop.record()
    ctx = shop.ctx()
    now = asyncio.run(back_to(ctx, 1, ["web1"]))
    assert (shop["docroot/index.html"], shop["config/web-config/own"]) == (b"page 1", b"web 1")
    assert shop["config/api1-config/own"] == b"api 2"
    assert "8080" in shop.yaml and "api2" in shop.yaml
    assert now.revision.number == 3


# Interrupted.


def test_a_kill_at_any_operation_ends_in_one_of_the_two_states(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    umask = os.umask(0o022)
    try:
        for number in range(0, 200, 2):
            shop = Shop(tmp_path / str(number))
            shop.record()
            then = shop.seen()
            changed_everywhere(shop)
            shop.record()
            now = shop.seen()
            left = [number]

            def before(operation: str, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed

            try:
                ctx = replace(shop.ctx(), working=FolderWorking(shop.root, before=before))
                asyncio.run(rollback(ctx, to=1, no_apply=True))
            except Killed:
                with YamlStore(shop.root).domain_locked("next", wait_s=0):
                    assert shop.seen() in (then, now), number
                continue
            break
        assert number > 10
        assert shop.seen() == then
    finally:
        os.umask(umask)


# Random histories.

NAMES = [
    b"a",
    b"b",
    b"a.tmp",
    b"odd \xff",
    b"x\ny",
    b"deep/a",
    b"deep/b",
    b"deep/er/c",
    b"-",
    b"deep/er.tmp/d",
]
TOPS = [b"docroot", b"lib", b"config", b"config/web-config", b"applications/hello", b"applications/both"]


class Chaos:
    """Random edits of a domain's files."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop, self.chance = shop, random.Random(seed)

    def step(self) -> None:
        self.chance.choice(self._steps())()

    def _steps(self) -> list[Callable[[], None]]:
        return [
            self._write,
            self._write,
            self._write,
            self._remove,
            self._touch,
            self._chmod,
            self._link,
            self._swap,
        ]

    def _path(self) -> bytes:
        return (
            os.fsencode(self.shop.root) + b"/" + self.chance.choice(TOPS) + b"/" + self.chance.choice(NAMES)
        )

    def _existing(self) -> bytes | None:
        found = [path for path in self.shop.seen() if b"/" in path and path != b"config/domain.yaml"]
        return os.fsencode(self.shop.root) + b"/" + self.chance.choice(sorted(found)) if found else None

    def _clear(self, path: bytes) -> None:
        """Nothing is at `path` then, and its folder is there."""
        import shutil

        folder = os.path.dirname(path)
        while not os.path.isdir(folder) or os.path.islink(folder):
            if os.path.lexists(folder):
                os.unlink(folder)
            os.makedirs(os.path.dirname(folder), exist_ok=True)
            if not os.path.lexists(folder):
                os.mkdir(folder)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)

    def _write(self) -> None:
        path = self._path()
        try:
            self._clear(path)
        except (NotADirectoryError, FileExistsError):
            return
        with open(path, "wb") as file:
            file.write(self.chance.randbytes(self.chance.choice((0, 3, 5000))))

    def _remove(self) -> None:
        path = self._existing()
        if path is not None and path.count(b"/") > os.fsencode(self.shop.root).count(b"/") + 2:
            self._clear(path)

    def _touch(self) -> None:
        path = self._existing()
        if path is not None:
            moment = self.chance.randrange(10**18, 2 * 10**18)
            os.utime(path, ns=(moment, moment), follow_symlinks=False)

    def _chmod(self) -> None:
        path = self._existing()
        if path is not None and not os.path.islink(path):
            os.chmod(path, self.chance.choice((0o755, 0o700, 0o750)))

    def _link(self) -> None:
        path = self._path()
        try:
            self._clear(path)
        except (NotADirectoryError, FileExistsError):
            return
        os.symlink(self.chance.choice((b"a", b"b")), path)

    def _swap(self) -> None:
        self.shop.write(
            "config/domain.yaml", TEXT.replace("8080", str(self.chance.randrange(1000, 9999))).encode()
        )


def without_excluded(seen: Seen) -> Seen:
    return {
        path: now
        for path, now in seen.items()
        if not any(name.endswith(b".tmp") for name in path.split(b"/"))
    }


@pytest.mark.parametrize("seed", range(6))
def test_random_histories(shop: Shop, seed: int) -> None:
    chaos = Chaos(shop, seed)
    states: dict[int, Seen] = {shop.record(): shop.seen()}
    for _ in range(12):
        for _ in range(chaos.chance.randrange(1, 6)):
            chaos.step()
        number = shop.record()
        states[number] = shop.seen()
        to = chaos.chance.choice(sorted(states))
        try:
            outcome = shop.rollback(to)
        except OperationFailed as error:
            assert "would be lost" in error.message, error.message
            continue
        kept = shop.seen()
        stays = [line.removesuffix(" stays: it holds what is in no revision") for line in outcome.warnings]
        got, wanted = without_excluded(kept), without_excluded(states[to])
        for folder in [path for path in got if os.fsdecode(path) in stays]:
            got.pop(folder)  # it holds what is excluded
        assert got == wanted, (seed, to)
        assert outcome.revision is not None
        states[outcome.revision] = shop.seen()


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
