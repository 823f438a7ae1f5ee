"""Synchronisation through the real command line and real OpenSSH servers."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, make_cluster, rsync_finds, tree_of
from tests.system.sshd import Sshd, SshSetting

AREAS = ("docroot", "lib", "applications/hello")


@pytest.fixture
def cluster(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Cluster:
    return make_cluster(tmp_path, ssh, [sshd_factory("n1"), sshd_factory("n2")])


def same(cluster: Cluster, instance: str) -> None:
    """The instance's areas are the repository's, to the nanosecond, by our own walk and by rsync's."""
    for area in AREAS:
        source, target = cluster.root / area, cluster.folder(instance) / area
        assert tree_of(target) == tree_of(source)
        assert rsync_finds(source, target) == ""


def test_the_first_and_the_second_synchronisation(cluster: Cluster) -> None:
    first = cluster.json("sync-cluster", "web")
    assert [row["status"] for row in first.json["results"]] == ["synchronised", "synchronised"]
    assert (
        first.row("web1")["files_changed"] == 5
    )  # serve.py, index.html, common.txt, logging.properties, domain.yaml
    second = cluster.json("sync-cluster", "web")
    assert second.json["status"] == "unchanged"
    assert second.row("web1") | {"seconds": 0} == {
        "instance": "web1", "node": "n1", "status": "unchanged", "revision": 1, "files_changed": 0,
        "files_deleted": 0, "bytes_sent": 0, "deviations": [], "round_trips": 1, "seconds": 0,
    }  # fmt: skip
    same(cluster, "web1")
    same(cluster, "web2")


def test_only_what_differs_travels_and_in_one_trip(cluster: Cluster) -> None:
    cluster.write("docroot/big.bin", os.urandom(300_000))
    cluster.json("sync-cluster", "web")
    cluster.write("docroot/index.html", "<h1>changed</h1>\n")
    (cluster.root / "lib/common.txt").unlink()
    row = cluster.json("sync-cluster", "web", "--yes").row("web1")  # lib has no other file
    assert (row["files_changed"], row["files_deleted"], row["round_trips"]) == (1, 1, 1)
    assert 0 < row["bytes_sent"] < 3000
    same(cluster, "web1")


def test_names_in_any_bytes_links_empty_folders_and_modes(cluster: Cluster) -> None:
    root = os.fsencode(cluster.root / "docroot")
    for name in (b"caf\xe9", b"new\nline", b"-rf", b"tab\there", b" lead", b"trail ", b"a'b\"c$d`e", b"\x1b[31mred",
                 b"*?[x]", "日本".encode(), b"x" * 255):  # fmt: skip
        with open(os.path.join(root, name), "wb") as file:
            file.write(name)
    os.mkdir(os.path.join(root, b"empty"))
    os.mkdir(os.path.join(root, b"closed"), 0o755)
    with open(os.path.join(root, b"closed", b"in"), "wb") as file:
        file.write(b"in")
    os.chmod(os.path.join(root, b"closed"), 0o555)
    os.chmod(os.path.join(root, b"index.html"), 0o640)
    os.symlink(b"index.html", os.path.join(root, b"link"))
    os.symlink(b"../lib/common.txt", os.path.join(root, b"across"))
    os.symlink(b"nowhere", os.path.join(root, b"dangling"))
    os.utime(os.path.join(root, b"index.html"), ns=(1, 1_234_567_890_123_456_789))
    os.utime(os.path.join(root, b"empty"), ns=(1, 987_654_321_012_345_678))
    run = cluster.json("sync-cluster", "web")
    assert run.json["status"] == "ok"
    same(cluster, "web1")
    assert cluster.json("sync-cluster", "web").json["status"] == "unchanged"
    os.chmod(os.path.join(root, b"closed"), 0o755)
    os.unlink(os.path.join(root, b"closed", b"in"))
    os.chmod(os.path.join(root, b"closed"), 0o500)
    cluster.json("sync-cluster", "web")
    same(cluster, "web2")
    text = cluster.run("sync-cluster", "web", "--full")
    assert "\x1b" not in text.out


