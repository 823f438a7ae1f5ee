"""Deploying, on memory links: what is on the instances then, what the history tells, and what nothing may change."""

from __future__ import annotations

import json
import os
import random
import zipfile
from pathlib import Path

import pytest

from dasctl.core.domain import Application
from tests.scenarios.world import World

OLD, NEW = (
    {"app.py": b"print(1)", "WEB-INF/web.xml": b"<web/>"},
    {"app.py": b"print(2)", "WEB-INF/web.xml": b"<web/>"},
)


def zipped(file: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in contents.items():
            made.writestr(zipfile.ZipInfo(name, date_time=(2024, 1, 2, 3, 4, 6)), data)
    return file


@pytest.fixture
def war(tmp_path: Path) -> Path:
    return zipped(tmp_path / "shop.war", OLD)


def said(world: World, line: str, code: int = 0) -> str:
    got, shown = world.run(line)
    assert got == code, shown
    return shown


def told(world: World, line: str, code: int = 0) -> dict[str, object]:
    return json.loads(said(world, f"{line} --json", code))


def has(world: World, instance: str, name: str = "shop") -> dict[str, bytes]:
    """The files of an application on an instance."""
    top = world.instance(instance) / "applications" / name
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def entry(world: World, name: str = "shop") -> Application | None:
    return world.das.store.load().applications.get(name)


def paths(world: World, below: str = "applications") -> set[str]:
    return {
        os.fsdecode(path) for path, is_folder in world.das.repository.names()
        if not is_folder and path.startswith(below.encode() + b"/")
    }  # fmt: skip


def revisions(world: World) -> list[str]:
    return [revision.summary for revision in reversed(world.das.history.revisions())]


def test_a_war_goes_to_its_targets_alone(world: World, war: Path) -> None:
    shown = said(world, f"deploy {war} --target web")
    assert has(world, "web1") == has(world, "web2") == OLD
    assert not (world.instance("jobs1")).exists()
    assert revisions(world) == ["the domain as it was first seen", "deployed shop 1 to web"]
    assert "deployed shop 1 to web" in shown
    assert entry(world) == Application(targets=["web"], version="1")
    assert paths(world) == {
        "applications/hello/app.py", "applications/shop/app.py", "applications/shop/WEB-INF/web.xml",
        "applications/__internal/shop/1/shop.war", "applications/__internal/shop/1/deployment.json",
    }  # fmt: skip


def test_it_is_told_how_far_the_das_has_come(world: World, war: Path, tmp_path: Path) -> None:
    """Before any node is asked: the archive copied and unpacked; of a folder, packed."""
    said(world, f"deploy {war} --target web")
    own = [event for event in world.events if event.instance is None and event.node is None]
    assert list(dict.fromkeys((event.phase, event.text) for event in own)) == [
        ("copying", "shop.war"), ("unpacking", "shop.war"),
    ]  # fmt: skip
    last = {event.phase: event for event in own}
    assert last["copying"].sent == last["copying"].total == war.stat().st_size
    assert last["unpacking"].sent == sum(map(len, OLD.values()))
    first_of_a_node = next(n for n, event in enumerate(world.events) if event.instance is not None)
    assert world.events[:first_of_a_node] == own
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_bytes(b"x" * 1000)
    world.events.clear()
    said(world, f"deploy {folder} --target web")
    assert next((e.phase, e.text) for e in world.events if e.sent == 1000) == ("packing", "site")
    world.events.clear()
    said(world, "rollback --to 1")
    said(world, "rollback --to 2")
    written = [event for event in world.events if event.phase == "writing"]
    assert {event.text for event in written} == {"revision 2"}
    assert written[-1].sent == written[-1].total > 0


def test_the_identical_archive_changes_nothing_and_heals_a_node_that_was_away(
    world: World, war: Path
) -> None:
    world.away("n2")
    document = told(world, f"deploy {war} --target web", 3)
    assert document["revision"] == 2 and document["status"] == "partial"
    world.back("n2")
    again = told(world, f"deploy {war} --target web")
    assert again["revision"] == 2 and has(world, "web2") == OLD
    last = told(world, f"deploy {war} --target web")
    assert (last["status"], last["exit_code"], last["revision"]) == ("unchanged", 0, 2)
    assert "nothing to do: shop 1 is active on web" in said(world, f"deploy {war} --target web")


def test_where_all_nodes_fail_the_domain_stays_at_the_new_revision(world: World, war: Path) -> None:
    world.away("n1")
    world.away("n2")
    assert told(world, f"deploy {war} --target web", 4)["revision"] == 2
    world.back("n1")
    world.back("n2")
    said(world, "sync-cluster web")
    assert has(world, "web1") == OLD


def test_without_a_target_it_goes_nowhere_and_says_what_deploys_it(world: World, war: Path) -> None:
    shown = said(world, f"deploy {war}")
    assert "it goes nowhere" in shown and "dasctl enable shop:1 --target TARGET" in shown
    said(world, "sync-domain")
    assert not (world.instance("web1") / "applications/shop").exists()
    said(world, "enable shop:1 --target web1")
    assert has(world, "web1") == OLD and not (world.instance("web2") / "applications/shop").exists()
    assert entry(world) == Application(targets=["web1"], version="1")


def test_a_cluster_without_instances_has_its_applications(world: World, war: Path) -> None:
    said(world, "create-cluster late --config web-config")
    assert said(world, "start-cluster late") == "no instances there: nothing to do\n"
    assert said(world, "sync-cluster late") == "no instances there: nothing to do\n"
    assert said(world, "restart-cluster late --rolling --quiet") == ""
    said(world, f"deploy {war} --target late")
    assert "shop" in said(world, "list-applications late")
    assert "shop" not in said(world, "list-applications web")
    assert [row["active"] for row in told(world, "list-applications late --long")["results"]] == [True]  # type: ignore[attr-defined]
    assert "no revision changed what late gets" in said(world, "history late")


def test_an_application_that_is_there_is_not_replaced_unasked(
    world: World, war: Path, tmp_path: Path
) -> None:
    said(world, f"deploy {war} --target web")
    zipped(war, NEW)
    shown = said(world, f"deploy {war} --target web", 2)
    assert "there is an application shop already in version 1, deployed to web" in shown
    assert "dasctl redeploy" in shown and "--name shop:2" in shown and "--force" in shown
    shown = said(world, f"deploy {war} --target web --name hello", 2)
    assert "--name hello" in shown.split("redeploy")[1]
    assert has(world, "web1") == OLD and revisions(world)[-1] == "deployed shop 1 to web"
    said(world, f"deploy {war} --target web --force")
    assert has(world, "web1") == NEW and revisions(world)[-1] == "redeployed shop 2 to web"
    shown = said(world, f"deploy {zipped(war, OLD | NEW | {'x': b''})} --name shop:2 --target web", 2)
    assert "a version 2 already" in shown
    said(world, f"deploy {war} --name shop:2 --target web --force")
    assert has(world, "web1") == NEW | {"x": b""}
    assert [row["version"] for row in told(world, "list-applications --long")["results"]] == ["-", "1", "2"]  # type: ignore[attr-defined,index]


def test_another_version_for_one_then_for_all_and_back(world: World, war: Path) -> None:
    said(world, f"deploy {war} --target web --name shop:1.0")
    zipped(war, NEW)
    said(world, f"deploy {war} --target web2 --name shop:1.1")
    assert (has(world, "web1"), has(world, "web2")) == (OLD, NEW)
    assert entry(world) == Application(targets=["web"], version="1.0", versions={"web2": "1.1"})
    assert "applications/shop~1.1/app.py" in paths(world)
    said(world, "enable shop:1.1 --target web")
    assert (has(world, "web1"), has(world, "web2")) == (NEW, NEW)
    assert entry(world) == Application(targets=["web"], version="1.1")
    assert not any("~" in path for path in paths(world))
    said(world, "rollback-application shop")
    assert (has(world, "web1"), has(world, "web2")) == (OLD, OLD)
    assert revisions(world)[-1] == "rolled back shop on web to 1.0"
    shown = said(world, "rollback-application shop", 1)
    assert "no version of shop was active at web before" in shown
    said(world, "rollback-application shop --to 1.1 --target web1")
    assert (has(world, "web1"), has(world, "web2")) == (NEW, OLD)
    assert "no version '9'" in said(world, "rollback-application shop --to 9", 2)


def test_what_only_one_has_tried_is_taken_back_from_him_alone(world: World, war: Path) -> None:
    said(world, f"deploy {war} --target web --name shop:1")
    zipped(war, NEW)
    said(world, f"deploy {war} --target web2 --name shop:2")
    said(world, "rollback-application shop --target web,web2", 1)
    said(world, "rollback-application shop")
    assert (has(world, "web1"), has(world, "web2")) == (OLD, OLD)
    assert entry(world) == Application(targets=["web"], version="1")


def test_an_instance_goes_back_to_what_its_cluster_had(world: World, war: Path) -> None:
    for number in range(1, 5):
        said(world, f"deploy {zipped(war, {'app.py': b'%d' % number})} --target web --force")
    for expected in (b"3", b"2", b"1"):
        said(world, "rollback-application shop --target web2")
        assert (has(world, "web1")["app.py"], has(world, "web2")["app.py"]) == (b"4", expected)
    said(world, "rollback-application shop --target web")
    assert (has(world, "web1")["app.py"], has(world, "web2")["app.py"]) == (b"3", b"3")
    said(world, "rollback-application shop --target web2")
    assert (has(world, "web1")["app.py"], has(world, "web2")["app.py"]) == (b"3", b"2")


def test_an_instance_rolls_back_alone_to_the_revision_of_an_older_version(world: World, war: Path) -> None:
    said(world, f"deploy {war} --target web")
    zipped(war, NEW)
    said(world, f"redeploy {war}")
    assert has(world, "web1") == has(world, "web2") == NEW
    shown = said(world, "rollback --to 2 web2")
    assert "not taken back" not in shown
    assert (has(world, "web1"), has(world, "web2")) == (NEW, OLD)
    assert entry(world) == Application(targets=["web"], version="2", versions={"web2": "1"})
    assert paths(world, "applications/shop~1") == {
        "applications/shop~1/app.py",
        "applications/shop~1/WEB-INF/web.xml",
    }
    said(world, "rollback-application shop --to 2 --target web2")
    assert has(world, "web2") == NEW
    assert paths(world, "applications/shop~1") == set()


def test_going_back_step_by_step(world: World, war: Path) -> None:
    for number in range(3):
        said(world, f"deploy {zipped(war, {'app.py': b'%d' % number})} --target web --force")
    for expected in (b"1", b"0"):
        said(world, "rollback-application shop")
        assert has(world, "web1") == {"app.py": expected}
    said(world, "rollback-application shop", 1)


def test_later_is_later(world: World, war: Path) -> None:
    shown = said(world, f"deploy {war} --target web --activate later")
    assert "dasctl enable shop:1 --target web" in shown
    said(world, "sync-domain")
    assert not (world.instance("web1") / "applications/shop").exists()
    said(world, "enable shop")
    assert has(world, "web1") == OLD
    zipped(war, NEW)
    said(world, f"deploy {war} --target web --activate later --name shop:2")
    said(world, "sync-domain")
    assert has(world, "web1") == OLD
    said(world, "enable shop:2 --target web")
    assert has(world, "web1") == NEW


def test_disabled_targets_do_not_get_it(world: World, war: Path) -> None:
    said(world, f"deploy {war} --target web")
    said(world, "disable shop --target web2")
    assert has(world, "web1") == OLD and not (world.instance("web2") / "applications/shop").exists()
    zipped(war, NEW)
    said(world, f"redeploy {war}")
    assert has(world, "web1") == NEW and not (world.instance("web2") / "applications/shop").exists()
    said(world, "enable shop --target web2")
    assert has(world, "web2") == NEW
    assert "is not deployed to jobs" in said(world, "disable shop --target jobs", 2)


def test_undeploying(world: World, war: Path) -> None:
    said(world, f"deploy {war} --target web --target jobs1")
    zipped(war, NEW)
    said(world, f"redeploy {war}")
    assert "the active one of web,jobs1" in said(world, "undeploy shop:2", 2)
    said(world, "undeploy shop:1")
    assert not any("/1/" in path for path in paths(world))
    said(world, "rollback-application shop", 1)
    said(world, "undeploy shop --target jobs1")
    assert not (world.instance("jobs1") / "applications/shop").exists() and has(world, "web1") == NEW
    said(world, "undeploy shop --target jobs1", 2)
    shown = said(world, "undeploy shop")
    assert paths(world) == {"applications/hello/app.py"} and entry(world) is None
    assert not (world.instance("web1") / "applications/shop").exists()
    assert (world.instance("web1") / "applications/hello/app.py").exists()
    assert "has what it was" in shown
    assert "no application named 'shop'" in said(world, "undeploy shop", 2)


def test_hand_made_applications_have_all_commands(world: World, war: Path, tmp_path: Path) -> None:
    said(world, "sync-cluster web")
    (row,) = told(world, "list-applications web --long")["results"]  # type: ignore[misc]
    assert (row["application"], row["version"], row["targets"]) == ("hello", "-", ["web"])
    said(world, "disable hello --target web2")
    assert not (world.instance("web2") / "applications/hello").exists()
    said(world, "enable hello")
    said(world, "rollback-application hello", 1)
    shown = said(world, f"redeploy {war} --name hello")
    assert has(world, "web1", "hello") == OLD
    assert "applications/hello came from no archive: revision" in shown
    assert revisions(world)[-1] == "redeployed hello 1 to web"
    said(world, "undeploy hello")
    assert not (world.instance("web1") / "applications/hello").exists()


def test_a_hand_made_one_goes_on_where_another_version_is_tried(world: World, war: Path) -> None:
    said(world, "sync-cluster web")
    said(world, f"deploy {war} --name hello:2 --target web2")
    assert has(world, "web1", "hello") == {"app.py": b"print()"} and has(world, "web2", "hello") == OLD
    assert entry(world, "hello") == Application(targets=["web"], versions={"web2": "2"})


def test_hand_edits_of_an_exploded_view_are_kept_and_told(world: World, war: Path) -> None:
    said(world, f"deploy {war} --target web")
    world.das.repository.put_file(b"applications/shop/app.py", b"by hand")
    world.das.repository.put_file(b"applications/shop/extra", b"by hand")
    zipped(war, NEW)
    shown = said(world, f"redeploy {war}")
    assert revisions(world)[-2:] == [
        "1 file changed and 1 new in applications/shop",
        "redeployed shop 2 to web",
    ]
    assert (
        "applications/shop was no more what its archive holds (shop 1): app.py (changed), extra (added)"
        in shown
    )
    assert "revision 3 has it as it was" in shown
    assert has(world, "web1") == NEW
    assert "no more" not in said(world, f"redeploy {zipped(war, OLD)}")


def test_the_same_archive_mends_an_edited_view(world: World, war: Path) -> None:
    said(world, f"deploy {war} --target web")
    world.das.repository.put_file(b"applications/shop/app.py", b"by hand")
    shown = said(world, f"redeploy {war}")
    assert "app.py (changed)" in shown and has(world, "web1") == OLD
    assert entry(world) == Application(targets=["web"], version="1")


def test_what_is_left_out_is_no_edit(world: World, war: Path) -> None:
    world.das.store.write((world.das.store.text or "").replace("  id:", "  exclude: ['*.xml']\n  id:"))
    said(world, f"deploy {war} --target web")
    assert has(world, "web1") == {"app.py": b"print(1)"}
    assert "no more" not in said(world, f"redeploy {zipped(war, NEW)}")


def test_an_archive_that_is_refused_changes_nothing(world: World, war: Path) -> None:
    said(world, f"deploy {war} --target web")
    before = (paths(world), world.das.store.text, revisions(world))
    for later in ("", " --activate later"):
        zipped(war, {"fine": b"1", "../../evil": b"2"})
        shown = said(world, f"deploy {war} --target web --force{later}", 1)
        assert "shop.war is refused: ../../evil: its path leads upwards" in shown
        assert (paths(world), world.das.store.text, revisions(world)) == before
    zipped(war, {"a": b"12345", "b": b"67890"})
    assert "--max-size" in said(world, f"redeploy {war} --max-size 9", 1)
    assert "--max-files" in said(world, f"redeploy {war} --max-files 1", 1)
    assert "not a size" in said(world, f"redeploy {war} --max-size many", 2)
    assert (paths(world), world.das.store.text, revisions(world)) == before
    said(world, f"redeploy {war} --max-size 10 --max-files 2")


@pytest.mark.parametrize("kind", ["archive", "folder"])
def test_nothing_is_no_application(world: World, war: Path, tmp_path: Path, kind: str) -> None:
    """A build that failed in silence takes no server down."""
    said(world, f"deploy {war} --target web")
    nothing = tmp_path / "shop" if kind == "folder" else zipped(war, {})
    nothing.mkdir() if kind == "folder" else None
    shown = said(world, f"redeploy {nothing} --name shop", 1)
    assert f"{nothing.name} is refused: there is nothing in it" in shown
    assert has(world, "web1") == OLD
    assert revisions(world)[-1] == "deployed shop 1 to web"


def test_words_that_cannot_be(world: World, war: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    zipped(tmp_path / "-.war", OLD)
    for line, why in [
        (f"deploy {tmp_path}/none.war", "there is no "),
        (f"deploy {tmp_path}/notes.txt", "no archive that is known"),
        (f"deploy {war} --target nobody", "nobody"),
        (f"deploy {war} --name a/b", "not a name"),
        (f"deploy {tmp_path}/-.war", "say what it is called"),
        (f"deploy {war} --name shop:a/b", "not a version"),
        (f"deploy {war} --name __internal", "the folder of the archives"),
        (f"redeploy {war}", "no application named 'shop'"),
        ("enable nothing", "no application named 'nothing'"),
        ("undeploy hello:1", "no version '1'"),
        ("disable hello --target jobs", "not deployed to jobs"),
        (f"deploy {war} --target web --max-failures 1", "--max-failures goes with --rolling alone"),
    ]:
        assert why in said(world, line, 2), line
    assert revisions(world) in ([], ["the domain as it was first seen"])


def test_names_that_folders_cannot_have(world: World, war: Path) -> None:
    said(world, f"deploy {war}")
    assert "the folder of the archives" in said(world, f"deploy {war} --name __internal --force", 2)
    name = "n" * 254
    said(world, f"deploy {war} --name {name}:2 --target web")
    said(world, f"deploy {war} --name {name}:31 --activate later")
    before = revisions(world)
    assert "has more than 255 characters" in said(world, f"enable {name}:31 --target web1", 2)
    assert revisions(world) == before


def test_a_folder_that_no_revision_has_is_not_lost(world: World, war: Path) -> None:
    world.das.repository.put_file(b"applications/shop/mine", b"precious")
    shown = said(world, f"deploy {war} --target web --force", 1)
    assert "applications/shop is there, and config/domain.yaml says nothing of it" in shown
    assert "applications/shop/mine" in paths(world)


def test_a_folder_becomes_an_archive_and_the_view_is_its_extraction(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    (folder / "css").mkdir(parents=True)
    (folder / "css/a.css").write_bytes(b"body")
    (folder / "run.sh").write_bytes(b"#!/bin/sh")
    (folder / "run.sh").chmod(0o755)
    os.utime(folder / "run.sh", ns=(5, 1_600_000_000_123_456_789))
    (folder / "latest").symlink_to("css")
    said(world, f"deploy {folder} --target web")
    on_node = world.instance("web1") / "applications/site"
    assert (on_node / "run.sh").stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert (on_node / "run.sh").stat().st_mode & 0o777 == 0o755
    assert os.readlink(on_node / "latest") == "css"
    assert "applications/__internal/site/1/site.tar.gz" in paths(world)
    assert told(world, f"deploy {folder} --target web")["status"] == "unchanged"
    (folder / "css/a.css").write_bytes(b"changed")
    said(world, f"redeploy {folder}")
    assert (on_node / "css/a.css").read_bytes() == b"changed"


def test_only_changed_files_of_a_large_war_travel(world: World, war: Path) -> None:
    chance = random.Random(1)
    classes = {f"WEB-INF/classes/C{i}.class": chance.randbytes(9_000) for i in range(300)}
    said(world, f"deploy {zipped(war, classes)} --target web1")
    for name in [*classes][:3]:
        classes[name] = classes[name][:4_000] + b"changed" + classes[name][4_000:]
    (row,) = told(world, f"redeploy {zipped(war, classes)}")["results"]  # type: ignore[misc]
    # 3 classes, and the folder's modtime: the others are not even looked at.
    assert row["files_changed"] == 3 and row["bytes_sent"] < 100_000
    assert has(world, "web1") == classes


def test_no_apply_leaves_the_nodes_alone(world: World, war: Path) -> None:
    shown = said(world, f"deploy {war} --target web --no-apply")
    assert not world.instance("web1").exists() and "dasctl sync-instance 'web[1-2]'" in shown
    said(world, "sync-cluster web")
    assert has(world, "web1") == OLD


def test_others_do_not_notice(world: World, war: Path) -> None:
    """Neither their slices nor the modtime of their folder of applications change."""
    said(world, "sync-domain")
    before = (world.instance("jobs1") / "applications").stat().st_mtime_ns
    said(world, f"deploy {war} --target web")
    (row,) = told(world, "sync-instance jobs1 --dry-run")["results"]  # type: ignore[misc]
    assert row["status"] == "unchanged"
    assert (world.instance("jobs1") / "applications").stat().st_mtime_ns == before


def test_what_is_listed(world: World, war: Path) -> None:
    said(world, f"deploy {war} --target web --name shop:1.0")
    said(world, f"deploy {zipped(war, NEW)} --target web2 --name shop:1.1")
    said(world, "disable shop --target web2")
    rows = {
        row["version"]: row
        for row in told(world, "list-applications web --long")["results"]
        if row["application"] == "shop"
    }  # type: ignore[attr-defined]
    assert rows["1.0"]["targets"] == rows["1.0"]["enabled"] == ["web"] and rows["1.0"]["instances"] == [
        "web1"
    ]
    assert rows["1.1"]["targets"] == rows["1.1"]["disabled"] == ["web2"] and rows["1.1"]["enabled"] == []
    assert rows["1.0"]["sha256"] != rows["1.1"]["sha256"] and rows["1.0"]["who"] == "anna"
    assert told(world, "list-applications jobs")["results"] == []
    assert "1.0" in said(world, "list-applications web1") and "1.1" not in said(
        world, "list-applications web1"
    )
