"""Applications on real OpenSSH nodes with real servers: deployed, tried by one, broken, taken back; killed on the way."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.cluster import DASCTL, SERVER, Cluster, make_cluster, tree_of
from tests.system.sshd import Sshd, SshSetting

VERSIONED = SERVER.replace("    def log_message", "    server_version = 'hello/{0}'\n    def log_message")
ALL = ("config", "applications", "lib", "docroot")


@pytest.fixture
def make(tmp_path: Path, ssh: SshSetting, sshd_factory: Callable[..., Sshd]):
    made: list[Cluster] = []

    def cluster(count: int = 2, **more: str) -> Cluster:
        made.append(make_cluster(tmp_path, ssh, [sshd_factory(f"n{i}") for i in range(1, count + 1)], **more))
        return made[-1]

    yield cluster
    for one in made:
        one.run("stop-cluster", "web", "--kill")


def archive(file: Path, version: str, *, broken: bool = False) -> Path:
    """`hello` in a version, as a zip: what it serves with says which."""
    source = "raise SystemExit('no such thing')\n" if broken else VERSIONED.format(version)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("serve.py", source)
        made.writestr("WEB-INF/version.txt", version)
    return file


def served(cluster: Cluster, instance: str) -> str:
    """The version that answers."""
    properties = json.loads((cluster.folder(instance) / "config/domain.yaml").read_text())["properties"]
    with urllib.request.urlopen(f"http://127.0.0.1:{properties['http.port']}/", timeout=10) as page:
        return str(page.headers["Server"]).split()[0].removeprefix("hello/")


def test_a_war_is_deployed_tried_broken_and_taken_back(make: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster = make()
    cluster.json("start-cluster", "web")
    first = cluster.json("redeploy", str(archive(tmp_path / "hello.zip", "1")))
    assert [row["status"] for row in first.json["results"]] == ["restarted", "restarted"]
    assert (served(cluster, "web1"), served(cluster, "web2")) == ("1", "1")
    again = cluster.json("redeploy", str(tmp_path / "hello.zip"))
    assert again.json["status"] == "unchanged" and again.json["revision"] == first.json["revision"]

    tried = cluster.json(
        "deploy", str(archive(tmp_path / "hello.war", "2")), "--name", "hello:2", "--target", "web2"
    )
    assert [row["instance"] for row in tried.json["results"]] == ["web2"]
    assert (served(cluster, "web1"), served(cluster, "web2")) == ("1", "2")
    cluster.json("enable", "hello:2", "--target", "web")
    assert (served(cluster, "web1"), served(cluster, "web2")) == ("2", "2")

    archive(tmp_path / "hello.war", "3", broken=True)
    broken = cluster.json("redeploy", str(tmp_path / "hello.war"), "--rolling", code=1)
    assert broken.row("web1")["status"] == "failed" and served(cluster, "web2") == "2"
    back = cluster.json("rollback-application", "hello", "--rolling", "--anew")
    assert back.json["status"] == "ok"
    assert cluster.run("start-cluster", "web").code == 0
    assert (served(cluster, "web1"), served(cluster, "web2")) == ("2", "2")
    for name in ("web1", "web2"):
        assert tree_of(cluster.root / "applications/hello") == tree_of(
            cluster.folder(name) / "applications/hello"
        )
    rows = {row["version"]: row for row in cluster.json("list-applications", "--long").json["results"]}
    assert [version for version, row in rows.items() if row["active"]] == ["2"]
    kept = cluster.root / "applications/__internal/hello/2/hello.war"
    assert rows["2"]["sha256"] == hashlib.sha256(kept.read_bytes()).hexdigest()


def test_a_hostile_archive_changes_nothing(make: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster = make(0)
    cluster.json("deploy", str(archive(tmp_path / "good.war", "1")), "--target", "web")
    before = {area: tree_of(cluster.root / area) for area in ALL}
    with zipfile.ZipFile(tmp_path / "good.war", "a") as made:
        link = zipfile.ZipInfo("out")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        made.writestr(link, "../../../..")
        made.writestr("out/evil", "x")
    refused = cluster.run("redeploy", str(tmp_path / "good.war"))
    assert refused.code == 1 and "good.war is refused: out: a link that leads out" in refused.err
    assert before == {area: tree_of(cluster.root / area) for area in ALL}
    assert not (cluster.root / ".dasctl/making").exists()


def test_where_the_disk_is_full_nothing_is_half_deployed(
    make: Callable[..., Cluster], tmp_path: Path
) -> None:
    """A limit on the sizes of files stands for the full disk: for the archive itself, and for what comes out of it."""
    cluster = make(0)
    cluster.json("deploy", str(archive(tmp_path / "good.war", "1")), "--target", "web")
    before = {area: tree_of(cluster.root / area) for area in ALL}
    for content, at in ((random.Random(1).randbytes(4 << 20), "good.war"), (bytes(4 << 20), "large: ")):
        with zipfile.ZipFile(tmp_path / "good.war", "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("large", content)
        words = [*DASCTL, "--domain", str(cluster.root), "redeploy", str(tmp_path / "good.war")]
        done = subprocess.run(
            ["sh", "-c", 'ulimit -f 4096; exec "$@"', "sh", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1 and at in done.stderr and "make room on that disk" in done.stderr, (
            done.stderr
        )
        assert before == {area: tree_of(cluster.root / area) for area in ALL}
        assert not (cluster.root / ".dasctl/making").exists()
    cluster.json("redeploy", str(tmp_path / "good.war"))


def test_where_the_disk_is_full_nothing_is_half_undeployed(
    make: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = make(0)
    with zipfile.ZipFile(tmp_path / "good.war", "w") as made:
        made.writestr("large", random.Random(1).randbytes(4 << 20))
    cluster.json("deploy", str(tmp_path / "good.war"), "--target", "web", "--no-apply")
    before = {area: tree_of(cluster.root / area) for area in ALL}
    words = [*DASCTL, "--domain", str(cluster.root), "undeploy", "good"]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 4096; exec "$@"', "sh", *words],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "nothing has been changed" in done.stderr, done.stderr
    assert "make room on the disk" in done.stderr
    assert before == {area: tree_of(cluster.root / area) for area in ALL}
    cluster.json("undeploy", "good", "--no-apply")


def test_a_deployment_that_is_killed_is_done_or_not(make: Callable[..., Cluster], tmp_path: Path) -> None:
    """Killed at any moment, the next command finds all of it or nothing; what is there is what the archive holds."""
    cluster = make(0)
    chance = random.Random(4)
    folder = tmp_path / "big"
    for number in range(300):
        file = folder / f"d{number % 7}/f{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(chance.randbytes(3000))
    begun = time.monotonic()
    cluster.json("deploy", str(folder), "--name", "measure", "--no-apply")
    whole_s = time.monotonic() - begun
    outcomes = set()
    for number in range(5):
        command = cluster.start("deploy", str(folder), "--name", "big", "--target", "web", "--no-apply")
        time.sleep(whole_s * (0.3 + 0.14 * number))
        os.kill(command.pid, signal.SIGKILL)
        command.communicate()
        listed = cluster.json("undeploy", "nothing-of-this", "--no-apply", code=2)
        assert "no application named" in listed.json["error"]["message"]
        there = "big" in (cluster.root / "config/domain.yaml").read_text()
        assert there == (cluster.root / "applications/big").exists()
        assert there == (cluster.root / "applications/__internal/big/1/big.tar.gz").exists()
        outcomes.add(there)
        if there:
            assert tree_of(cluster.root / "applications/big") == tree_of(folder)
            cluster.json("undeploy", "big")
        left = list((cluster.root / ".dasctl").glob("making/*"))
        assert left == []
    assert outcomes