def test_links_that_lead_out_sockets_and_pipes_are_named_and_left_out(cluster: Cluster) -> None:
    os.symlink("/etc/passwd", cluster.root / "docroot/out")
    os.symlink("../../../../etc/passwd", cluster.root / "docroot/up")
    os.mkfifo(cluster.root / "docroot/pipe")
    where = os.getcwd()
    os.chdir(cluster.root / "docroot")
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("sock")
            run = cluster.json("sync-cluster", "web", code=1)
            verified = cluster.run("verify-domain")
    finally:
        os.chdir(where)
    warnings, error = "\n".join(run.json["warnings"]), run.json["error"]["message"]
    assert ("docroot/pipe" in warnings, "docroot/sock" in warnings) == (True, True)
    assert ("docroot/out" in error, "docroot/up" in error) == (True, True)
    for name in ("docroot/out", "docroot/up", "docroot/pipe", "docroot/sock"):
        assert not os.path.lexists(cluster.folder("web1") / name)
    assert (cluster.folder("web1") / "docroot/index.html").exists()  # all else is there
    assert verified.code == 2
    assert "docroot/out" in verified.err
    assert "docroot/up" in cluster.run("sync-cluster", "web", "--quiet").err  # cron hears of it each time


def test_full_spares_what_the_domain_excludes(cluster: Cluster) -> None:
    cluster.edit_yaml("domain: {name: shop,", "domain: {name: shop, exclude: ['*.swp', cache/],")
    cluster.json("sync-cluster", "web")
    docroot = cluster.folder("web1") / "docroot"
    (docroot / "cache/deep").mkdir(parents=True)
    for name in ("mine.swp", "mine.txt", "cache/deep/file"):
        (docroot / name).write_text("the node's own")
    cluster.json("sync-cluster", "web", "--full")
    assert (docroot / "mine.swp").exists()
    assert (docroot / "cache/deep/file").exists()
    assert not (docroot / "mine.txt").exists()


def test_the_config_of_an_instance_that_is_no_more_goes_to_nobody(cluster: Cluster) -> None:
    cluster.write("config/web1-config/key", "secret")
    cluster.json("sync-cluster", "web")
    assert (cluster.folder("web1") / "config/key").read_text() == "secret"
    cluster.json("delete-instance", "web1")
    warnings = cluster.json("sync-cluster", "web").json["warnings"]
    assert "web1-config" in warnings[0]
    assert not [path for path in cluster.folder("web2").rglob("*") if path.name in ("key", "web1-config")]


