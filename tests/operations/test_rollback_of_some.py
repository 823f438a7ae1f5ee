"""Going back for some instances: what nobody else has comes back, what stays is named; of applications their versions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dasctl.adapters.store import YamlStore
from dasctl.operations.restoring import back_to
from tests.operations.folder_shop import Shop, changed_everywhere


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    umask = os.umask(0o022)
    yield Shop(tmp_path / "shop")
    os.umask(umask)


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


# Applications.


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
