"""Backups of a cluster that runs: over real sshds, with files that somebody edits all the time."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dasctl.adapters.history import SqliteHistory
from dasctl.core import backups
from dasctl.remote.manifest import decode
from tests.system.cluster import Cluster, make_cluster
from tests.system.sshd import Sshd, SshSetting


@pytest.fixture
def cluster(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]) -> Cluster:
    return make_cluster(tmp_path, ssh, [sshd_factory(f"n{number}") for number in (1, 2)])


@contextmanager
def edited(cluster: Cluster) -> Iterator[None]:
    """Here somebody writes and removes files, five hundred times a second."""
    stop = threading.Event()

    def edit() -> None:
        number = 0
        while not stop.wait(0.002):
            number += 1
            cluster.write(f"docroot/page{number % 7}.html", f"{number}\n" * (number % 300))
            if number % 5 == 0:
                (cluster.root / f"docroot/page{(number + 3) % 7}.html").unlink(missing_ok=True)

    somebody = threading.Thread(target=edit)
    somebody.start()
    try:
        yield
    finally:
        stop.set()
        somebody.join()


def test_a_backup_while_everything_changes_is_one_revision(cluster: Cluster, tmp_path: Path) -> None:
    cluster.json("sync-domain")
    for number in range(40):
        cluster.write(f"lib/{number}.txt", f"{number}\n" * 1000)
    with edited(cluster):
        runs = [cluster.json("backup-domain", "--to", str(tmp_path / "kept")) for _ in range(3)]
    for run in runs:
        (row,) = run.json["results"]
        folder = tmp_path / f"of {row['file'][-20:]}"
        folder.mkdir()
        subprocess.run(["tar", "xzpf", row["file"], "-C", folder], check=True)
        subprocess.run(["sha256sum", "--quiet", "-c", "MANIFEST.sha256"], cwd=folder, check=True)
        facts = json.loads((folder / "BACKUP.json").read_text())
        history = SqliteHistory(folder / "shop")
        head = history.head()
        assert head is not None
        assert (head.number, head.digest) == (facts["revision"], facts["digest"])
        assert history.verify() >= 1
        parts = (history.parts_of(head.number) or {}).values()
        assert backups.tree_digest(entry for data in parts for entry in decode(data)) == facts["tree"]
        assert cluster.run("restore-domain", row["file"], "--verify-only").code == 0


def test_after_a_total_loss_the_nodes_follow(cluster: Cluster, tmp_path: Path) -> None:
    """The DAS is backed up, goes on for two revisions, is lost, and comes back in another folder."""
    cluster.write("docroot/index.html", "backed up\n")
    cluster.json("start-cluster", "web")
    row = cluster.json("backup-domain", "--to", str(tmp_path / "kept")).json["results"][0]
    for number in (1, 2):
        cluster.write("docroot/index.html", f"later {number}\n")
        cluster.write("docroot/more.html", f"later {number}\n")
        cluster.json("sync-domain")
    lost = tmp_path / "lost"
    cluster.root.rename(lost)
    cluster.nodes["n2"].stop()
    other = tmp_path / "other" / "shop"
    run = cluster.run(
        "--json", "restore-domain", row["file"], "--to", str(other), domain=tmp_path / "nowhere"
    )
    assert run.code == 0, str(run)
    (restored,) = run.json["results"]
    assert restored["reached"] == ["web1"]
    assert restored["away"] == ["web2"]
    assert "web2" in run.json["warnings"][0]
    assert restored["epoch"] == 2
    assert restored["as_revision"] > 3
    # Nothing was brought, nothing was stopped.
    assert (cluster.folder("web1") / "docroot/index.html").read_text() == "later 2\n"
    states = cluster.run("--json", "list-instances", "web1", domain=other)
    assert states.row("web1")["state"] == "running"
    pid = states.row("web1")["pid"]
    # The one that answers follows, and so does the one that was away, without a word about taking over.
    cluster.json("sync-cluster", "web", domain=other, code=3)
    cluster.nodes["n2"].start()
    cluster.json("sync-cluster", "web", domain=other)
    for name in ("web1", "web2"):
        assert (cluster.folder(name) / "docroot/index.html").read_text() == "backed up\n"
        assert not (cluster.folder(name) / "docroot/more.html").exists()
    assert cluster.json("list-instances", "web1", domain=other).row("web1")["pid"] == pid
    cluster.json("stop-cluster", "web", domain=other)
    # Whoever still has the lost one is refused from now on.
    lost.rename(cluster.root)
    assert "fenced" in cluster.json("sync-cluster", "web", code=6).out


def test_without_history_the_nodes_follow_as_well(cluster: Cluster, tmp_path: Path) -> None:
    cluster.json("start-cluster", "web")
    row = cluster.json("backup-domain", "--without-history", "--to", str(tmp_path / "kept")).json["results"][
        0
    ]
    cluster.write("docroot/index.html", "later\n")
    cluster.json("sync-domain")
    shutil.rmtree(cluster.root)
    run = cluster.run("--json", "restore-domain", row["file"], domain=cluster.root)
    assert run.code == 0, str(run)
    # Also for commands that bring nothing.
    assert cluster.json("stop-instance", "web1").row("web1")["status"] == "stopped"
    # One file differs: what else instances have kept its modtime in the backup.
    assert cluster.json("start-cluster", "web").row("web2")["files_changed"] == 1
    assert (cluster.folder("web2") / "docroot/index.html").read_text() == "<h1>hello</h1>\n"
    cluster.json("stop-cluster", "web")


def test_in_the_place_of_a_domain_that_went_wrong(cluster: Cluster) -> None:
    cluster.json("sync-domain")
    cluster.json("backup-domain")
    cluster.write("docroot/index.html", "a mistake\n")
    cluster.json("sync-domain")
    (listed,) = cluster.json("list-backups").json["results"]
    run = cluster.json("restore-domain", Path(listed["file"]).name, "--force")
    (restored,) = run.json["results"]
    assert Path(restored["before"], "docroot/index.html").read_text() == "a mistake\n"
    cluster.json("sync-domain")
    assert (cluster.folder("web1") / "docroot/index.html").read_text() == "<h1>hello</h1>\n"
    assert len(cluster.json("list-backups").json["results"]) == 1


def test_who_still_stands_in_the_old_folder_is_told(cluster: Cluster) -> None:
    """A shell in the domain's folder stands in the old one after the swap: nothing may be administered from there."""
    cluster.json("backup-domain")
    (listed,) = cluster.json("list-backups").json["results"]
    run = cluster.json("restore-domain", Path(listed["file"]).name, "--force")
    old = Path(run.json["results"][0]["before"])
    refused = cluster.run("list-instances", domain=old)
    assert refused.code == 2, str(refused)
    assert f"{old} is the domain no more" in refused.err
    assert f"cd {cluster.root}" in refused.err
    (old / ".dasctl/replaced").unlink()
    assert cluster.run("verify-domain", domain=old).code == 0