def test_a_foreign_file_stays_and_full_removes_it(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    foreign = cluster.folder("web1") / "docroot/upload.txt"
    foreign.write_text("theirs")
    (cluster.folder("web1") / "logs/server.log").write_text("log")
    assert cluster.json("sync-cluster", "web").row("web1")["status"] == "unchanged"
    cluster.json("sync-cluster", "web", "--full")
    assert not foreign.exists()
    assert (cluster.folder("web1") / "logs/server.log").read_text() == "log"


def test_deviations_by_policy(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    page = cluster.folder("web1") / "docroot/index.html"
    page.write_text("edited on the node\n")
    failed = cluster.json("sync-cluster", "web", "--deviations", "fail", code=3)
    assert failed.row("web1")["status"] == "failed"
    assert "docroot/index.html" in failed.row("web1")["error"]["message"]
    assert page.read_text() == "edited on the node\n"
    kept = cluster.json("sync-cluster", "web", "--deviations", "keep").row("web1")
    assert [(d["path"], d["kind"], d["action"]) for d in kept["deviations"]] == [
        ("docroot/index.html", "changed", "kept")
    ]
    replaced = cluster.json("sync-cluster", "web").row("web1")
    (deviation,) = replaced["deviations"]
    assert (deviation["path"], deviation["action"]) == ("docroot/index.html", "replaced")
    aside = cluster.folder("web1") / deviation["aside"]
    assert aside.read_text() == "edited on the node\n"
    same(cluster, "web1")


def test_local_wins_and_is_never_touched(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    local = cluster.folder("web1") / "local/config/logging.properties"
    local.parent.mkdir(parents=True)
    local.write_text("level=DEBUG\n")
    cluster.json("sync-cluster", "web")
    effective = cluster.folder("web1") / "config/logging.properties"
    assert effective.read_text() == "level=DEBUG\n"
    cluster.write("config/logging.properties", "level=WARNING\n")
    cluster.json("sync-cluster", "web")
    assert effective.read_text() == local.read_text() == "level=DEBUG\n"
    local.unlink()
    cluster.json("sync-cluster", "web")
    assert effective.read_text() == "level=WARNING\n"


def test_a_dry_run_says_what_the_real_run_does_and_touches_nothing(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    cluster.write("docroot/new.txt", "new")
    cluster.write("docroot/index.html", "other\n")
    (cluster.root / "lib/common.txt").unlink()
    before = tree_of(cluster.folder("web1"))
    dry = cluster.json("sync-cluster", "web", "--dry-run")
    assert tree_of(cluster.folder("web1")) == before
    changes = {change["path"]: change["why"] for change in dry.row("web1")["changes"]}
    assert changes == {"docroot/new.txt": "new", "docroot/index.html": "content", "lib/common.txt": "deleted"}
    real = cluster.json("sync-cluster", "web", "--yes")  # lib has no other file
    assert {change["path"]: change["why"] for change in real.row("web1")["changes"]} == changes


def test_only_one_area(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    cluster.write("docroot/index.html", "page\n")
    cluster.write("lib/common.txt", "library\n")
    cluster.json("sync-cluster", "web", "--only", "docroot")
    assert (cluster.folder("web1") / "docroot/index.html").read_text() == "page\n"
    assert (cluster.folder("web1") / "lib/common.txt").read_text() == "common\n"
    cluster.json("sync-cluster", "web")
    same(cluster, "web1")


def test_an_old_copy_of_the_domain_is_refused_however_many_revisions_it_makes(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    copy = cluster.root.parent / "copy"
    os.system(f"cp -a '{cluster.root}' '{copy}'")
    cluster.write("docroot/index.html", "ours\n")
    cluster.json("sync-cluster", "web")
    for number in range(5):
        (copy / "docroot/index.html").write_text(f"theirs {number}\n")
        refused = cluster.json("sync-cluster", "web", domain=copy, code=6)
        assert {row["status"] for row in refused.json["results"]} == {"refused"}
    assert cluster.run("stop-cluster", "web", domain=copy).code == 6
    assert (cluster.folder("web1") / "docroot/index.html").read_text() == "ours\n"
    assert cluster.json("take-over", domain=copy).json["status"] == "ok"
    assert (cluster.folder("web1") / "docroot/index.html").read_text() == "theirs 4\n"
    fenced = cluster.run("sync-cluster", "web")
    assert fenced.code == 6
    assert "took over" in fenced.err


def test_a_lost_history_is_taken_over(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    os.system(f"rm -rf '{cluster.root}/.dasctl/history.db' '{cluster.root}/.dasctl/index'")
    cluster.write("docroot/index.html", "after the loss\n")
    refused = cluster.run("sync-cluster", "web")
    assert refused.code == 6
    assert "take-over" in refused.err
    cluster.json("take-over")
    assert cluster.json("sync-cluster", "web").json["status"] == "unchanged"
    same(cluster, "web1")


def test_a_wiped_node_is_filled_again(cluster: Cluster) -> None:
    cluster.json("sync-cluster", "web")
    os.system(f"rm -rf '{cluster.folder('web1')}'")
    assert cluster.json("sync-cluster", "web").row("web1")["status"] == "synchronised"
    same(cluster, "web1")
